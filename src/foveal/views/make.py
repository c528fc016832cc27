"""One view of one picture, from its pixels to its slot in the batch."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from foveal.core import rng
from foveal.errors import FovealError
from foveal.views import kernels as k
from foveal.views import table as t
from foveal.views.spec import View


@njit(nogil=True, cache=True)
def _colour(x: Any, row: Any, p: Any) -> None:
    """All colour operations of a row on planar float32 [C, H, W]."""
    channels, height, width = x.shape
    flat = x.reshape(channels, height * width)
    if row[5] >= 0:
        order = t.ORDERS[int(row[5])]
        for i in range(4):
            op = order[i]
            if op == 0 and p[t.P_BRIGHTNESS] > 0:
                k.brightness(flat, row[6], p[t.P_ADDITIVE] > 0)
            elif op == 1 and p[t.P_CONTRAST] > 0:
                k.contrast(flat, row[7])
            elif op == 2 and p[t.P_SATURATION] > 0:
                k.saturation(flat, row[8])
            elif op == 3 and p[t.P_HUE] > 0:
                k.hue(flat, row[9])
    if row[10] > 0:
        k.grey(flat, p[t.P_GREY_MEAN] > 0)
    if row[11] > 0:
        k.blur(x, row[11], int(p[t.P_KERNEL]), p[t.P_ZERO_BORDER] > 0)
    if row[12] > 0:
        k.solarise(flat, p[t.P_THRESHOLD])


@njit(nogil=True, cache=True)
def _apply(image: Any, rows: Any, p: Any, out: Any) -> None:
    """Rows [P, K] of one sample applied; ``out`` uint8 [T, h, w, C] (T = 1 without tiles)."""
    channels = image.shape[2]
    size = int(p[t.P_SIZE])
    x = np.empty((channels, size, size), np.float32)
    k.resample(image, rows[0], p[t.P_BICUBIC] > 0, rows[0, 4] > 0, x)
    if rows.shape[0] == 1:
        _colour(x, rows[0], p)
        k.store(x, out[0])
        return
    side = int(p[t.P_TILE])
    tile = np.empty((channels, side, side), np.float32)
    for part in range(1, rows.shape[0]):
        top, left = int(rows[part, 13]), int(rows[part, 14])
        tile[:] = x[:, top : top + side, left : left + side]
        if rows[part, 4] > 0:
            tile[:] = tile[:, :, ::-1].copy()
        _colour(tile, rows[part], p)
        k.store(tile, out[part - 1])


@njit(nogil=True, cache=True)
def _make(p: Any, k0: Any, k1: Any, position: Any, image: Any, rows: Any, out: Any) -> None:
    t.sample_rows(p, k0, k1, position, image.shape[0], image.shape[1], rows)
    _apply(image, rows, p, out)


def make_view(
    view: View,
    image: NDArray[np.uint8],
    key: rng.Key,
    position: int,
    rows: NDArray[np.float32],
    out: NDArray[np.uint8],
) -> None:
    """Samples and applies one view. Safe to call from many threads at once.

    Args:
        view: What to make.
        image: uint8 [H, W, C], C 1 or 3.
        key: Of (seed, stream, view name).
        position: Position in the stream.
        rows: float32 [P, K], written: what was sampled.
        out: uint8 [S, S, C] or [T, s, s, C], written: the pixels.
    """
    image = np.ascontiguousarray(image)
    pixels = out if out.ndim == 4 else out[None]
    _make(_checked(view, image, rows, out), key[0], key[1], position, image, rows, pixels)


def apply_rows(
    view: View,
    image: NDArray[np.uint8],
    rows: NDArray[np.float32],
    out: NDArray[np.uint8],
) -> None:
    """Applies given rows: a pure function of pixels and table. Arguments as ``make_view``."""
    pixels = out if out.ndim == 4 else out[None]
    _apply(np.ascontiguousarray(image), rows, _checked(view, image, rows, out), pixels)


def _checked(
    view: View, image: NDArray[np.uint8], rows: NDArray[np.float32], out: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """The parameters, where the arrays fit: compiled code would write past their ends."""
    parameters, shape, row_shape, grey = _expected(view, image.shape[2])
    if out.shape != shape or rows.shape != row_shape or 0 in image.shape:
        raise ValueError(
            f"image {image.shape}, rows {rows.shape}, out {out.shape}; this view makes rows "
            f"{row_shape} and pixels {shape}"
        )
    if grey:
        raise FovealError(
            f"{grey} need three channels; the picture has {image.shape[2]}",
            hint="View.without_colour()",
        )
    return parameters


@functools.lru_cache(maxsize=256)
def _expected(
    view: View, channels: int
) -> tuple[NDArray[np.float64], tuple[int, ...], tuple[int, int], str]:
    """Parameters, shape of the pixels and of the rows, and operations these channels forbid."""
    forbidden = ", ".join(view.needs_colour()) if channels != 3 else ""
    return t.parameters(view), view.shape(channels), (view.parts, len(t.COLUMNS)), forbidden
