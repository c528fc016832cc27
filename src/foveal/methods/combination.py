"""The class of ``--method rotation+jigsaw``, made when it is asked for."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import Field, create_model

from foveal.errors import FovealError
from foveal.methods import get_method
from foveal.methods.base import Method
from foveal.methods.multitask import MultiTask, MultiTaskOptions


@cache
def combination(names: tuple[str, ...]) -> type[Method]:
    """The class of a combination of methods.

    Args:
        names: As in ``get_method``, in the order of their turns.

    Raises:
        FovealError: An unknown method, one that is there twice, or one that is a combination.
    """
    parts = {name.rpartition(":")[2]: get_method(name) for name in names}
    if len(parts) < len(names) or any(part.parts for part in parts.values()):
        raise FovealError(
            f"{'+'.join(names)} is no combination: its parts are different single methods",
            hint="for example rotation+jigsaw",
        )
    fields: dict[str, Any] = {
        name: (part.Options, Field(default_factory=part.Options)) for name, part in parts.items()
    }
    attributes = {
        "Options": create_model("CombinationOptions", __base__=MultiTaskOptions, **fields),
        "parts": parts,
        "title": " + ".join(part.title or name for name, part in parts.items()),
        "couples_samples": any(part.couples_samples for part in parts.values()),
        "needs_labels": any(part.needs_labels for part in parts.values()),
        "least_view": next(iter(parts.values())).least_view,
    }
    return type("Combination", (MultiTask,), attributes)
