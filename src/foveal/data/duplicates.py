"""Pictures that are there twice: by content, and by how they look.

How a picture looks is 64 bits and three numbers: whether each of 8 x 8 cells is brighter than its
left neighbour (difference hash), and the mean of each channel. Two pictures look alike where at
most ``NEAR_BITS`` bits differ and no mean differs by more than ``NEAR_MEAN`` grey levels:
re-encoded, resized and slightly retouched copies do; cut or mirrored ones do not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, uint64
from numpy.typing import NDArray
from PIL import Image

from foveal.data.picture import Pixels

NEAR_BITS = 4
NEAR_MEAN = 6.0  # of 255


def look(pixels: Pixels) -> tuple[np.uint64, NDArray[np.float32]]:
    """Difference hash and channel means of a picture.

    Args:
        pixels: uint8 or uint16 [H, W, C], upright.

    Returns:
        64 bits, and float32 [3] in grey levels.
    """
    if pixels.itemsize == 2 or pixels.shape[2] not in (1, 3):
        return _look_deep(pixels)
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    # The gap lets Pillow average whole blocks first: five times faster on a large picture.
    small = image.resize((9, 8), Image.Resampling.BOX, reducing_gap=3.0)
    grey = np.asarray(small.convert("L"), np.int16)
    bits = np.packbits(grey[:, 1:] > grey[:, :-1])
    means = np.asarray(small, np.float32).reshape(72, -1).mean(axis=0)
    return bits.view(np.uint64)[0], np.broadcast_to(means, 3).astype(np.float32)


def _look_deep(pixels: Pixels) -> tuple[np.uint64, NDArray[np.float32]]:
    """``look`` at the mean of the channels in floats: dark pictures of 16 bits differ below 1/255.

    The three means are those of the first, the middle and the last channel.
    """
    white = np.float32(255 / np.iinfo(pixels.dtype).max)
    grey = Image.fromarray(pixels.mean(axis=2, dtype=np.float32) * white)
    cells = np.asarray(grey.resize((9, 8), Image.Resampling.BOX, reducing_gap=3.0))
    bits = np.packbits(cells[:, 1:] > cells[:, :-1])
    some = pixels[:, :, [0, pixels.shape[2] // 2, -1]]
    means = some.mean(axis=(0, 1), dtype=np.float64).astype(np.float32) * white
    return bits.view(np.uint64)[0], means


def equal_groups(keys: list[bytes], rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Rows with the same key, two or more each, in order of their first row."""
    by_key: dict[bytes, list[int]] = {}
    for key, row in zip(keys, rows.tolist(), strict=True):
        by_key.setdefault(key, []).append(row)
    return [np.array(group, np.int64) for group in by_key.values() if len(group) > 1]


def near_groups(
    hashes: NDArray[np.uint64], means: NDArray[np.float32], rows: NDArray[np.int64]
) -> list[NDArray[np.int64]]:
    """Rows that look alike, two or more each, in order of their first row.

    A group is linked by chains: its first and last may differ by more than the threshold.

    Args:
        hashes: [N].
        means: [N, 3].
        rows: int64 [N], ascending: what to call them.
    """
    if len(rows) < 2:
        return []
    # In order of brightness each is compared with the few that are as bright, not with all.
    order = np.argsort(means[:, 0], kind="stable")
    parent = _link(hashes[order], means[order], NEAR_BITS, NEAR_MEAN)
    root_of = np.empty(len(rows), np.int64)
    root_of[order] = parent
    by_root = np.argsort(root_of, kind="stable")
    starts = np.flatnonzero(np.diff(root_of[by_root], prepend=-1))
    groups = [rows[g] for g in np.split(by_root, starts[1:]) if len(g) > 1]
    return sorted(groups, key=lambda g: int(g[0]))


@njit(nogil=True, cache=True)
def _root(parent: Any, i: Any) -> Any:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(nogil=True, cache=True)
def _set_bits(x: Any) -> Any:
    """Number of bits that are 1, by adding neighbours: pairs, nibbles, bytes, all."""
    x = x - ((x >> uint64(1)) & uint64(0x5555555555555555))
    x = (x & uint64(0x3333333333333333)) + ((x >> uint64(2)) & uint64(0x3333333333333333))
    x = (x + (x >> uint64(4))) & uint64(0x0F0F0F0F0F0F0F0F)
    return (x * uint64(0x0101010101010101)) >> uint64(56)


@njit(nogil=True, cache=True)
def _link(hashes: Any, means: Any, bits: Any, mean: Any) -> Any:
    """Union-find over pairs within reach; ``means[:, 0]`` ascending. The root of each, [N]."""
    n = len(hashes)
    parent = np.arange(n)
    for i in range(n):
        for j in range(i + 1, n):
            if means[j, 0] - means[i, 0] > mean:
                break
            if _set_bits(hashes[i] ^ hashes[j]) > uint64(bits):
                continue
            if abs(means[j, 1] - means[i, 1]) > mean or abs(means[j, 2] - means[i, 2]) > mean:
                continue
            a, b = _root(parent, i), _root(parent, j)
            if a != b:
                parent[max(a, b)] = min(a, b)
    for i in range(n):
        parent[i] = _root(parent, i)
    return parent
