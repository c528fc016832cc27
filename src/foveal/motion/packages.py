"""The packages of the extra ``motion``, or an error that says how to get them."""

from __future__ import annotations

from typing import Any

from foveal.core.packages import package


def opencv() -> Any:
    """OpenCV (``cv2``): optical flow, resizing, colour spaces."""
    return package("cv2", extra="motion", why="this needs OpenCV")


def slic() -> Any:
    """scikit-image's SLIC superpixels."""
    return package("skimage.segmentation", extra="motion", why="this needs scikit-image").slic
