"""Pixels of a region to a planar picture, antialiased; and a planar picture back to pixels."""

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
    """A region of uint8 [H, W, C] to planar float32 [C, h, w] in [0, 1], mirrored if asked.

    Vertical pass first: it runs over whole rows of the source.
    """
    height, width, channels = image.shape
    tall, wide = out.shape[1], out.shape[2]
    y_first, y_count, y_weight = _weights(row[0], row[2], height, tall, cubic)
    x_first, x_count, x_weight = _weights(row[1], row[3], width, wide, cubic)
    x_low, x_high = width, 0
    for x in range(wide):
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
    for y in range(tall):
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
            for x in range(wide):
                value = np.float32(0)
                at = x_first[x] - x_low
                for j in range(x_count[x]):
                    value += x_weight[x, j] * plane[at + j]
                value = min(max(value, np.float32(0)), np.float32(1))
                target[wide - 1 - x if flip else x] = value


@njit(nogil=True, cache=True, fastmath=True)
def resize_planar(x: Any, out: Any) -> None:
    """Bilinear antialiased resize of planar [C, H, W] to [C, h, w]."""
    channels, height, width = x.shape
    new_height, new_width = out.shape[1], out.shape[2]
    y_first, y_count, y_weight = _weights(0.0, float(height), height, new_height, False)
    x_first, x_count, x_weight = _weights(0.0, float(width), width, new_width, False)
    line = np.empty(width, np.float32)
    for c in range(channels):
        for y in range(new_height):
            line[:] = 0
            for j in range(y_count[y]):
                w = y_weight[y, j]
                source = x[c, y_first[y] + j]
                for i in range(width):
                    line[i] += w * source[i]
            for i in range(new_width):
                value = np.float32(0)
                for j in range(x_count[i]):
                    value += x_weight[i, j] * line[x_first[i] + j]
                out[c, y, i] = value


@njit(nogil=True, cache=True)
def shrink_and_back(x: Any, side: Any) -> None:
    """Down to ``side`` pixels (rounded), antialiased, and up again, bilinear; planar [C, S, S]."""
    small = max(1, int(np.rint(side)))
    if small >= x.shape[1]:
        return
    less = np.empty((x.shape[0], small, small), np.float32)
    resize_planar(x, less)
    resize_planar(less, x)


@njit(nogil=True, cache=True, fastmath=True)
def store(x: Any, out: Any) -> None:
    """Planar float32 [C, H, W] in [0, 1] to uint8 [H, W, C], rounded half up."""
    channels, height, width = x.shape
    for y in range(height):
        for i in range(width):
            for c in range(channels):
                out[y, i, c] = np.uint8(x[c, y, i] * np.float32(255) + np.float32(0.5))
