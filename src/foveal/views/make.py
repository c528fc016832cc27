"""One view of one picture, from its pixels to its slot in the batch."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.core import rng
from foveal.core.compiled import compiled
from foveal.errors import FovealError
from foveal.views import kernels as k
from foveal.views import layout as lay
from foveal.views import steps
from foveal.views import table as t
from foveal.views.spec import View

Box = tuple[int, int, int, int]


@compiled()
def _plain_colour(x: Any, row: Any, p: Any) -> None:
    """Jitter, grey, blur and solarise of a row on planar float32 [C, H, W]."""
    channels, height, width = x.shape
    flat = x.reshape(channels, height * width)
    if row[lay.C_ORDER] >= 0:
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
    if row[lay.C_GREY] > 0:
        k.grey(flat, p[lay.P_GREY_MEAN] > 0)
    if row[lay.C_SIGMA] > 0:
        k.blur(x, row[lay.C_SIGMA], int(p[lay.P_KERNEL]), p[lay.P_ZERO_BORDER] > 0)
    if row[lay.C_SOLARISE] > 0:
        k.solarise(flat, row[lay.C_THRESHOLD])


@compiled()
def _plain(image: Any, rows: Any, p: Any, out: Any) -> None:
    """Rows [P, K] of one sample into ``out`` [T, h, w, C] (T = 1 without tiles)."""
    channels, size, side = image.shape[2], int(p[lay.P_SIZE]), out.shape[1]
    x = np.empty((channels, size, size), np.float32)
    k.resample(image, rows[0, :4], p[lay.P_BICUBIC] > 0, rows[0, lay.C_FLIP] > 0, x)
    if rows.shape[0] == 1:
        _plain_colour(x, rows[0], p)
        k.store(x, out[0])
        return
    tile = np.empty((channels, side, side), np.float32)
    for part in range(1, rows.shape[0]):
        row = rows[part]
        top, left, flip = int(row[lay.C_TILE_TOP]), int(row[lay.C_TILE_LEFT]), row[lay.C_FLIP] > 0
        for c in range(channels):
            for y in range(side):
                for i in range(side):
                    tile[c, y, i] = x[c, top + y, left + (side - 1 - i if flip else i)]
        _plain_colour(tile, row, p)
        k.store(tile, out[part - 1])


def make_view(
    view: View,
    image: NDArray[np.unsignedinteger[Any]],
    key: rng.Key,
    position: int,
    rows: NDArray[np.float32],
    out: NDArray[np.uint8 | np.float32],
    box: Box | None = None,
) -> None:
    """Samples and applies one view. Safe to call from many threads at once.

    Args:
        view: What to make.
        image: uint8 or uint16 [H, W, C].
        key: Of (seed, stream, view name).
        position: Position in the stream.
        rows: float32 [P, K], written: what was sampled.
        out: uint8, or float32 in [0, 1], [S, S, C] or [T, s, s, C], written: the pixels.
        box: (top, left, height, width): the part of the image that is the sample; None, all of it.
            A view sees nothing outside of it, unless its border is "picture".
    """
    p = _checked(view, image, rows, out)
    image, top, left, height, width = _placed(view, image, box)
    t.sample_rows(p, key, position, (height, width), rows)
    _apply(image, top, left, rows, p, out)


def apply_rows(
    view: View,
    image: NDArray[np.unsignedinteger[Any]],
    rows: NDArray[np.float32],
    out: NDArray[np.uint8 | np.float32],
    box: Box | None = None,
) -> None:
    """Applies given rows: a pure function of pixels and table. Arguments as ``make_view``."""
    p = _checked(view, image, rows, out)
    image, top, left, _, _ = _placed(view, image, box)
    _apply(image, top, left, rows, p, out)


def _apply(image: Any, top: int, left: int, rows: Any, p: Any, out: Any) -> None:
    """Most views are one compiled call; the further operations are called one by one."""
    out = out if out.ndim == 4 else out[None]
    if p[lay.P_MORE] == 0:
        _plain(image, rows, p, out)
        return
    for part, x in enumerate(steps.place(image, top, left, rows, p)):
        row = rows[0] if len(rows) == 1 else rows[part + 1]
        steps.before_colour(x, row)
        _plain_colour(x, row, p)
        steps.after_colour(x, row, p)
        k.store(x, out[part])


def move_floats(
    view: View,
    image: NDArray[np.float32],
    rows: NDArray[np.float32],
    side: int,
    box: Box | None = None,
) -> NDArray[np.float32]:
    """The geometry of a view alone, for floats in [0, 1], [H, W, C] -> [T, side, side, C]."""
    image, top, left, _, _ = _placed(view, image, box)
    planes = steps.place(image * np.float32(255), top, left, rows, t.parameters(view))
    if side != view.side:
        small = [np.empty((len(x), side, side), np.float32) for x in planes]
        for x, less in zip(planes, small, strict=True):
            k.resize_planar(x, less)
        planes = small
    return np.stack([x.transpose(1, 2, 0) for x in planes])


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
    if box is None:
        return np.ascontiguousarray(image), 0, 0, image.shape[0], image.shape[1]
    top, left, height, width = inside(box, image.shape[0], image.shape[1])
    if view.sees_around:
        return np.ascontiguousarray(image), top, left, height, width
    cut = np.ascontiguousarray(image[top : top + height, left : left + width])
    return cut, 0, 0, height, width


def _checked(
    view: View,
    image: NDArray[np.unsignedinteger[Any]],
    rows: NDArray[np.float32],
    out: NDArray[np.uint8 | np.float32],
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
