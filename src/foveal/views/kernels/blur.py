"""Gaussian blur and sharpness of planar [C, H, W]."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from foveal.views.kernels.warp import reflected


@njit(nogil=True, cache=True)
def blur_weights(radius: Any, sigma: Any) -> Any:
    """Half a normalised Gaussian kernel: the centre, then ``radius`` taps."""
    w = np.empty(radius + 1, np.float32)
    total = 0.0
    for k in range(radius + 1):
        v = math.exp(-0.5 * (k / sigma) ** 2)
        total += v if k == 0 else 2 * v
        w[k] = v
    for k in range(radius + 1):
        w[k] /= total
    return w


@njit(nogil=True, cache=True, fastmath=True)
def blur(x: Any, sigma: Any, kernel: Any, zero: Any) -> None:
    """Separable Gaussian blur of planar [C, H, W], border reflected or zero."""
    channels, height, width = x.shape
    radius = kernel // 2
    if radius == 0:
        return
    w = blur_weights(radius, sigma)
    # Taps of weight below 1e-7 cannot move a pixel by a thousandth of a grey level.
    while radius > 0 and w[radius] < 1e-7:
        radius -= 1
    padded = np.empty((height + 2 * radius, width), np.float32)
    line = np.empty(width + 2 * radius, np.float32)
    for c in range(channels):
        for y in range(-radius, height + radius):
            if 0 <= y < height:
                padded[y + radius] = x[c, y]
            elif zero:
                padded[y + radius] = 0
            else:
                padded[y + radius] = x[c, reflected(y, height)]
        for y in range(height):
            target = x[c, y]
            centre = padded[y + radius]
            for i in range(width):
                target[i] = w[0] * centre[i]
            for k in range(1, radius + 1):
                above, below, wk = padded[y + radius - k], padded[y + radius + k], w[k]
                for i in range(width):
                    target[i] += wk * (above[i] + below[i])
            for i in range(-radius, width + radius):
                if 0 <= i < width:
                    line[i + radius] = target[i]
                else:
                    line[i + radius] = np.float32(0) if zero else target[reflected(i, width)]
            for i in range(width):
                target[i] = w[0] * line[i + radius]
            for k in range(1, radius + 1):
                wk = w[k]
                for i in range(width):
                    target[i] += wk * (line[i + radius - k] + line[i + radius + k])


@njit(nogil=True, cache=True, fastmath=True)
def sharpness(x: Any, factor: Any) -> None:
    """Away from, or towards, a 3 x 3 mean that weighs the centre five times; planar [C, H, W].

    The pixels of the border stay as they are.
    """
    channels, height, width = x.shape
    if height < 3 or width < 3:
        return
    f = np.float32(factor)
    a = (np.float32(1) - f) / np.float32(13)
    old = np.empty((height, width), np.float32)
    for c in range(channels):
        old[:] = x[c]
        for y in range(1, height - 1):
            up, mid, down = old[y - 1], old[y], old[y + 1]
            for i in range(1, width - 1):
                around = up[i - 1] + up[i] + up[i + 1] + mid[i - 1] + mid[i + 1]
                around += down[i - 1] + down[i] + down[i + 1]
                v = f * mid[i] + a * (around + np.float32(5) * mid[i])
                x[c, y, i] = min(max(v, np.float32(0)), np.float32(1))
