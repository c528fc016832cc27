"""Seed patches: squares of pictures, drawn where there is something to see (Exemplar-CNN).

Dosovitskiy et al., TPAMI 2016: patches at random position and scale, with probability proportional
to the mean squared gradient inside the patch. A flat patch looks like any other flat patch.

Which patches are drawn is a function of (seed, pictures) alone: integers throughout, so that no
machine rounds a choice the other way. Cost: one decode for every picture that gives a seed.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from foveal.core import rng
from foveal.core.cores import available_cores
from foveal.data.picture import Pixels
from foveal.data.sources import Source
from foveal.errors import BadImage, FovealError

# Larger pictures are averaged down before gradients are taken: a seed needs no finer place.
_LARGEST = 512
_CHUNK = 256  # pictures asked at once


def seed_patches(
    source: Source, count: int, *, scale: tuple[float, float], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Squares of pictures, each from another picture as long as there are pictures.

    Args:
        source: The pictures; a keyed sample of ``count`` of them is decoded.
        count: Patches; fewer come back only where pictures are unreadable and all have been asked.
        scale: Side as a share of the short side, log-uniform.
        seed: The run's seed.

    Returns:
        Row of the source, int64 [M], and (top, left, side, side) in pixels, float32 [M, 4].

    Raises:
        FovealError: No picture could be read.
    """
    n = len(source)
    each = -(-count // n)  # seeds of one picture, once there are fewer pictures than seeds
    order, draws = rng.key(seed, "seeds", "order"), rng.key(seed, "seeds", "draws")

    def patches(position: int) -> list[tuple[int, ...]] | None:
        image = int(rng.permute(order, n, np.array([position]))[0])
        try:
            pixels = source.read(image)
        except BadImage:
            return None
        words = rng.bits(draws, np.array([position]), 2 * each)[0].reshape(each, 2)
        energy = squared_gradient(pixels)
        return [(image, *_draw(energy, pixels.shape, scale, *map(int, w))) for w in words]

    found: list[list[tuple[int, ...]]] = []
    with ThreadPoolExecutor(available_cores(), thread_name_prefix="foveal-seeds") as pool:
        asked = 0
        while asked < n and (wanted := -(-count // each) - len(found)) > 0:
            some = range(asked, min(n, asked + min(wanted, _CHUNK)))
            found += [p for p in pool.map(patches, some) if p is not None]
            asked = some.stop
    if not found:
        raise FovealError(
            f"none of {n} pictures of {source.root} could be read",
            hint=f"foveal scan {source.root}",
        )
    # The first patch of every picture comes before the second of any.
    rows = np.array([p[i] for i in range(each) for p in found][:count], np.int64)
    return rows[:, 0], rows[:, 1:].astype(np.float32)


def squared_gradient(pixels: Pixels) -> NDArray[np.int64]:
    """Squared length of the grey gradient, int64 [h, w], of uint8 or uint16 [H, W, C].

    Grey is three times the mean of the channels in levels of 8 bits, rounded down, the gradient a
    central difference, 0 at the border. Above 512 pixels of short side, h and w are a whole
    fraction of H and W.
    """
    # Sums of squares of 16 bits over all patches would not fit into 64.
    grey = pixels.sum(2, dtype=np.int64) * 3 // (pixels.shape[2] * 257 ** (pixels.itemsize - 1))
    factor = max(1, -(-min(grey.shape) // _LARGEST))
    height, width = (side // factor for side in grey.shape)
    if factor > 1:
        blocks = grey[: height * factor, : width * factor]
        blocks = blocks.reshape(height, factor, width, factor)
        grey = blocks.sum((1, 3)) // factor**2
    energy = np.zeros((height, width), np.int64)
    if min(height, width) > 2:
        across = (grey[1:-1, 2:] - grey[1:-1, :-2]) ** 2
        energy[1:-1, 1:-1] = across + (grey[2:, 1:-1] - grey[:-2, 1:-1]) ** 2
    return energy


def patch_sums(energy: NDArray[np.int64], side: int) -> NDArray[np.int64]:
    """Sum over every square of ``side`` cells, int64 [h - side + 1, w - side + 1]."""
    whole = np.zeros((energy.shape[0] + 1, energy.shape[1] + 1), np.int64)
    whole[1:, 1:] = energy.cumsum(0).cumsum(1)
    return whole[side:, side:] - whole[:-side, side:] - whole[side:, :-side] + whole[:-side, :-side]


def _draw(
    energy: NDArray[np.int64],
    shape: tuple[int, ...],
    scale: tuple[float, float],
    size_word: int,
    place_word: int,
) -> tuple[int, int, int, int]:
    """(top, left, side, side) in pixels from 32 random bits for the size and 32 for the place."""
    height, width = shape[:2]
    short = min(height, width)
    share = scale[0] * (scale[1] / scale[0]) ** (size_word / 2**32)
    side = min(short, max(1, round(share * short)))
    cell = short // min(energy.shape)  # pixels per cell of the energy
    weights = patch_sums(energy, max(1, min(min(energy.shape), side // cell)))
    total = int(weights.sum())
    if total == 0:  # a flat picture: anywhere
        weights, total = np.ones_like(weights), weights.size
    at = np.searchsorted(weights.cumsum(), place_word * total >> 32, side="right")
    row, column = divmod(int(at), weights.shape[1])
    return min(row * cell, height - side), min(column * cell, width - side), side, side
