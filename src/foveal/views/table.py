"""Sampling: from a view's description to one row of numbers per (sample, part).

A row is a pure function of (key, position, part) and the picture's height and width. Every
parameter has its own slot of random numbers, so switching one operation off moves no other draw.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import uint32, uint64
from numpy.typing import NDArray

from foveal.core import rng
from foveal.core.compiled import compiled
from foveal.views import layout as lay
from foveal.views.layout import COLUMN, COLUMNS, ORDERS, parameters
from foveal.views.spec import View

__all__ = ["COLUMN", "COLUMNS", "ORDERS", "parameters", "sample", "sample_rows"]

# Blocks of four random numbers of each (position, part). A new operation takes new slots at the
# end: those of the others never move.
_TRIES = 10  # blocks 0 to 9: one per try of the crop
_COLOUR_BLOCK = _TRIES  # blocks 10 to 13: mirror, jitter, grey, blur, solarise, tiles
_MORE_BLOCK = 14  # blocks 14 to 31: all other operations, so far
_MORE_SLOTS = 4 * 11
_CHOICE_BLOCK = 32  # blocks 32 to 41: which of a choice's operations happen
_CHOICE_SLOTS = 4 * 10


@compiled()
def _uniforms(k0: Any, k1: Any, position: Any, part: Any, block: Any, out: Any, at: Any) -> None:
    """Four uniform numbers in [0, 1) into ``out[at:at + 4]``."""
    low = uint32(uint64(position) & uint64(0xFFFFFFFF))
    high = uint32(uint64(position) >> uint64(32))
    words = rng.philox(uint32(k0), uint32(k1), low, high, uint32(part), uint32(block))
    for i in range(4):
        out[at + i] = words[i] * 2.0**-32


@compiled()
def _region(p: Any, k0: Any, k1: Any, position: Any, height: Any, width: Any, row: Any) -> None:
    """The region of part 0 into ``row[0:4]``."""
    u = np.empty(4)
    kind = int(p[lay.P_KIND])
    size = p[lay.P_SIZE]
    if kind <= 1:
        area = float(height) * width
        tries = _TRIES if kind == 0 else 1
        for t in range(tries):
            _uniforms(k0, k1, position, 0, t, u, 0)
            target = area * (p[lay.P_SCALE0] + u[0] * (p[lay.P_SCALE1] - p[lay.P_SCALE0]))
            ratio = math.exp(p[lay.P_RATIO0] + u[1] * (p[lay.P_RATIO1] - p[lay.P_RATIO0]))
            w = int(np.rint(math.sqrt(target * ratio)))
            h = int(np.rint(math.sqrt(target / ratio)))
            if kind == 1:
                w, h = min(max(w, 1), width), min(max(h, 1), height)
            if 0 < w <= width and 0 < h <= height:
                row[lay.C_TOP] = math.floor(u[2] * (height - h + 1))
                row[lay.C_LEFT] = math.floor(u[3] * (width - w + 1))
                row[lay.C_HEIGHT] = h
                row[lay.C_WIDTH] = w
                return
        ratio = float(width) / height
        low, high = math.exp(p[lay.P_RATIO0]), math.exp(p[lay.P_RATIO1])
        w, h = width, height
        if ratio < low:
            h = max(1, min(height, int(np.rint(w / low))))
        elif ratio > high:
            w = max(1, min(width, int(np.rint(h * high))))
        row[lay.C_TOP] = (height - h) // 2
        row[lay.C_LEFT] = (width - w) // 2
        row[lay.C_HEIGHT] = h
        row[lay.C_WIDTH] = w
        return
    if kind == 5:
        row[lay.C_TOP] = row[lay.C_LEFT] = 0
        row[lay.C_HEIGHT] = height
        row[lay.C_WIDTH] = width
        return
    _uniforms(k0, k1, position, 0, 0, u, 0)
    short = float(min(height, width))
    if kind == 2:
        side = short * p[lay.P_FRACTION]
        row[lay.C_TOP] = (height - side) / 2
        row[lay.C_LEFT] = (width - side) / 2
    elif kind == 3:
        side = short * min(1.0, size / p[lay.P_RESIZE])
        row[lay.C_TOP] = u[2] * (height - side)
        row[lay.C_LEFT] = u[3] * (width - side)
    else:
        side = size
        pad = p[lay.P_PAD]
        # Whole pixels, so nothing is resampled; a picture smaller than the view is centred.
        room_y, room_x = height + 2 * pad - side, width + 2 * pad - side
        row[lay.C_TOP] = (
            math.floor(u[2] * (room_y + 1)) - pad if room_y >= 0 else (height - side) // 2
        )
        row[lay.C_LEFT] = (
            math.floor(u[3] * (room_x + 1)) - pad if room_x >= 0 else (width - side) // 2
        )
    row[lay.C_HEIGHT] = side
    row[lay.C_WIDTH] = side


@compiled()
def _colour(p: Any, k0: Any, k1: Any, position: Any, part: Any, row: Any) -> None:
    """Everything but the region, into the row, which is idle so far."""
    u = np.empty(16)
    for b in range(4):
        _uniforms(k0, k1, position, part, _COLOUR_BLOCK + b, u, 4 * b)
    row[lay.C_FLIP] = 1.0 if u[0] < p[lay.P_FLIP] else 0.0
    on = u[1] < p[lay.P_JITTER]
    if on:
        row[lay.C_ORDER] = math.floor(u[2] * 24) if p[lay.P_RANDOM_ORDER] > 0 else lay.AS_LISTED
    row[lay.C_BRIGHTNESS] = 0.0 if p[lay.P_ADDITIVE] > 0 else 1.0
    if on:
        s = p[lay.P_BRIGHTNESS]
        if p[lay.P_ADDITIVE] > 0:
            row[lay.C_BRIGHTNESS] = (2 * u[3] - 1) * s
        else:
            row[lay.C_BRIGHTNESS] = max(0.0, 1 - s) + u[3] * (1 + s - max(0.0, 1 - s))
        s = p[lay.P_CONTRAST]
        row[lay.C_CONTRAST] = max(0.0, 1 - s) + u[4] * (1 + s - max(0.0, 1 - s))
        s = p[lay.P_SATURATION]
        row[lay.C_SATURATION] = max(0.0, 1 - s) + u[5] * (1 + s - max(0.0, 1 - s))
        row[lay.C_HUE] = (2 * u[6] - 1) * p[lay.P_HUE]
    row[lay.C_GREY] = 1.0 if u[7] < p[lay.P_GREY] else 0.0
    sigma = p[lay.P_SIGMA0] + u[9] * (p[lay.P_SIGMA1] - p[lay.P_SIGMA0])
    row[lay.C_SIGMA] = sigma if u[8] < p[lay.P_BLUR] else 0.0
    row[lay.C_SOLARISE] = 1.0 if u[10] < p[lay.P_SOLARISE] else 0.0
    row[lay.C_THRESHOLD] = p[lay.P_THRESHOLD0]
    if part > 0:
        tile = part - 1
        columns, stride = int(p[lay.P_COLUMNS]), p[lay.P_STRIDE]
        offsets = p[lay.P_TILE_JITTER] + 1
        row[lay.C_TILE_TOP] = (tile // columns) * stride + math.floor(u[11] * offsets)
        row[lay.C_TILE_LEFT] = (tile % columns) * stride + math.floor(u[12] * offsets)


@compiled()
def _between(u: Any, low: Any, high: Any) -> Any:
    return low + u * (high - low)


@compiled()
def _log_between(u: Any, low: Any, high: Any) -> Any:
    return low * (high / low) ** u


@compiled()
def _more(p: Any, k0: Any, k1: Any, position: Any, part: Any, row: Any) -> None:
    """The operations that most views have none of. Slots are never moved, only added."""
    u = np.empty(_MORE_SLOTS)
    for b in range(_MORE_SLOTS // 4):
        _uniforms(k0, k1, position, part, _MORE_BLOCK + b, u, 4 * b)
    row[lay.C_TURNS] = (
        (1.0 if u[0] >= p[lay.P_TURN_0] else 0.0)
        + (1.0 if u[0] >= p[lay.P_TURN_1] else 0.0)
        + (1.0 if u[0] >= p[lay.P_TURN_2] else 0.0)
    )
    if u[1] < p[lay.P_AFFINE]:
        row[lay.C_AFFINE] = 1.0
        row[lay.C_ANGLE] = (2 * u[2] - 1) * p[lay.P_ROTATION]
        row[lay.C_SHIFT_Y] = (2 * u[3] - 1) * p[lay.P_TRANSLATION]
        row[lay.C_SHIFT_X] = (2 * u[4] - 1) * p[lay.P_TRANSLATION]
        row[lay.C_SCALE] = _between(u[5], p[lay.P_MAGNIFY0], p[lay.P_MAGNIFY1])
        row[lay.C_SHEAR_Y] = (2 * u[6] - 1) * p[lay.P_SHEAR_Y]
        row[lay.C_SHEAR_X] = (2 * u[7] - 1) * p[lay.P_SHEAR_X]
    if u[8] < p[lay.P_SHRINK]:
        row[lay.C_SHRINK] = math.sqrt(_between(u[9], p[lay.P_SHRINK0], p[lay.P_SHRINK1]))
    if u[10] < p[lay.P_PCA]:
        row[lay.C_PCA] = 1.0
        for i in range(3):
            row[lay.C_PCA_1 + i] = _log_between(u[11 + i], p[lay.P_PCA0], p[lay.P_PCA1])
    if u[14] < p[lay.P_HSV]:
        row[lay.C_HSV] = 1.0
        row[lay.C_HSV_HUE] = (2 * u[15] - 1) * p[lay.P_HSV_HUE]
        for i in range(2):
            at = lay.C_S_POWER + 3 * i
            row[at] = _log_between(u[16 + 3 * i], p[lay.P_POWER0], p[lay.P_POWER1])
            row[at + 1] = _log_between(u[17 + 3 * i], p[lay.P_FACTOR0], p[lay.P_FACTOR1])
            row[at + 2] = _between(u[18 + 3 * i], p[lay.P_ADD0], p[lay.P_ADD1])
    row[lay.C_INVERT] = 1.0 if u[22] < p[lay.P_INVERT] else 0.0
    if u[23] < p[lay.P_POSTERISE]:
        row[lay.C_POSTERISE] = math.floor(_between(u[24], p[lay.P_BITS0], p[lay.P_BITS1] + 1))
    row[lay.C_AUTOCONTRAST] = 1.0 if u[25] < p[lay.P_AUTOCONTRAST] else 0.0
    row[lay.C_EQUALISE] = 1.0 if u[26] < p[lay.P_EQUALISE] else 0.0
    if u[27] < p[lay.P_SHARPNESS]:
        row[lay.C_SHARPNESS] = _between(u[28], p[lay.P_SHARPNESS0], p[lay.P_SHARPNESS1])
    row[lay.C_PROJECTION] = 1.0 if u[29] < p[lay.P_PROJECTION] else 0.0
    if u[30] < p[lay.P_CHANNEL_SHIFT]:
        row[lay.C_CHANNEL_SHIFT] = 1.0
        for i in range(6):
            row[lay.C_RED_Y + i] = math.floor(
                _between(u[31 + i], p[lay.P_CHANNEL_SHIFT0], p[lay.P_CHANNEL_SHIFT1] + 1)
            )
    if u[37] < p[lay.P_DROP]:
        row[lay.C_KEPT] = math.floor(3 * u[38])
    if u[39] < p[lay.P_NOISE]:
        row[lay.C_NOISE] = _between(u[40], p[lay.P_NOISE0], p[lay.P_NOISE1])
    row[lay.C_SEED_0] = math.floor(u[41] * 2**24)
    row[lay.C_SEED_1] = math.floor(u[42] * 2**24)
    row[lay.C_THRESHOLD] = _between(u[43], p[lay.P_THRESHOLD0], p[lay.P_THRESHOLD1])
    if p[lay.P_CHOICE_OF] > 0:
        _choose(p, k0, k1, position, part, row)


@compiled()
def _choose(p: Any, k0: Any, k1: Any, position: Any, part: Any, row: Any) -> None:
    """Switches off the operations of ``View.choice`` that are not chosen."""
    u = np.empty(_CHOICE_SLOTS)
    for b in range(_CHOICE_SLOTS // 4):
        _uniforms(k0, k1, position, part, _CHOICE_BLOCK + b, u, 4 * b)
    mask = int(p[lay.P_CHOICE_OF])
    left = 0  # operations not looked at yet
    for i in range(lay.SPAN.shape[0]):
        left += (mask >> i) & 1
    wanted = int(p[lay.P_CHOICE_COUNT]) if u[0] < p[lay.P_CHOICE] else 0
    for i in range(lay.SPAN.shape[0]):
        if not (mask >> i) & 1:
            continue
        # Selection sampling: every subset of this size is equally likely.
        if u[1 + i] * left < wanted:
            wanted -= 1
        else:
            for j in range(lay.SPAN[i, 0], lay.SPAN[i, 1]):
                row[j] = lay.IDLE[j]
                if j == lay.C_BRIGHTNESS and p[lay.P_ADDITIVE] > 0:
                    row[j] = 0.0
        left -= 1


@compiled()
def _plain_rows(
    p: Any, k0: Any, k1: Any, position: Any, height: Any, width: Any, rows: Any
) -> None:
    for part in range(rows.shape[0]):
        row = rows[part]
        for i in range(row.shape[0]):
            row[i] = lay.IDLE[i]
        if part == 0:
            _region(p, k0, k1, position, height, width, row)
        else:
            for i in range(4):
                row[i] = rows[0, i]
        _colour(p, k0, k1, position, part, row)


@compiled()
def _more_rows(p: Any, k0: Any, k1: Any, position: Any, rows: Any) -> None:
    for part in range(rows.shape[0]):
        _more(p, k0, k1, position, part, rows[part])


def sample_rows(
    p: NDArray[np.float64],
    key: rng.Key,
    position: int,
    size: tuple[int, int],
    rows: NDArray[np.float32],
) -> None:
    """All rows of one view of one sample of (height, width), into ``rows`` float32 [P, K]."""
    _plain_rows(p, key[0], key[1], position, size[0], size[1], rows)
    if p[lay.P_MORE] > 0:
        _more_rows(p, key[0], key[1], position, rows)
    once = int(p[lay.P_ONCE])
    for i in range(len(lay.SPAN) if once else 0):
        if (once >> i) & 1:
            columns = slice(*lay.SPAN[i])
            rows[1:, columns] = rows[0, columns]


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
        sample_rows(p, key, int(position), (int(sizes[b, 0]), int(sizes[b, 1])), out[b])
    return out
