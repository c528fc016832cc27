"""Superpixels, and what each looks like.

Legend: R regions, P patch side, K cells along a side.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from foveal.motion.packages import opencv, slic
from foveal.motion.shots import binned, six_channels

PATCH = 15  # pixels
_CELL, _CELLS, _ORIENTATIONS = 5, 3, 6
_COLOUR_BINS = 20
DESCRIPTOR = _CELLS**2 * _ORIENTATIONS + 6 * _COLOUR_BINS + 2


def superpixels(
    frame: NDArray[np.uint8], segments: int = 400, smoothing: float = 5.0
) -> NDArray[np.uint16]:
    """SLIC (Achanta et al., TPAMI 2012).

    Args:
        frame: RGB, uint8 [H, W, 3].
        segments: How many; the number found differs a little.
        smoothing: Sigma of the blur before, in pixels.

    Returns:
        [H, W] region of each pixel, numbered from 0 without gaps.
    """
    found = slic()(
        frame.astype(np.float32) / 255, n_segments=segments, sigma=smoothing, start_label=0
    )
    _, numbers = np.unique(found, return_inverse=True)
    return numbers.reshape(found.shape).astype(np.uint16)


def descriptors(frame: NDArray[np.uint8], labels: NDArray[np.uint16]) -> NDArray[np.float32]:
    """What the 15x15 patch around each region's box centre looks like.

    Args:
        frame: RGB, uint8 [H, W, 3], both sides 15 or more.
        labels: [H, W], see ``superpixels``.

    Returns:
        float32 [R, 176]: gradients (54), colours (120), the patch's corner (y / h, x / w).
    """
    top, left = _corners(labels)
    rows = top[:, None, None] + np.arange(PATCH)[:, None]
    columns = left[:, None, None] + np.arange(PATCH)[None, :]
    cv2 = opencv()
    grey = cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2GRAY)
    colours = binned(six_channels(frame), _COLOUR_BINS)[rows, columns]
    height, width = labels.shape
    place = np.stack([top / height, left / width], axis=1)
    return np.concatenate(
        [gradients(grey[rows, columns]), _colours(colours), place], axis=1
    ).astype(np.float32)


def gradients(patches: NDArray[np.float32]) -> NDArray[np.float64]:
    """Histograms of oriented gradients (Dalal and Triggs, CVPR 2005).

    Six unsigned orientations, 3x3 cells of 5 pixels, one block, L2-Hys. Gradients across the
    border of a patch are 0.

    Args:
        patches: Grey, [R, 15, 15].

    Returns:
        float64 [R, 54]: cells by row, orientations within.
    """
    x = patches.astype(np.float64)
    dy, dx = np.zeros_like(x), np.zeros_like(x)
    dy[:, 1:-1] = x[:, 2:] - x[:, :-2]
    dx[:, :, 1:-1] = x[:, :, 2:] - x[:, :, :-2]
    angle = np.degrees(np.arctan2(dy, dx)) % 180
    which = np.minimum((angle * (_ORIENTATIONS / 180)).astype(np.intp), _ORIENTATIONS - 1)
    cell = np.arange(PATCH) // _CELL
    slot = (cell[:, None] * _CELLS + cell[None, :]) * _ORIENTATIONS + which
    block = _counts(slot, _CELLS**2 * _ORIENTATIONS, np.hypot(dy, dx)) / _CELL**2
    epsilon = 1e-5
    block /= np.sqrt((block**2).sum(1, keepdims=True) + epsilon**2)
    block = np.minimum(block, 0.2)
    block /= np.sqrt((block**2).sum(1, keepdims=True) + epsilon**2)
    return block


def _colours(index: NDArray[np.intp]) -> NDArray[np.float64]:
    """[R, 15, 15, 6] bins -> six histograms of 20 bins, each of sum 1."""
    slot = index + np.arange(6) * _COLOUR_BINS
    return _counts(slot, 6 * _COLOUR_BINS) / PATCH**2


def _counts(
    slot: NDArray[np.intp], size: int, weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """A histogram of ``size`` slots for each row of [R, ...]."""
    regions = len(slot)
    row = np.arange(regions).reshape(-1, *[1] * (slot.ndim - 1)) * size
    flat = np.bincount(
        (slot + row).reshape(-1),
        None if weights is None else weights.reshape(-1),
        minlength=regions * size,
    )
    return flat.reshape(regions, size).astype(np.float64)


def _corners(labels: NDArray[np.uint16]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Top and left of each region's patch, moved inside the picture."""
    corners = []
    for axis in (0, 1):
        # A region's extent along an axis: its first and last occupied line.
        line = np.broadcast_to(
            np.arange(labels.shape[axis]).reshape((-1, 1) if axis == 0 else (1, -1)), labels.shape
        )
        regions = int(labels.max()) + 1
        low = np.full(regions, labels.shape[axis], np.intp)
        high = np.full(regions, -1, np.intp)
        np.minimum.at(low, labels, line)
        np.maximum.at(high, labels, line)
        corners.append(np.clip((low + high + 1 - PATCH) // 2, 0, labels.shape[axis] - PATCH))
    return corners[0], corners[1]


def region_means(values: NDArray[np.float32], labels: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Mean of [H, W] in each region, [R]."""
    flat = labels.reshape(-1)
    sums = np.bincount(flat, values.reshape(-1))
    return (sums / np.bincount(flat)).astype(np.float32)
