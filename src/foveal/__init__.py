"""foveal: learn visual features from images that nobody labelled.

The verbs of the shell, with the same names and meaning::

    import foveal

    foveal.scan("photos/")
    run = foveal.pretrain("photos/", "runs/first")
    foveal.evaluate("runs/first", "labelled/")
    foveal.compare(["runs/first", "runs/second"])
    foveal.embed("runs/first", "photos/", "photos.npz")
    foveal.search("runs/first", "photos/", "photos/dog.jpg")
    foveal.export("runs/first", format="timm", out="backbone")
    encoder = foveal.load("runs/first")

Everything is imported when it is first used: ``import foveal`` costs nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# Torch's threads wait for the slowest of them, by default spinning: beside one other busy process a
# run took eight times as long (docs/performance.md). Read when torch is loaded; yours stays.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"

__all__ = [
    "FovealError",
    "Recipe",
    "__version__",
    "bench_data",
    "compare",
    "embed",
    "evaluate",
    "export",
    "load",
    "make_doom",
    "make_motion",
    "predict",
    "pretrain",
    "scan",
    "search",
    "study",
]

_HOMES = {
    "FovealError": "foveal.errors",
    "Recipe": "foveal.recipe",
    "bench_data": "foveal.verbs",
    "compare": "foveal.verbs",
    "embed": "foveal.verbs",
    "evaluate": "foveal.verbs",
    "export": "foveal.verbs",
    "load": "foveal.verbs",
    "make_doom": "foveal.verbs",
    "make_motion": "foveal.verbs",
    "predict": "foveal.verbs",
    "pretrain": "foveal.verbs",
    "scan": "foveal.verbs",
    "search": "foveal.verbs",
    "study": "foveal.verbs",
}

if TYPE_CHECKING:
    from foveal.errors import FovealError
    from foveal.recipe import Recipe
    from foveal.verbs import (
        compare,
        embed,
        evaluate,
        export,
        load,
        make_doom,
        make_motion,
        predict,
        pretrain,
        scan,
        search,
        study,
    )


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'foveal' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
