"""The CPU's noise on a device: Philox4x32-10 in 64-bit integers, batched.

Legend: N pictures, C channels, L blocks of four pixels.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from foveal.core.rng import PHILOX_MULTIPLIERS, PHILOX_WEYL
from foveal.views.device.rows import Rows, column
from foveal.views.kernels.noise import EVEN, GAUSSIAN

_MASK = 0xFFFFFFFF


def gaussian(like: Tensor, rows: Rows) -> Tensor:
    """Standard normal numbers by the seeds of the rows, as the kernel draws them."""
    words = _words(like, rows, GAUSSIAN).double()
    a, b = words[..., 0::2], words[..., 1::2]
    radius = torch.sqrt(-2 * torch.log((a + 1) * 2.0**-32))
    angle = 2 * math.pi * (b * 2.0**-32)
    both = torch.stack([radius * angle.cos(), radius * angle.sin()], -1).flatten(2)
    return _pixels(both, like)


def even(like: Tensor, rows: Rows) -> Tensor:
    """Even numbers in [-1, 1) by the seeds of the rows, as the kernel draws them."""
    return _pixels((_words(like, rows, EVEN).double() * 2.0**-31 - 1).flatten(2), like)


def _pixels(numbers: Tensor, like: Tensor) -> Tensor:
    """The first of [N, C, 4 L] as a picture."""
    return numbers[..., : like.shape[2] * like.shape[3]].to(like.dtype).view_as(like)


def _words(like: Tensor, rows: Rows, purpose: int) -> Tensor:
    """Random 32-bit words, int64 [N, C, L, 4]."""
    seeds = np.stack([column(rows, "seed_0"), column(rows, "seed_1")]).astype(np.int64)
    k0, k1 = torch.from_numpy(seeds).to(like.device)[..., None, None]
    blocks = -(-like.shape[2] * like.shape[3] // 4)
    c0 = torch.arange(blocks, device=like.device).expand(*like.shape[:2], -1)
    c1 = torch.arange(like.shape[1], device=like.device)[None, :, None].expand_as(c0)
    c2, c3 = torch.full_like(c0, purpose), torch.zeros_like(c0)
    for _ in range(10):
        high0, low0 = _product(PHILOX_MULTIPLIERS[0], c0)
        high1, low1 = _product(PHILOX_MULTIPLIERS[1], c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + PHILOX_WEYL[0]) & _MASK, (k1 + PHILOX_WEYL[1]) & _MASK
    return torch.stack([c0, c1, c2, c3], -1)


def _product(factor: int, x: Tensor) -> tuple[Tensor, Tensor]:
    """High and low 32 bits of a product of 32-bit numbers; a signed 64-bit one would overflow."""
    low, high = factor * (x & 0xFFFF), factor * (x >> 16)
    total = low + ((high & 0xFFFF) << 16)
    return (high >> 16) + (total >> 32), total & _MASK
