"""Affine warps of planar [C, H, W]."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from foveal.core.compiled import compiled


@compiled()
def inverse_affine(
    angle: Any, shift_y: Any, shift_x: Any, scale: Any, shear_y: Any, shear_x: Any, side: Any
) -> Any:
    """Where each pixel of the result comes from: [2, 3], rows (x, y), columns (x, y, 1).

    Coordinates are continuous, (0, 0) is the corner of the first pixel. Angles in degrees,
    shifts in shares of ``side``; sheared along y, along x, turned, scaled, about the centre, and
    moved, as torchvision's ``affine``.
    """
    rotation, kx, ky = math.radians(angle), math.radians(shear_x), math.radians(shear_y)
    a = math.cos(rotation - ky) / math.cos(ky)
    b = -a * math.tan(kx) - math.sin(rotation)
    c = math.sin(rotation - ky) / math.cos(ky)
    d = -c * math.tan(kx) + math.cos(rotation)
    # The determinant of [[a, b], [c, d]] is 1.
    out = np.empty((2, 3))
    out[0, 0], out[0, 1] = d / scale, -b / scale
    out[1, 0], out[1, 1] = -c / scale, a / scale
    centre = side / 2
    x, y = centre + shift_x * side, centre + shift_y * side
    out[0, 2] = centre - out[0, 0] * x - out[0, 1] * y
    out[1, 2] = centre - out[1, 0] * x - out[1, 1] * y
    return out


@compiled()
def reflected(i: Any, n: Any) -> Any:
    """Index of a reflected border that does not repeat the edge, however far outside."""
    if n == 1:
        return 0
    period = 2 * (n - 1)
    i = abs(i) % period
    return period - i if i >= n else i


@compiled()
def warp(x: Any, inverse: Any, top: Any, left: Any, zero: Any, out: Any) -> None:
    """Bilinear: ``out`` [C, S, S] looks up ``x`` [C, H, W], whose corner lies at (top, left).

    Outside of ``x``: zeros, or its reflection.
    """
    channels, height, width = x.shape
    size = out.shape[1]
    for row in range(size):
        for i in range(size):
            u = inverse[0, 0] * (i + 0.5) + inverse[0, 1] * (row + 0.5) + inverse[0, 2]
            v = inverse[1, 0] * (i + 0.5) + inverse[1, 1] * (row + 0.5) + inverse[1, 2]
            u -= left + 0.5
            v -= top + 0.5
            x0, y0 = math.floor(u), math.floor(v)
            wx, wy = np.float32(u - x0), np.float32(v - y0)
            for c in range(channels):
                out[c, row, i] = 0
            for dy in range(2):
                for dx in range(2):
                    yy, xx = y0 + dy, x0 + dx
                    if not (0 <= yy < height and 0 <= xx < width):
                        if zero:
                            continue
                        yy, xx = reflected(yy, height), reflected(xx, width)
                    w = (wy if dy else np.float32(1) - wy) * (wx if dx else np.float32(1) - wx)
                    for c in range(channels):
                        out[c, row, i] += w * x[c, yy, xx]
