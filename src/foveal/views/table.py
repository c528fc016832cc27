"""Sampling: from a view's description to one row of numbers per (sample, part).

A row is a pure function of (key, position, part) and the picture's height and width. Every
parameter has its own slot of random numbers, so switching one operation off moves no other draw.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numba import njit, uint32, uint64
from numpy.typing import NDArray

from foveal.core import rng
from foveal.views.spec import View

COLUMNS = (
    "top", "left", "height", "width",  # the region, in pixels of the source
    "flip",  # 0 or 1
    "order",  # index of the jitter's permutation; -1: no jitter
    "brightness",  # factor, or what is added
    "contrast", "saturation",  # factors
    "hue",  # shift, in turns
    "grey", "sigma", "solarise",  # 0 or 1; blur in pixels, 0 is off; 0 or 1
    "tile_top", "tile_left",  # of a tile, in pixels of the crop
)  # fmt: skip
COLUMN = {name: i for i, name in enumerate(COLUMNS)}

KINDS = ("random_resized", "clipped", "center", "resize_random", "pad_random")
_TRIES = 10  # blocks 0 to 9: one per try of the crop
_COLOUR_BLOCK = _TRIES  # four blocks: everything else

# All orders of (brightness, contrast, saturation, hue).
ORDERS = np.array(
    [
        (a, b, c, d)
        for a in range(4)
        for b in range(4)
        for c in range(4)
        for d in range(4)
        if len({a, b, c, d}) == 4
    ],
    np.int64,
)
_AS_LISTED = 0.0  # ORDERS[0] is (0, 1, 2, 3)


@functools.lru_cache(maxsize=256)
def parameters(view: View) -> NDArray[np.float64]:
    """A view as the flat array the kernels read."""
    j, b, t = view.jitter, view.blur, view.tiles
    c = view.crop
    values = [
        view.size, KINDS.index(c.kind), *c.scale, math.log(c.ratio[0]), math.log(c.ratio[1]),
        c.fraction, c.resize, c.pad,
        1.0 if view.interpolation == "bicubic" else 0.0, view.flip,
        *((j.p, j.brightness, j.contrast, j.saturation, j.hue, j.additive, j.random_order)
          if j else (0,) * 7),
        view.grey, 1.0 if view.grey_kind == "mean" else 0.0,
        *((b.p, *b.sigma) if b else (0, 0, 0)), view.blur_kernel,
        1.0 if b and b.border == "zero" else 0.0,
        view.solarise, view.threshold,
        *((t.rows, t.columns, t.stride, t.size, t.jitter) if t else (0,) * 5),
    ]  # fmt: skip
    return np.array(values, np.float64)


# Indices into ``parameters``; kept beside it because numba reads module constants, not names.
(
    P_SIZE, P_KIND, P_SCALE0, P_SCALE1, P_RATIO0, P_RATIO1, P_FRACTION, P_RESIZE, P_PAD, P_BICUBIC,
    P_FLIP, P_JITTER, P_BRIGHTNESS, P_CONTRAST, P_SATURATION, P_HUE, P_ADDITIVE, P_RANDOM_ORDER,
    P_GREY, P_GREY_MEAN, P_BLUR, P_SIGMA0, P_SIGMA1, P_KERNEL, P_ZERO_BORDER, P_SOLARISE,
    P_THRESHOLD, P_ROWS, P_COLUMNS, P_STRIDE, P_TILE, P_TILE_JITTER,
) = range(32)  # fmt: skip


@njit(nogil=True, cache=True)
def _uniforms(k0: Any, k1: Any, position: Any, part: Any, block: Any, out: Any, at: Any) -> None:
    """Four uniform numbers in [0, 1) into ``out[at:at + 4]``."""
    low = uint32(uint64(position) & uint64(0xFFFFFFFF))
    high = uint32(uint64(position) >> uint64(32))
    words = rng.philox(uint32(k0), uint32(k1), low, high, uint32(part), uint32(block))
    for i in range(4):
        out[at + i] = words[i] * 2.0**-32


@njit(nogil=True, cache=True)
def _region(p: Any, k0: Any, k1: Any, position: Any, height: Any, width: Any, row: Any) -> None:
    """The region of part 0 into ``row[0:4]``."""
    u = np.empty(4)
    kind = int(p[P_KIND])
    size = p[P_SIZE]
    if kind <= 1:
        area = float(height) * width
        tries = _TRIES if kind == 0 else 1
        for t in range(tries):
            _uniforms(k0, k1, position, 0, t, u, 0)
            target = area * (p[P_SCALE0] + u[0] * (p[P_SCALE1] - p[P_SCALE0]))
            ratio = math.exp(p[P_RATIO0] + u[1] * (p[P_RATIO1] - p[P_RATIO0]))
            w = int(np.rint(math.sqrt(target * ratio)))
            h = int(np.rint(math.sqrt(target / ratio)))
            if kind == 1:
                w, h = min(max(w, 1), width), min(max(h, 1), height)
            if 0 < w <= width and 0 < h <= height:
                row[0] = math.floor(u[2] * (height - h + 1))
                row[1] = math.floor(u[3] * (width - w + 1))
                row[2] = h
                row[3] = w
                return
        ratio = float(width) / height
        low, high = math.exp(p[P_RATIO0]), math.exp(p[P_RATIO1])
        w, h = width, height
        if ratio < low:
            h = max(1, min(height, int(np.rint(w / low))))
        elif ratio > high:
            w = max(1, min(width, int(np.rint(h * high))))
        row[0] = (height - h) // 2
        row[1] = (width - w) // 2
        row[2] = h
        row[3] = w
        return
    _uniforms(k0, k1, position, 0, 0, u, 0)
    short = float(min(height, width))
    if kind == 2:
        side = short * p[P_FRACTION]
        row[0] = (height - side) / 2
        row[1] = (width - side) / 2
    elif kind == 3:
        side = short * min(1.0, size / p[P_RESIZE])
        row[0] = u[2] * (height - side)
        row[1] = u[3] * (width - side)
    else:
        side = size
        pad = p[P_PAD]
        # Whole pixels, so nothing is resampled; a picture smaller than the view is centred.
        room_y, room_x = height + 2 * pad - side, width + 2 * pad - side
        row[0] = math.floor(u[2] * (room_y + 1)) - pad if room_y >= 0 else (height - side) // 2
        row[1] = math.floor(u[3] * (room_x + 1)) - pad if room_x >= 0 else (width - side) // 2
    row[2] = side
    row[3] = side


@njit(nogil=True, cache=True)
def _colour(p: Any, k0: Any, k1: Any, position: Any, part: Any, row: Any) -> None:
    """Everything but the region, into ``row[4:]``."""
    u = np.empty(16)
    for b in range(4):
        _uniforms(k0, k1, position, part, _COLOUR_BLOCK + b, u, 4 * b)
    row[4] = 1.0 if u[0] < p[P_FLIP] else 0.0
    on = u[1] < p[P_JITTER]
    row[5] = (math.floor(u[2] * 24) if p[P_RANDOM_ORDER] > 0 else _AS_LISTED) if on else -1.0
    row[6] = 0.0 if p[P_ADDITIVE] > 0 else 1.0
    row[7] = 1.0
    row[8] = 1.0
    row[9] = 0.0
    if on:
        s = p[P_BRIGHTNESS]
        if p[P_ADDITIVE] > 0:
            row[6] = (2 * u[3] - 1) * s
        else:
            row[6] = max(0.0, 1 - s) + u[3] * (1 + s - max(0.0, 1 - s))
        s = p[P_CONTRAST]
        row[7] = max(0.0, 1 - s) + u[4] * (1 + s - max(0.0, 1 - s))
        s = p[P_SATURATION]
        row[8] = max(0.0, 1 - s) + u[5] * (1 + s - max(0.0, 1 - s))
        row[9] = (2 * u[6] - 1) * p[P_HUE]
    row[10] = 1.0 if u[7] < p[P_GREY] else 0.0
    sigma = p[P_SIGMA0] + u[9] * (p[P_SIGMA1] - p[P_SIGMA0])
    row[11] = sigma if u[8] < p[P_BLUR] else 0.0
    row[12] = 1.0 if u[10] < p[P_SOLARISE] else 0.0
    row[13] = 0.0
    row[14] = 0.0
    if part > 0:
        tile = part - 1
        columns, stride = int(p[P_COLUMNS]), p[P_STRIDE]
        offsets = p[P_TILE_JITTER] + 1
        row[13] = (tile // columns) * stride + math.floor(u[11] * offsets)
        row[14] = (tile % columns) * stride + math.floor(u[12] * offsets)


@njit(nogil=True, cache=True)
def sample_rows(
    p: Any, k0: Any, k1: Any, position: Any, height: Any, width: Any, rows: Any
) -> None:
    """All rows of one view of one sample into ``rows`` float32 [P, K]."""
    for part in range(rows.shape[0]):
        if part == 0:
            _region(p, k0, k1, position, height, width, rows[0])
        else:
            rows[part, :4] = rows[0, :4]
        _colour(p, k0, k1, position, part, rows[part])


def sample(
    view: View, key: rng.Key, positions: NDArray[np.int64], sizes: NDArray[np.int32]
) -> NDArray[np.float32]:
    """The table of a batch without its pixels: any rank can compute that of the whole batch.

    Args:
        view: The view.
        key: Of (seed, stream, view name).
        positions: Positions in the stream, [B].
        sizes: Height and width of each picture, [B, 2].

    Returns:
        float32 [B, P, K], the columns named in ``COLUMNS``.
    """
    out = np.empty((len(positions), view.parts, len(COLUMNS)), np.float32)
    p = parameters(view)
    for b, position in enumerate(positions):
        sample_rows(p, key[0], key[1], int(position), int(sizes[b, 0]), int(sizes[b, 1]), out[b])
    return out
