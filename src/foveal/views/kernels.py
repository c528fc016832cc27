"""Applying: pixels and a row of numbers become a view. Compiled, without the GIL, one call each.

Scratch is planar float32 [C, H, W] in [0, 1], so inner loops run over contiguous memory and the
compiler vectorises them; nothing is rounded between operations.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit


@njit(nogil=True, cache=True, fastmath=True)
def _filter(x: Any, cubic: Any) -> Any:
    """Triangle, or Keys' cubic with a = -1/2 (what Pillow and torch use when antialiasing)."""
    x = abs(x)
    if cubic:
        if x < 1:
            return (1.5 * x - 2.5) * x * x + 1
        if x < 2:
            return ((-0.5 * x + 2.5) * x - 4) * x + 2
        return 0.0
    return 1.0 - x if x < 1 else 0.0


@njit(nogil=True, cache=True)
def _weights(start: Any, length: Any, source: Any, size: Any, cubic: Any) -> Any:
    """Taps of a resize of [start, start + length) to ``size``: first index and weights of each.

    Only pixels of the region count, as if it had been cut out first; outside the picture the
    weights stay, and the pixels are zeros (padding).
    """
    scale = length / size
    stretch = max(scale, 1.0)
    support = (2.0 if cubic else 1.0) * stretch
    low, high = math.floor(start), math.ceil(start + length)
    taps = math.ceil(support) * 2 + 2
    first = np.empty(size, np.int64)
    count = np.empty(size, np.int64)
    weights = np.zeros((size, taps), np.float32)
    for i in range(size):
        centre = start + (i + 0.5) * scale
        a = max(low, math.floor(centre - support + 0.5))
        b = min(high, math.floor(centre + support + 0.5))
        total = 0.0
        for j in range(a, b):
            total += _filter((j + 0.5 - centre) / stretch, cubic)
        # Skip what lies outside the picture: zeros there, but they count in the total.
        inside_a, inside_b = max(a, 0), min(b, source)
        first[i] = inside_a
        count[i] = max(0, inside_b - inside_a)
        for j in range(inside_a, inside_b):
            weights[i, j - inside_a] = _filter((j + 0.5 - centre) / stretch, cubic) / total
    return first, count, weights


@njit(nogil=True, cache=True, fastmath=True)
def resample(image: Any, row: Any, cubic: Any, flip: Any, out: Any) -> None:
    """A region of uint8 [H, W, C] to planar float32 [C, S, S] in [0, 1], mirrored if asked.

    Vertical pass first: it runs over whole rows of the source.
    """
    height, width, channels = image.shape
    size = out.shape[1]
    y_first, y_count, y_weight = _weights(row[0], row[2], height, size, cubic)
    x_first, x_count, x_weight = _weights(row[1], row[3], width, size, cubic)
    x_low, x_high = width, 0
    for x in range(size):
        if x_count[x] > 0:
            x_low = min(x_low, x_first[x])
            x_high = max(x_high, x_first[x] + x_count[x])
    if x_high <= x_low:
        out[:] = 0
        return
    flat = image.reshape(height, width * channels)
    begin, end = x_low * channels, x_high * channels
    line = np.empty(end - begin, np.float32)
    planes = np.empty((channels, x_high - x_low), np.float32)
    for y in range(size):
        line[:] = 0
        for j in range(y_count[y]):
            w = y_weight[y, j] * np.float32(1 / 255)
            source = flat[y_first[y] + j, begin:end]
            for i in range(end - begin):
                line[i] += w * np.float32(source[i])
        for c in range(channels):
            for i in range(x_high - x_low):
                planes[c, i] = line[i * channels + c]
        for c in range(channels):
            plane = planes[c]
            target = out[c, y]
            for x in range(size):
                value = np.float32(0)
                at = x_first[x] - x_low
                for j in range(x_count[x]):
                    value += x_weight[x, j] * plane[at + j]
                value = min(max(value, np.float32(0)), np.float32(1))
                target[size - 1 - x if flip else x] = value


@njit(nogil=True, cache=True, fastmath=True)
def _grey_of(x: Any, i: Any) -> Any:
    """BT.601 luma of pixel i of planar [C, N]."""
    if x.shape[0] == 1:
        return x[0, i]
    return np.float32(0.2989) * x[0, i] + np.float32(0.587) * x[1, i] + np.float32(0.114) * x[2, i]


@njit(nogil=True, cache=True, fastmath=True)
def brightness(x: Any, amount: Any, additive: Any) -> None:
    """``x * amount``, or ``x + amount``; planar [C, N], clipped."""
    f, d = (np.float32(1), np.float32(amount)) if additive else (np.float32(amount), np.float32(0))
    for c in range(x.shape[0]):
        for i in range(x.shape[1]):
            x[c, i] = min(max(x[c, i] * f + d, np.float32(0)), np.float32(1))


@njit(nogil=True, cache=True, fastmath=True)
def contrast(x: Any, factor: Any) -> None:
    """Away from, or towards, the mean of the grey picture."""
    total = 0.0
    for i in range(x.shape[1]):
        total += _grey_of(x, i)
    f = np.float32(factor)
    d = np.float32((1 - factor) * total / x.shape[1])
    for c in range(x.shape[0]):
        for i in range(x.shape[1]):
            x[c, i] = min(max(x[c, i] * f + d, np.float32(0)), np.float32(1))


@njit(nogil=True, cache=True, fastmath=True)
def saturation(x: Any, factor: Any) -> None:
    """Away from, or towards, each pixel's grey; three channels."""
    f = np.float32(factor)
    for i in range(x.shape[1]):
        d = (np.float32(1) - f) * _grey_of(x, i)
        for c in range(3):
            x[c, i] = min(max(x[c, i] * f + d, np.float32(0)), np.float32(1))


@njit(nogil=True, cache=True, fastmath=True)
def hue(x: Any, shift: Any) -> None:
    """A turn of the hue circle by ``shift``; three channels, through HSV, without branches."""
    one, six = np.float32(1), np.float32(6)
    turn = np.float32(shift) * six
    for i in range(x.shape[1]):
        r, g, b = x[0, i], x[1, i], x[2, i]
        top = max(r, max(g, b))
        delta = top - min(r, min(g, b))
        safe = delta if delta > 0 else one
        h = (
            (g - b) / safe
            if top == r
            else (np.float32(2) + (b - r) / safe if top == g else np.float32(4) + (r - g) / safe)
        )
        h += turn
        for c in range(3):
            # Red, green and blue peak at 0, 2 and 4 sixths: distance round the circle.
            k = h - np.float32(2 * c)
            k -= six * np.floor(k / six)
            k = min(k, six - k)
            x[c, i] = top - delta * min(max(k - one, np.float32(0)), one)


@njit(nogil=True, cache=True, fastmath=True)
def grey(x: Any, mean: Any) -> None:
    """All three channels become the grey value: BT.601, or the plain mean."""
    for i in range(x.shape[1]):
        v = (x[0, i] + x[1, i] + x[2, i]) / np.float32(3) if mean else _grey_of(x, i)
        for c in range(3):
            x[c, i] = v


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
                padded[y + radius] = x[c, _reflected(y, height)]
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
                    line[i + radius] = np.float32(0) if zero else target[_reflected(i, width)]
            for i in range(width):
                target[i] = w[0] * line[i + radius]
            for k in range(1, radius + 1):
                wk = w[k]
                for i in range(width):
                    target[i] += wk * (line[i + radius - k] + line[i + radius + k])


@njit(nogil=True, cache=True)
def _reflected(i: Any, n: Any) -> Any:
    """Index of a reflected border that does not repeat the edge, however far outside."""
    if n == 1:
        return 0
    period = 2 * (n - 1)
    i = abs(i) % period
    return period - i if i >= n else i


@njit(nogil=True, cache=True, fastmath=True)
def solarise(x: Any, threshold: Any) -> None:
    """``x >= threshold`` becomes ``1 - x``; planar [C, N]."""
    t = np.float32(threshold)
    for c in range(x.shape[0]):
        for i in range(x.shape[1]):
            x[c, i] = np.float32(1) - x[c, i] if x[c, i] >= t else x[c, i]


@njit(nogil=True, cache=True, fastmath=True)
def store(x: Any, out: Any) -> None:
    """Planar float32 [C, H, W] in [0, 1] to uint8 [H, W, C], rounded half up."""
    channels, height, width = x.shape
    for y in range(height):
        for i in range(width):
            for c in range(channels):
                out[y, i, c] = np.uint8(x[c, y, i] * np.float32(255) + np.float32(0.5))
