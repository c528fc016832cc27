"""The packages of the extra ``motion``, or an error that says how to get them."""

from __future__ import annotations

import importlib
from typing import Any

from foveal.errors import FovealError


def opencv() -> Any:
    """OpenCV (``cv2``): optical flow, resizing, colour spaces."""
    return _package("cv2", "OpenCV")


def slic() -> Any:
    """scikit-image's SLIC superpixels."""
    return _package("skimage.segmentation", "scikit-image").slic


def _package(module: str, name: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise FovealError(
            f"this needs {name}, which is not installed ({error})",
            hint="pip install 'foveal[motion]'",
        ) from None
