"""Methods, one file per paper. Adding one: its file, its recipes, one line here."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from foveal.errors import FovealError

if TYPE_CHECKING:
    from foveal.methods.base import Method

_METHODS = {
    "byol": "foveal.methods.byol:BYOL",
    "colorization": "foveal.methods.colorization:Colorization",
    "colorization_hypercolumn": ("foveal.methods.colorization_hypercolumn:ColorizationHypercolumn"),
    "context_encoder": "foveal.methods.context_encoder:ContextEncoder",
    "counting": "foveal.methods.counting:Counting",
    "cpc": "foveal.methods.cpc:CPC",
    "deepcluster": "foveal.methods.deepcluster:DeepCluster",
    "deepercluster": "foveal.methods.deepercluster:DeeperCluster",
    "denoising": "foveal.methods.denoising:Denoising",
    "exemplar": "foveal.methods.exemplar:Exemplar",
    "exemplar_triplet": "foveal.methods.exemplar_triplet:ExemplarTriplet",
    "jigsaw": "foveal.methods.jigsaw:Jigsaw",
    "motion_segments": "foveal.methods.motion_segments:MotionSegments",
    "multitask": "rotation+jigsaw+colorization",
    "npid": "foveal.methods.npid:NPID",
    "pirl": "foveal.methods.pirl:PIRL",
    "relative_patch": "foveal.methods.relative_patch:RelativePatch",
    "rotation": "foveal.methods.rotation:Rotation",
    "s4l": "foveal.methods.s4l:S4L",
    "sela": "foveal.methods.sela:SeLa",
    "simclr": "foveal.methods.simclr:SimCLR",
    "split_brain": "foveal.methods.split_brain:SplitBrain",
    "supervised": "foveal.methods.supervised:Supervised",
}


def list_methods() -> list[str]:
    """The names of all methods."""
    return sorted(_METHODS)


def get_method(name: str) -> type[Method]:
    """The class of a method.

    Args:
        name: One of ``list_methods()``, ``package.module:Class`` for a method of your own, or
            several joined by ``+``: they share one trunk and take turns.
    """
    home = _METHODS.get(name, name)
    if "+" in home:
        from foveal.methods.combination import combination

        return combination(tuple(home.split("+")))
    module, colon, attribute = home.partition(":")
    if not colon:
        from foveal.recipe import nearest

        raise FovealError(f"there is no method '{name}'", hint=nearest(name, list_methods()))
    try:
        found: type[Method] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise FovealError(
            f"the method '{name}' cannot be imported: {error}",
            hint="package.module:Class, importable from where foveal runs",
        ) from error
    return found
