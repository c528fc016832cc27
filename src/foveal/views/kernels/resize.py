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
    """Taps of a resize of [start, start + length) to ``size``: first index [size], weights.

    Only pixels of the region count, as if it had been cut out first; outside the picture the
    weights stay, and the pixels are zeros (padding). Every row has the same even number of
    weights, zeros at its end; with them it may reach up to that many pixels past the picture.
    """
    scale = length / size
    stretch = max(scale, 1.0)
    support = (2.0 if cubic else 1.0) * stretch
    low, high = math.floor(start), math.ceil(start + length)
    most = math.ceil(support) * 2 + 2
    first = np.zeros(size, np.int64)
    weights = np.zeros((size, most), np.float32)
    some = np.empty(most)
    longest = 2
    for i in range(size):
        centre = start + (i + 0.5) * scale
        a = max(low, math.floor(centre - support + 0.5))
        b = min(high, math.floor(centre + support + 0.5))
        total = 0.0
        for j in range(a, b):
            some[j - a] = _filter((j + 0.5 - centre) / stretch, cubic)
            total += some[j - a]
        # Skip what lies outside the picture: zeros there, but they count in the total.
        inside_a, inside_b = max(a, 0), min(b, source)
        if inside_b > inside_a:
            first[i] = inside_a
            longest = max(longest, inside_b - inside_a)
            for j in range(inside_a, inside_b):
                weights[i, j - inside_a] = some[j - a] / total
    longest += longest % 2
    short = np.empty((size, longest), np.float32)
    for i in range(size):
        for j in range(longest):
            short[i, j] = weights[i, j]
    return first, short


@njit(nogil=True, cache=True, fastmath=True)
def _down(source: Any, first: Any, weights: Any, line: Any) -> None:
    """One line between rows: ``line`` [N] from rows of ``source`` [H, N], values of 255 to 1.

    Four rows at a time, so that the line is visited once for each four.
    """
    unit = np.float32(1 / 255)
    last = source.shape[0] - 1
    n = line.shape[0]
    for j in range(0, weights.shape[0], 4):
        more = weights.shape[0] > j + 2
        a, b = weights[j] * unit, weights[j + 1] * unit
        c = weights[j + 2] * unit if more else np.float32(0)
        d = weights[j + 3] * unit if more else np.float32(0)
        # Past the last row the weights are zeros: any row will do.
        p, q = source[min(first + j, last)], source[min(first + j + 1, last)]
        r, s = source[min(first + j + 2, last)], source[min(first + j + 3, last)]
        if j == 0:
            for i in range(n):
                line[i] = a * np.float32(p[i]) + b * np.float32(q[i])
        else:
            for i in range(n):
                line[i] += a * np.float32(p[i]) + b * np.float32(q[i])
        if more:
            for i in range(n):
                line[i] += c * np.float32(r[i]) + d * np.float32(s[i])


@njit(nogil=True, cache=True, fastmath=True)
def _across(line: Any, first: Any, weights: Any, out: Any, y: Any) -> None:
    """Row y of planar ``out`` [C, h, w] from an interleaved line, [W * C]."""
    zero, one = np.float32(0), np.float32(1)
    if out.shape[0] != 3:
        for c in range(out.shape[0]):
            target = out[c, y]
            for i in range(target.shape[0]):
                v = zero
                for j in range(weights.shape[1]):
                    v += weights[i, j] * line[(first[i] + j) * out.shape[0] + c]
                target[i] = min(max(v, zero), one)
        return
    red, green, blue = out[0, y], out[1, y], out[2, y]
    # Unsigned: signed indices are looked at for being negative.
    g, b, step = np.uint64(1), np.uint64(2), np.uint64(3)
    for i in range(red.shape[0]):
        at = np.uint64(first[i]) * step
        taps = weights[i]
        v0, v1, v2 = zero, zero, zero
        for j in range(taps.shape[0]):
            w = taps[j]
            v0 += w * line[at]
            v1 += w * line[at + g]
            v2 += w * line[at + b]
            at += step
        red[i] = v0
        green[i] = v1
        blue[i] = v2
    for c in range(3):
        target = out[c, y]
        for i in range(target.shape[0]):
            target[i] = min(max(target[i], zero), one)


@njit(nogil=True, cache=True, fastmath=True)
def resample(image: Any, row: Any, cubic: Any, flip: Any, out: Any) -> None:
    """A region of uint8 [H, W, C] to planar float32 [C, h, w] in [0, 1], mirrored if asked.

    Vertical pass first: it runs over whole rows of the source.
    """
    height, width, channels = image.shape
    y_first, y_weights = _weights(row[0], row[2], height, out.shape[1], cubic)
    x_first, x_weights = _weights(row[1], row[3], width, out.shape[2], cubic)
    if flip:
        x_first, x_weights = x_first[::-1].copy(), x_weights[::-1].copy()
    begin = x_first.min()
    end = min(width, x_first.max() + x_weights.shape[1])
    x_first -= begin
    # Room for the zeros at the end of the last taps.
    line = np.zeros((end - begin + x_weights.shape[1]) * channels, np.float32)
    part = line[: (end - begin) * channels]
    rows = image.reshape(height, width * channels)[:, begin * channels : end * channels]
    for y in range(out.shape[1]):
        _down(rows, y_first[y], y_weights[y], part)
        _across(line, x_first, x_weights, out, y)


@njit(nogil=True, cache=True, fastmath=True)
def resize_planar(x: Any, out: Any) -> None:
    """Bilinear antialiased resize of planar [C, H, W] to [C, h, w]."""
    channels, height, width = x.shape
    y_first, y_weights = _weights(0.0, float(height), height, out.shape[1], False)
    x_first, x_weights = _weights(0.0, float(width), width, out.shape[2], False)
    line = np.zeros(width + x_weights.shape[1], np.float32)
    part = line[:width]
    for c in range(channels):
        for y in range(out.shape[1]):
            part[:] = 0
            for j in range(y_weights.shape[1]):
                w = y_weights[y, j]
                source = x[c, min(y_first[y] + j, height - 1)]
                for i in range(width):
                    part[i] += w * source[i]
            for i in range(out.shape[2]):
                value = np.float32(0)
                for j in range(x_weights.shape[1]):
                    value += x_weights[i, j] * line[x_first[i] + j]
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
    n = height * width
    top, half = np.float32(255), np.float32(0.5)
    flat = out.reshape(n * channels)
    planes = x.reshape(channels, n)
    if channels == 3:
        red, green, blue = planes[0], planes[1], planes[2]
        for i in range(n):
            flat[3 * i] = np.uint8(np.int32(red[i] * top + half))
            flat[3 * i + 1] = np.uint8(np.int32(green[i] * top + half))
            flat[3 * i + 2] = np.uint8(np.int32(blue[i] * top + half))
    else:
        for c in range(channels):
            for i in range(n):
                flat[i * channels + c] = np.uint8(np.int32(planes[c, i] * top + half))
