"""One view of one picture, from its pixels to its slot in the batch."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from foveal.core import rng
from foveal.errors import FovealError
from foveal.views import kernels as k
from foveal.views import layout as lay
from foveal.views import table as t
from foveal.views.spec import View

Box = tuple[int, int, int, int]


@njit(nogil=True, cache=True)
def _jitter(flat: Any, row: Any, p: Any) -> None:
    order = lay.ORDERS[int(row[lay.C_ORDER])]
    for i in range(4):
        op = order[i]
        if op == 0 and p[lay.P_BRIGHTNESS] > 0:
            k.brightness(flat, row[lay.C_BRIGHTNESS], p[lay.P_ADDITIVE] > 0)
        elif op == 1 and p[lay.P_CONTRAST] > 0:
            k.contrast(flat, row[lay.C_CONTRAST])
        elif op == 2 and p[lay.P_SATURATION] > 0:
            k.saturation(flat, row[lay.C_SATURATION])
        elif op == 3 and p[lay.P_HUE] > 0:
            k.hue(flat, row[lay.C_HUE])


@njit(nogil=True, cache=True)
def _colour(x: Any, row: Any, p: Any) -> None:
    """All operations on colours of a row, in their fixed order, on planar float32 [C, H, W]."""
    channels, height, width = x.shape
    flat = x.reshape(channels, height * width)
    if row[lay.C_SHRINK] > 0:
        k.shrink_and_back(x, row[lay.C_SHRINK])
    if row[lay.C_PCA] > 0:
        k.pca_contrast(flat, row[lay.C_PCA_1 : lay.C_PCA_3 + 1])
    if row[lay.C_HSV] > 0:
        s = row[lay.C_S_POWER : lay.C_S_ADD + 1]
        k.hsv_powers(flat, row[lay.C_HSV_HUE], s, row[lay.C_V_POWER : lay.C_V_ADD + 1])
    if row[lay.C_ORDER] >= 0:
        _jitter(flat, row, p)
    if row[lay.C_GREY] > 0:
        k.grey(flat, p[lay.P_GREY_MEAN] > 0)
    if row[lay.C_SIGMA] > 0:
        k.blur(x, row[lay.C_SIGMA], int(p[lay.P_KERNEL]), p[lay.P_ZERO_BORDER] > 0)
    if row[lay.C_SOLARISE] > 0:
        k.solarise(flat, row[lay.C_THRESHOLD])
    if p[lay.P_MORE] > 0:
        _more_colour(x, flat, row, p)


@njit(nogil=True, cache=True)
def _more_colour(x: Any, flat: Any, row: Any, p: Any) -> None:
    if row[lay.C_INVERT] > 0:
        k.invert(flat)
    if row[lay.C_POSTERISE] > 0:
        k.posterise(flat, row[lay.C_POSTERISE])
    if row[lay.C_AUTOCONTRAST] > 0:
        k.autocontrast(flat)
    if row[lay.C_EQUALISE] > 0:
        k.equalise(flat)
    if row[lay.C_SHARPNESS] != 1:
        k.sharpness(x, row[lay.C_SHARPNESS])
    if row[lay.C_PROJECTION] > 0:
        k.project(flat)
    if row[lay.C_CHANNEL_SHIFT] > 0:
        k.channel_shift(x, row[lay.C_RED_Y : lay.C_BLUE_X + 1])
    if row[lay.C_KEPT] >= 0:
        k.drop_channels(
            flat, row[lay.C_KEPT], p[lay.P_DROP_NOISE], row[lay.C_SEED_0], row[lay.C_SEED_1]
        )
    if row[lay.C_NOISE] > 0:
        k.add_noise(flat, row[lay.C_NOISE], row[lay.C_SEED_0], row[lay.C_SEED_1])


@njit(nogil=True, cache=True)
def _inverse(row: Any, side: Any) -> Any:
    return k.inverse_affine(
        row[lay.C_ANGLE], row[lay.C_SHIFT_Y], row[lay.C_SHIFT_X], row[lay.C_SCALE],
        row[lay.C_SHEAR_Y], row[lay.C_SHEAR_X], side,
    )  # fmt: skip


@njit(nogil=True, cache=True)
def _move(x: Any, row: Any, p: Any) -> Any:
    """Affine and quarter turns within a crop or tile [C, S, S]."""
    if row[lay.C_AFFINE] > 0:
        out = np.empty_like(x)
        k.warp(x, _inverse(row, x.shape[1]), 0, 0, p[lay.P_BORDER] == 0, out)
        x = out
    if row[lay.C_TURNS] > 0:
        k.quarter_turns(x, int(row[lay.C_TURNS]))
    return x


@njit(nogil=True, cache=True)
def _warp_from_picture(image: Any, region: Any, row: Any, p: Any, x: Any) -> None:
    """The region warped into ``x`` [C, S, S], with the picture around it in sight.

    Resamples as much around the region as the warp looks at, in the scale of the region, then
    warps; beyond the picture it is mirrored.
    """
    height, width, channels = image.shape
    size = x.shape[1]
    inverse = _inverse(row, size)
    step_y, step_x = region[2] / size, region[3] / size  # source pixels per pixel of the view
    # Whole pixels of the view's grid that lie in the picture, in the mirrored frame.
    low_y, high_y = math.ceil(-region[0] / step_y), math.floor((height - region[0]) / step_y)
    low_x, high_x = math.ceil(-region[1] / step_x), math.floor((width - region[1]) / step_x)
    flip = row[lay.C_FLIP] > 0
    if flip:
        low_x, high_x = size - high_x, size - low_x
    for axis in range(2):
        a, b, c = inverse[axis, 0] * size, inverse[axis, 1] * size, inverse[axis, 2]
        least = math.floor(c + min(0.0, a) + min(0.0, b)) - 2
        most = math.ceil(c + max(0.0, a) + max(0.0, b)) + 2
        if axis == 0:
            low_x, high_x = max(low_x, least), min(high_x, most)
        else:
            low_y, high_y = max(low_y, least), min(high_y, most)
    # A warp that looks past the picture altogether mirrors its nearest pixels.
    high_y, high_x = max(high_y, low_y + 1), max(high_x, low_x + 1)
    around = np.empty((channels, high_y - low_y, high_x - low_x), np.float32)
    start_x = size - high_x if flip else low_x
    wide = np.empty(4)
    wide[0], wide[2] = region[0] + low_y * step_y, (high_y - low_y) * step_y
    wide[1], wide[3] = region[1] + start_x * step_x, (high_x - low_x) * step_x
    k.resample(image, wide, p[lay.P_BICUBIC] > 0, flip, around)
    k.warp(around, inverse, low_y, low_x, False, x)


@njit(nogil=True, cache=True)
def _place(image: Any, top: Any, left: Any, rows: Any, p: Any, x: Any) -> Any:
    """The crop of a view, mirrored and, without tiles, warped and turned: planar [C, S, S]."""
    region = np.empty(4)
    for i in range(4):
        region[i] = rows[0, i]
    region[0] += top
    region[1] += left
    row = rows[0]
    if rows.shape[0] == 1 and row[lay.C_AFFINE] > 0 and p[lay.P_BORDER] == 2:
        _warp_from_picture(image, region, row, p, x)
        if row[lay.C_TURNS] > 0:
            k.quarter_turns(x, int(row[lay.C_TURNS]))
        return x
    k.resample(image, region, p[lay.P_BICUBIC] > 0, row[lay.C_FLIP] > 0, x)
    return x if rows.shape[0] > 1 else _move(x, row, p)


@njit(nogil=True, cache=True)
def _tile(x: Any, row: Any, p: Any) -> Any:
    """One tile of a crop, mirrored, warped and turned by its own row: planar [C, s, s]."""
    y, z, side = int(row[lay.C_TILE_TOP]), int(row[lay.C_TILE_LEFT]), int(p[lay.P_TILE])
    tile = x[:, y : y + side, z : z + side].copy()
    if row[lay.C_FLIP] > 0:
        tile[:] = tile[:, :, ::-1].copy()
    return _move(tile, row, p)


@njit(nogil=True, cache=True)
def _apply(image: Any, top: Any, left: Any, rows: Any, p: Any, out: Any) -> None:
    """Rows [P, K] of one sample applied; ``out`` uint8 [T, h, w, C] (T = 1 without tiles).

    The rows' region counts from (top, left) of the image.
    """
    size = int(p[lay.P_SIZE])
    x = _place(image, top, left, rows, p, np.empty((image.shape[2], size, size), np.float32))
    if rows.shape[0] == 1:
        _colour(x, rows[0], p)
        k.store(x, out[0])
        return
    for part in range(1, rows.shape[0]):
        tile = _tile(x, rows[part], p)
        _colour(tile, rows[part], p)
        k.store(tile, out[part - 1])


@njit(nogil=True, cache=True)
def _move_floats(image: Any, top: Any, left: Any, rows: Any, p: Any, out: Any) -> None:
    """As ``_apply`` without colours, into float32 [T, h, w, C], resized to the side of ``out``."""
    size, side = int(p[lay.P_SIZE]), out.shape[1]
    x = _place(image, top, left, rows, p, np.empty((image.shape[2], size, size), np.float32))
    small = np.empty((image.shape[2], side, side), np.float32)
    for part in range(out.shape[0]):
        plane = x if rows.shape[0] == 1 else _tile(x, rows[part + 1], p)
        if plane.shape[1] != side:
            k.resize_planar(plane, small)
            plane = small
        for c in range(image.shape[2]):
            out[part, :, :, c] = plane[c]


def make_view(
    view: View,
    image: NDArray[np.uint8],
    key: rng.Key,
    position: int,
    rows: NDArray[np.float32],
    out: NDArray[np.uint8],
    box: Box | None = None,
) -> None:
    """Samples and applies one view. Safe to call from many threads at once.

    Args:
        view: What to make.
        image: uint8 [H, W, C], C 1 or 3.
        key: Of (seed, stream, view name).
        position: Position in the stream.
        rows: float32 [P, K], written: what was sampled.
        out: uint8 [S, S, C] or [T, s, s, C], written: the pixels.
        box: (top, left, height, width): the part of the image that is the sample; None, all of it.
            A view sees nothing outside of it, unless its border is "picture".
    """
    p = _checked(view, image, rows, out)
    image, top, left, height, width = _placed(view, image, box)
    t.sample_rows(p, key[0], key[1], position, height, width, rows)
    _apply(image, top, left, rows, p, out if out.ndim == 4 else out[None])


def apply_rows(
    view: View,
    image: NDArray[np.uint8],
    rows: NDArray[np.float32],
    out: NDArray[np.uint8],
    box: Box | None = None,
) -> None:
    """Applies given rows: a pure function of pixels and table. Arguments as ``make_view``."""
    p = _checked(view, image, rows, out)
    image, top, left, _, _ = _placed(view, image, box)
    _apply(image, top, left, rows, p, out if out.ndim == 4 else out[None])


def move_floats(
    view: View,
    image: NDArray[np.float32],
    rows: NDArray[np.float32],
    side: int,
    box: Box | None = None,
) -> NDArray[np.float32]:
    """The geometry of a view alone, for floats in [0, 1], [H, W, C] -> [T, side, side, C]."""
    image, top, left, _, _ = _placed(view, image, box)
    parts = view.parts if view.tiles is None else view.parts - 1
    out = np.empty((parts, side, side, image.shape[2]), np.float32)
    _move_floats(image * np.float32(255), top, left, rows, t.parameters(view), out)
    return out


def inside(box: Box | None, height: int, width: int) -> Box:
    """The part of a box that lies in a picture; without a box, the picture."""
    if box is None:
        return 0, 0, height, width
    top, left = max(box[0], 0), max(box[1], 0)
    bottom, right = min(box[0] + box[2], height), min(box[1] + box[3], width)
    if top >= bottom or left >= right:
        raise ValueError(f"the box {box} holds no pixels of a picture of {height} x {width}")
    return top, left, bottom - top, right - left


def _placed(view: View, image: Any, box: Box | None) -> tuple[Any, int, int, int, int]:
    """What the view may see, and where in it the sample lies: top, left, height, width."""
    top, left, height, width = inside(box, image.shape[0], image.shape[1])
    if view.sees_around:
        return np.ascontiguousarray(image), top, left, height, width
    cut = np.ascontiguousarray(image[top : top + height, left : left + width])
    return cut, 0, 0, height, width


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
