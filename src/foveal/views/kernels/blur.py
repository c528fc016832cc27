"""Gaussian blur and sharpness of planar [C, H, W]."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from foveal.core.compiled import compiled
from foveal.views.kernels.warp import reflected

_TAIL = 1e-4  # weight left out at the ends of a kernel: a fortieth of a grey level at most


@compiled()
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


@compiled()
def _short_weights(radius: Any, sigma: Any) -> Any:
    """``blur_weights`` without a tail that nobody can see, padded to whole groups of four taps."""
    w = blur_weights(radius, sigma)
    tail = 0.0
    while radius > 0 and tail + 2 * w[radius] < _TAIL:
        tail += 2 * w[radius]
        radius -= 1
    short = np.zeros(1 + 4 * ((radius + 3) // 4), np.float32)
    for k in range(radius + 1):
        short[k] = w[k] / (1 - tail)
    return short


@compiled(fastmath=True)
def blur(x: Any, sigma: Any, kernel: Any, zero: Any) -> None:
    """Separable Gaussian blur of planar [C, H, W], border reflected or zero.

    Symmetric taps share a multiplication, and four pairs of them a visit to memory.
    """
    channels, height, width = x.shape
    w = _short_weights(kernel // 2, sigma)
    radius = w.shape[0] - 1
    if radius == 0:
        return
    padded = np.empty((height + 2 * radius, width), np.float32)
    line = np.empty(width + 2 * radius, np.float32)
    for c in range(channels):
        for y in range(-radius, height + radius):
            source, target = x[c, reflected(y, height)], padded[y + radius]
            nothing = zero and not 0 <= y < height
            for i in range(width):
                target[i] = np.float32(0) if nothing else source[i]
        for y in range(height):
            middle = line[radius : radius + width]
            centre = padded[y + radius]
            for i in range(width):
                middle[i] = w[0] * centre[i]
            for k in range(1, radius, 4):
                w1, w2, w3, w4 = w[k], w[k + 1], w[k + 2], w[k + 3]
                a1, b1 = padded[y + radius - k], padded[y + radius + k]
                a2, b2 = padded[y + radius - k - 1], padded[y + radius + k + 1]
                a3, b3 = padded[y + radius - k - 2], padded[y + radius + k + 2]
                a4, b4 = padded[y + radius - k - 3], padded[y + radius + k + 3]
                for i in range(width):
                    near = w1 * (a1[i] + b1[i]) + w2 * (a2[i] + b2[i])
                    middle[i] += near + w3 * (a3[i] + b3[i]) + w4 * (a4[i] + b4[i])
            for k in range(radius):
                left, right = radius - 1 - k, radius + width + k
                line[left] = np.float32(0) if zero else middle[reflected(-1 - k, width)]
                line[right] = np.float32(0) if zero else middle[reflected(width + k, width)]
            target = x[c, y]
            for i in range(width):
                target[i] = w[0] * middle[i]
            for k in range(1, radius, 4):
                w1, w2, w3, w4 = w[k], w[k + 1], w[k + 2], w[k + 3]
                a1, b1 = line[radius - k :], line[radius + k :]
                a2, b2 = line[radius - k - 1 :], line[radius + k + 1 :]
                a3, b3 = line[radius - k - 2 :], line[radius + k + 2 :]
                a4, b4 = line[radius - k - 3 :], line[radius + k + 3 :]
                for i in range(width):
                    near = w1 * (a1[i] + b1[i]) + w2 * (a2[i] + b2[i])
                    target[i] += near + w3 * (a3[i] + b3[i]) + w4 * (a4[i] + b4[i])


@compiled(fastmath=True)
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
