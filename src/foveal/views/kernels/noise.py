"""Noise drawn by counter: a pure function of two seeds of the row, planar [C, N]."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import uint32

from foveal.core.compiled import compiled
from foveal.core.rng import philox

GAUSSIAN, EVEN = 0, 1  # the third counter: what the numbers are for


@compiled()
def add_noise(x: Any, sigma: Any, seed_0: Any, seed_1: Any) -> None:
    """Adds Gaussian noise (Box-Muller), clipped."""
    k0, k1 = uint32(int(seed_0)), uint32(int(seed_1))
    normal = np.empty(4, np.float32)
    n = x.shape[1]
    for c in range(x.shape[0]):
        for block in range((n + 3) // 4):
            w0, w1, w2, w3 = philox(k0, k1, uint32(block), uint32(c), uint32(GAUSSIAN), uint32(0))
            for pair in range(2):
                a, b = (w0, w1) if pair == 0 else (w2, w3)
                radius = sigma * math.sqrt(-2 * math.log((a + 1.0) * 2.0**-32))
                angle = 2 * math.pi * (b * 2.0**-32)
                normal[2 * pair] = radius * math.cos(angle)
                normal[2 * pair + 1] = radius * math.sin(angle)
            for i in range(min(4, n - 4 * block)):
                v = x[c, 4 * block + i] + normal[i]
                x[c, 4 * block + i] = min(max(v, np.float32(0)), np.float32(1))


@compiled()
def drop_channels(x: Any, kept: Any, half: Any, seed_0: Any, seed_1: Any) -> None:
    """All channels but one become even noise in 1/2 +- ``half``."""
    k0, k1 = uint32(int(seed_0)), uint32(int(seed_1))
    n = x.shape[1]
    for c in range(x.shape[0]):
        if c == int(kept):
            continue
        for block in range((n + 3) // 4):
            words = philox(k0, k1, uint32(block), uint32(c), uint32(EVEN), uint32(0))
            for i in range(min(4, n - 4 * block)):
                x[c, 4 * block + i] = 0.5 + half * (words[i] * 2.0**-31 - 1.0)
