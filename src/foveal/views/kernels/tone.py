"""Operations on values, channel by channel: planar [C, N] or [C, H, W], clipped to [0, 1]."""

from __future__ import annotations

from typing import Any

import numpy as np

from foveal.core.compiled import compiled


@compiled(fastmath=True)
def brightness(x: Any, amount: Any, additive: Any) -> None:
    """``x * amount``, or ``x + amount``; planar [C, N], clipped."""
    f, d = (np.float32(1), np.float32(amount)) if additive else (np.float32(amount), np.float32(0))
    for c in range(x.shape[0]):
        for i in range(x.shape[1]):
            x[c, i] = min(max(x[c, i] * f + d, np.float32(0)), np.float32(1))


@compiled(fastmath=True)
def _sum_of_grey(x: Any) -> Any:
    total = 0.0
    if x.shape[0] == 3:
        red, green, blue = x[0], x[1], x[2]
        for i in range(red.shape[0]):
            v = np.float32(0.2989) * red[i] + np.float32(0.587) * green[i]
            total += v + np.float32(0.114) * blue[i]
    else:  # no colours anybody sees: the plain mean
        for c in range(x.shape[0]):
            for i in range(x.shape[1]):
                total += x[c, i]
        total /= x.shape[0]
    return total


@compiled(fastmath=True)
def contrast(x: Any, factor: Any) -> None:
    """Away from, or towards, the mean of the grey picture."""
    n = x.shape[1]
    f = np.float32(factor)
    d = np.float32((1 - factor) * _sum_of_grey(x) / n)
    for c in range(x.shape[0]):
        plane = x[c]
        for i in range(n):
            plane[i] = min(max(plane[i] * f + d, np.float32(0)), np.float32(1))


@compiled(fastmath=True)
def solarise(x: Any, threshold: Any) -> None:
    """``x >= threshold`` becomes ``1 - x``; planar [C, N]."""
    t = np.float32(threshold)
    for c in range(x.shape[0]):
        for i in range(x.shape[1]):
            x[c, i] = np.float32(1) - x[c, i] if x[c, i] >= t else x[c, i]


@compiled(fastmath=True)
def invert(x: Any) -> None:
    """The negative, ``1 - x``."""
    for c in range(x.shape[0]):
        for i in range(x.shape[1]):
            x[c, i] = np.float32(1) - x[c, i]


@compiled(fastmath=True)
def posterise(x: Any, bits: Any) -> None:
    """Keeps the highest bits of the values rounded to 8 bits."""
    mask = 256 - (1 << (8 - int(bits)))
    for c in range(x.shape[0]):
        for i in range(x.shape[1]):
            level = int(x[c, i] * np.float32(255) + np.float32(0.5)) & mask
            x[c, i] = np.float32(level) * np.float32(1 / 255)


@compiled()
def autocontrast(x: Any) -> None:
    """Stretches each channel so that its darkest value is 0 and its brightest 1."""
    for c in range(x.shape[0]):
        low, high = x[c].min(), x[c].max()
        if high <= low:
            continue
        scale = np.float32(1) / (high - low)
        for i in range(x.shape[1]):
            x[c, i] = min((x[c, i] - low) * scale, np.float32(1))


@compiled()
def equalise(x: Any) -> None:
    """Flattens each channel's histogram of 256 levels, as Pillow and torchvision do."""
    table = np.empty(256, np.float32)
    for c in range(x.shape[0]):
        histogram = np.zeros(256, np.int64)
        for i in range(x.shape[1]):
            histogram[int(x[c, i] * np.float32(255) + np.float32(0.5))] += 1
        last = 255
        while histogram[last] == 0:
            last -= 1
        step = (x.shape[1] - histogram[last]) // 255
        if step == 0:
            continue
        below = step // 2
        for level in range(256):
            table[level] = np.float32(min(below // step, 255)) * np.float32(1 / 255)
            below += histogram[level]
        for i in range(x.shape[1]):
            x[c, i] = table[int(x[c, i] * np.float32(255) + np.float32(0.5))]
