"""Packages of the extras: imported where they are used, or an error that says how to get them."""

from __future__ import annotations

import importlib
from typing import Any

from foveal.errors import FovealError


def package(module: str, *, extra: str, why: str) -> Any:
    """A module of a package that a plain installation does not bring.

    Args:
        module: Its full name; its parents are imported too.
        extra: Of foveal, which brings it.
        why: What needs it, as the error begins: ``"video files are read by PyAV"``.

    Raises:
        FovealError: It, or something that it needs, is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise FovealError(
            f"{why}, which is not installed ({error})", hint=f"pip install 'foveal[{extra}]'"
        ) from None
