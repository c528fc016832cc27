"""Pixels of a region to a planar picture, antialiased; and a planar picture back to pixels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from foveal.core.compiled import compiled


@compiled(fastmath=True)
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


@compiled()
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


@compiled(fastmath=True)
def _down(source: Any, first: Any, weights: Any, unit: Any, line: Any) -> None:
    """One line between rows: ``line`` [N] from rows of ``source`` [H, N], times ``unit``.

    Several rows at a time, so that the line is visited once for all of them.
    """
    last, taps = source.shape[0] - 1, weights.shape[0]
    n = line.shape[0]
    # Past the last row the weights are zeros: any row will do.
    p, q = source[min(first, last)], source[min(first + 1, last)]
    a, b = weights[0] * unit, weights[1] * unit
    if taps == 2:
        for i in range(n):
            line[i] = a * np.float32(p[i]) + b * np.float32(q[i])
        return
    r, s = source[min(first + 2, last)], source[min(first + 3, last)]
    c, d = weights[2] * unit, weights[3] * unit
    for i in range(n):
        near = a * np.float32(p[i]) + b * np.float32(q[i])
        line[i] = near + c * np.float32(r[i]) + d * np.float32(s[i])
    for j in range(4, taps, 2):
        p, q = source[min(first + j, last)], source[min(first + j + 1, last)]
        a, b = weights[j] * unit, weights[j + 1] * unit
        for i in range(n):
            line[i] += a * np.float32(p[i]) + b * np.float32(q[i])


def _across_by(fixed: int) -> Any:
    """A horizontal pass with a fixed number of taps, which the compiler unrolls (0: any number)."""

    @compiled(fastmath=True)
    def across(one: Any, two: Any, first: Any, weights: Any, out_1: Any, out_2: Any) -> None:
        """Two interleaved RGB lines [W * 3] into planar rows ``out`` [3, w]: they share weights."""
        red_1, green_1, blue_1 = out_1[0], out_1[1], out_1[2]
        red_2, green_2, blue_2 = out_2[0], out_2[1], out_2[2]
        # Unsigned: signed indices are looked at for being negative.
        g, b, step = np.uint64(1), np.uint64(2), np.uint64(3)
        taps = fixed if fixed else weights.shape[1]
        for i in range(red_1.shape[0]):
            at = np.uint64(first[i]) * step
            r1, g1, b1 = np.float32(0), np.float32(0), np.float32(0)
            r2, g2, b2 = np.float32(0), np.float32(0), np.float32(0)
            for j in range(taps):
                w = weights[i, j]
                r1 += w * one[at]
                g1 += w * one[at + g]
                b1 += w * one[at + b]
                r2 += w * two[at]
                g2 += w * two[at + g]
                b2 += w * two[at + b]
                at += step
            red_1[i], green_1[i], blue_1[i] = r1, g1, b1
            red_2[i], green_2[i], blue_2[i] = r2, g2, b2

    return across


_across_2, _across_4, _across_6, _across_any = (_across_by(n) for n in (2, 4, 6, 0))


@compiled(fastmath=True)
def _across(one: Any, two: Any, first: Any, weights: Any, out_1: Any, out_2: Any) -> None:
    """Two interleaved lines [W * C] into planar rows ``out`` [C, w]."""
    channels, taps = out_1.shape[0], weights.shape[1]
    if channels == 3:
        if taps == 2:
            _across_2(one, two, first, weights, out_1, out_2)
        elif taps == 4:
            _across_4(one, two, first, weights, out_1, out_2)
        elif taps == 6:
            _across_6(one, two, first, weights, out_1, out_2)
        else:
            _across_any(one, two, first, weights, out_1, out_2)
        return
    for line, out in ((one, out_1), (two, out_2)):
        for c in range(channels):
            for i in range(out.shape[1]):
                v = np.float32(0)
                for j in range(taps):
                    v += weights[i, j] * line[(first[i] + j) * channels + c]
                out[c, i] = v


@compiled(fastmath=True)
def resample(image: Any, row: Any, cubic: Any, flip: Any, out: Any) -> None:
    """A region of [H, W, C] to planar float32 [C, h, w] in [0, 1], mirrored if asked.

    White is 65535 in uint16, 255 in uint8 and in floats.
    Vertical pass first: it runs over whole rows of the source.
    """
    height, width, channels = image.shape
    tall, wide = out.shape[1], out.shape[2]
    # A constant of each type that this is compiled for.
    unit = np.float32(1 / 65535) if image.itemsize == 2 else np.float32(1 / 255)
    y_first, y_weights = _weights(row[0], row[2], height, tall, cubic)
    x_first, x_weights = _weights(row[1], row[3], width, wide, cubic)
    x_taps = x_weights.shape[1]
    if flip:
        for i in range(wide // 2):
            j = wide - 1 - i
            x_first[i], x_first[j] = x_first[j], x_first[i]
            for t in range(x_taps):
                x_weights[i, t], x_weights[j, t] = x_weights[j, t], x_weights[i, t]
    begin, end = width, 0
    for i in range(wide):
        begin, end = min(begin, x_first[i]), max(end, x_first[i] + x_taps)
    for i in range(wide):
        x_first[i] -= begin
    end = min(end, width)
    # Whole vectors where the picture has room for them: the rest of a loop is slow.
    n = min((end - begin) * channels + 31 & ~31, (width - begin) * channels)
    # Room for the zeros at the end of the last taps.
    one = np.zeros(n + x_taps * channels, np.float32)
    two = np.zeros_like(one)
    rows = image.reshape(height, width * channels)[:, begin * channels : begin * channels + n]
    for y in range(0, tall, 2):
        z = min(y + 1, tall - 1)
        _down(rows, y_first[y], y_weights[y], unit, one[:n])
        _down(rows, y_first[z], y_weights[z], unit, two[:n])
        _across(one, two, x_first, x_weights, out[:, y], out[:, z])
    if cubic:  # only a cubic overshoots
        flat = out.reshape(channels * tall * wide)
        for i in range(flat.shape[0]):
            flat[i] = min(max(flat[i], np.float32(0)), np.float32(1))


@compiled(fastmath=True)
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


@compiled()
def shrink_and_back(x: Any, side: Any) -> None:
    """Down to ``side`` pixels (rounded), antialiased, and up again, bilinear; planar [C, S, S]."""
    small = max(1, int(np.rint(side)))
    if small >= x.shape[1]:
        return
    less = np.empty((x.shape[0], small, small), np.float32)
    resize_planar(x, less)
    resize_planar(less, x)


@compiled()
def _interleave(planes: Any, flat: Any) -> None:
    channels, n = planes.shape
    for c in range(channels):
        for i in range(n):
            flat[i * channels + c] = planes[c, i]


@compiled(fastmath=True)
def store(x: Any, out: Any) -> None:
    """Planar float32 [C, H, W] in [0, 1] to [H, W, C]: uint8 rounded half up, float32 as it is."""
    channels, height, width = x.shape
    n = height * width
    if out.itemsize == 4:
        _interleave(x.reshape(channels, n), out.reshape(n * channels))
        return
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
