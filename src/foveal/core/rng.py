"""Counter-based random numbers: any draw is a pure function of (key, position, part, slot).

Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) needs no
state, so nothing random has to be saved for resuming, and threads, workers and ranks cannot
change what is drawn. The known-answer vectors of the paper's library are tests.

Shapes: B positions, n draws each.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numba import njit, uint32, uint64
from numpy.typing import NDArray

Key = tuple[int, int]

PHILOX_MULTIPLIERS = _M0, _M1 = 0xD2511F53, 0xCD9E8D57
PHILOX_WEYL = _W0, _W1 = 0x9E3779B9, 0xBB67AE85
_FEISTEL_ROUNDS = 8


def key(seed: int, *names: str | int) -> Key:
    """The 64-bit Philox key of a stream of draws, e.g. ``key(seed, "train", "crop")``."""
    text = "\x1f".join([str(seed), *(f"{type(n).__name__}:{n}" for n in names)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")


def seed64(seed: int, *names: str | int) -> int:
    """A non-negative 63-bit seed for a generator that is not ours (torch, scikit-learn)."""
    low, high = key(seed, *names)
    return (high << 32 | low) & 0x7FFF_FFFF_FFFF_FFFF


@njit(cache=True, nogil=True, inline="always")
def philox(k0: Any, k1: Any, c0: Any, c1: Any, c2: Any, c3: Any) -> tuple[Any, Any, Any, Any]:
    """One Philox4x32-10 block; all arguments and results are uint32."""
    mask = uint64(0xFFFFFFFF)
    for _ in range(10):
        p0 = uint64(_M0) * uint64(c0)
        p1 = uint64(_M1) * uint64(c2)
        n0 = uint32(p1 >> uint64(32)) ^ uint32(c1) ^ uint32(k0)
        n2 = uint32(p0 >> uint64(32)) ^ uint32(c3) ^ uint32(k1)
        c1 = uint32(p1 & mask)
        c3 = uint32(p0 & mask)
        c0 = n0
        c2 = n2
        k0 = uint32((uint64(k0) + uint64(_W0)) & mask)
        k1 = uint32((uint64(k1) + uint64(_W1)) & mask)
    return uint32(c0), uint32(c1), uint32(c2), uint32(c3)


@njit(cache=True, nogil=True)
def fill_bits(k0: Any, k1: Any, positions: Any, part: Any, out: Any) -> None:
    """Fills ``out`` uint32 [B, n] with the draws of (positions[b], part)."""
    rows, n = out.shape
    for b in range(rows):
        low = uint32(uint64(positions[b]) & uint64(0xFFFFFFFF))
        high = uint32(uint64(positions[b]) >> uint64(32))
        for block in range((n + 3) // 4):
            words = philox(uint32(k0), uint32(k1), low, high, uint32(part), uint32(block))
            for i in range(min(4, n - block * 4)):
                out[b, block * 4 + i] = words[i]


def bits(k: Key, positions: NDArray[np.int64], n: int, part: int = 0) -> NDArray[np.uint32]:
    """Uniform 32-bit integers [B, n]."""
    out = np.empty((len(positions), n), np.uint32)
    fill_bits(k[0], k[1], np.ascontiguousarray(positions, np.int64), part, out)
    return out


def uniform(k: Key, positions: NDArray[np.int64], n: int, part: int = 0) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1), [B, n], with 32 random bits each."""
    return np.ldexp(bits(k, positions, n, part).astype(np.float64), -32)


def integers(
    k: Key, positions: NDArray[np.int64], n: int, high: int, part: int = 0
) -> NDArray[np.int64]:
    """Integers in [0, high), [B, n]; 64 random bits each, so the bias is below high / 2**64."""
    words = bits(k, positions, 2 * n, part).astype(np.uint64)
    wide = (words[:, 0::2] << np.uint64(32)) | words[:, 1::2]
    return (wide % np.uint64(high)).astype(np.int64)


def normal(k: Key, positions: NDArray[np.int64], n: int, part: int = 0) -> NDArray[np.float64]:
    """Standard normal numbers [B, n] (Box-Muller)."""
    u = uniform(k, positions, 2 * n, part)
    radius = np.sqrt(-2.0 * np.log1p(-u[:, 0::2]))
    return radius * np.cos(2.0 * np.pi * u[:, 1::2])


@njit(cache=True, nogil=True)
def _permute(k0: Any, k1: Any, n: Any, half: Any, positions: Any, out: Any) -> None:
    """Cycle-walking Feistel network over 2 * half bits."""
    mask = uint32((uint64(1) << uint64(half)) - uint64(1))
    for b in range(len(positions)):
        x = uint64(positions[b])
        while True:
            left = uint32(x >> uint64(half))
            right = uint32(x & uint64(mask))
            for r in range(_FEISTEL_ROUNDS):
                word = philox(uint32(k0), uint32(k1), right, uint32(r), uint32(n), uint32(half))[0]
                left, right = right, uint32((left ^ word) & mask)
            x = (uint64(left) << uint64(half)) | uint64(right)
            if x < uint64(n):
                break
        out[b] = x


def permute(k: Key, n: int, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where a keyed permutation of range(n) sends each position.

    Needs no index array whatever n is, and reaches any position at once.

    Args:
        k: Key of the permutation; another key is another permutation.
        n: Length, 1 <= n < 2**62.
        positions: Integers in [0, n).

    Returns:
        int64 array of the same length; over all positions a permutation of range(n).
    """
    if n <= 1:
        return np.zeros(len(positions), np.int64)
    half = max(1, ((n - 1).bit_length() + 1) // 2)
    out = np.empty(len(positions), np.int64)
    _permute(k[0], k[1], n, half, np.ascontiguousarray(positions, np.int64), out)
    return out
