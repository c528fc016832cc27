"""The operations most views have none of, called one by one from Python.

Each is compiled when it is first used, so that a start pays for no operation it does not need;
the few microseconds of a call are small beside the operations themselves. They release the GIL.

Legend: C channels, S side of the crop, s of a tile, P parts, K columns.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.views import kernels as k
from foveal.views import layout as lay

Planes = NDArray[np.float32]
Row = NDArray[np.float32]
_PICTURE = lay.BORDERS.index("picture")


def place(image: Any, top: int, left: int, rows: Row, p: NDArray[np.float64]) -> list[Planes]:
    """The geometry of a view: the crop [C, S, S], or its tiles, each warped and turned.

    Args:
        image: uint8, uint16, or float32 in 0 to 255, [H, W, C].
        top: First row of the sample in it.
        left: First column of the sample in it.
        rows: [P, K].
        p: The view's parameters.
    """
    size = int(p[lay.P_SIZE])
    x = np.empty((image.shape[2], size, size), np.float32)
    row = rows[0]
    region = row[:4] + np.array([top, left, 0, 0], np.float32)
    cubic, flip = bool(p[lay.P_BICUBIC] > 0), bool(row[lay.C_FLIP] > 0)
    if len(rows) == 1:
        if row[lay.C_AFFINE] > 0 and p[lay.P_BORDER] == _PICTURE:
            _warp_from_picture(image, region.astype(np.float64), row, cubic, flip, x)
            return [_turn(x, row)]
        k.resample(image, region, cubic, flip, x)
        return [_turn(_warp(x, row, p), row)]
    k.resample(image, region, cubic, flip, x)
    side = int(p[lay.P_TILE])
    tiles = []
    for row in rows[1:]:
        y, z = int(row[lay.C_TILE_TOP]), int(row[lay.C_TILE_LEFT])
        tile = x[:, y : y + side, z : z + side]
        tile = np.ascontiguousarray(tile[:, :, ::-1] if row[lay.C_FLIP] > 0 else tile)
        if tile.base is not None:  # the one tile that fills the crop
            tile = tile.copy()
        tiles.append(_turn(_warp(tile, row, p), row))
    return tiles


def _inverse(row: Row, side: int) -> NDArray[np.float64]:
    names = (lay.C_ANGLE, lay.C_SHIFT_Y, lay.C_SHIFT_X, lay.C_SCALE, lay.C_SHEAR_Y, lay.C_SHEAR_X)
    inverse: NDArray[np.float64] = k.inverse_affine(*(float(row[n]) for n in names), float(side))
    return inverse


def _warp(x: Planes, row: Row, p: NDArray[np.float64]) -> Planes:
    """Within the crop or tile."""
    if row[lay.C_AFFINE] == 0:
        return x
    out = np.empty_like(x)
    k.warp(x, _inverse(row, x.shape[1]), 0, 0, bool(p[lay.P_BORDER] == 0), out)
    return out


def _turn(x: Planes, row: Row) -> Planes:
    turns = int(row[lay.C_TURNS])
    return np.ascontiguousarray(np.rot90(x, turns, (1, 2))) if turns else x


def _warp_from_picture(
    image: Any, region: NDArray[np.float64], row: Row, cubic: bool, flip: bool, x: Planes
) -> None:
    """The region warped into ``x`` [C, S, S], with the picture around it in sight.

    Resamples as much around the region as the warp looks at, in the scale of the region, then
    warps; beyond the picture it is mirrored.
    """
    size = x.shape[1]
    inverse = _inverse(row, size)
    step = region[2:] / size  # source pixels (y, x) per pixel of the view
    # Whole pixels of the view's grid that lie in the picture, in the mirrored frame.
    low = np.ceil(-region[:2] / step)
    high = np.floor((np.array(image.shape[:2]) - region[:2]) / step)
    if flip:
        low[1], high[1] = size - high[1], size - low[1]
    # What the warp looks at: its corners, and a pixel or two for interpolation.
    corners = np.array([(0, 0, 1), (size, 0, 1), (0, size, 1), (size, size, 1)]) @ inverse.T
    low = np.maximum(low, np.floor(corners[:, ::-1].min(0)) - 2)
    high = np.minimum(high, np.ceil(corners[:, ::-1].max(0)) + 2)
    # A warp that looks past the picture altogether mirrors its nearest pixels.
    high = np.maximum(high, low + 1)
    height, width = (high - low).astype(int)
    around = np.empty((len(x), height, width), np.float32)
    start = np.array([low[0], size - high[1] if flip else low[1]])
    wide = np.concatenate([region[:2] + start * step, (high - low) * step])
    k.resample(image, wide.astype(np.float32), cubic, flip, around)
    k.warp(around, inverse, math.floor(low[0]), math.floor(low[1]), False, x)


def before_colour(x: Planes, row: Row) -> None:
    """What comes before the jitter, in place on [C, s, s]."""
    flat = x.reshape(len(x), -1)
    if row[lay.C_SHRINK] > 0:
        k.shrink_and_back(x, float(row[lay.C_SHRINK]))
    if row[lay.C_PCA] > 0:
        k.pca_contrast(flat, row[lay.C_PCA_1 : lay.C_PCA_3 + 1])
    if row[lay.C_HSV] > 0:
        s, v = row[lay.C_S_POWER : lay.C_S_ADD + 1], row[lay.C_V_POWER : lay.C_V_ADD + 1]
        k.hsv_powers(flat, float(row[lay.C_HSV_HUE]), s, v)


def after_colour(x: Planes, row: Row, p: NDArray[np.float64]) -> None:
    """What comes after the solariser, in place on [C, s, s]."""
    flat = x.reshape(len(x), -1)
    seeds = int(row[lay.C_SEED_0]), int(row[lay.C_SEED_1])
    if row[lay.C_INVERT] > 0:
        k.invert(flat)
    if row[lay.C_POSTERISE] > 0:
        k.posterise(flat, int(row[lay.C_POSTERISE]))
    if row[lay.C_AUTOCONTRAST] > 0:
        k.autocontrast(flat)
    if row[lay.C_EQUALISE] > 0:
        k.equalise(flat)
    if row[lay.C_SHARPNESS] != 1:
        k.sharpness(x, float(row[lay.C_SHARPNESS]))
    if row[lay.C_PROJECTION] > 0:
        k.project(flat)
    if row[lay.C_CHANNEL_SHIFT] > 0:
        k.channel_shift(x, row[lay.C_RED_Y : lay.C_BLUE_X + 1])
    if row[lay.C_KEPT] >= 0:
        k.drop_channels(flat, int(row[lay.C_KEPT]), float(p[lay.P_DROP_NOISE]), *seeds)
    if row[lay.C_NOISE] > 0:
        k.add_noise(flat, float(row[lay.C_NOISE]), *seeds)
