"""Shots: where the colours of a video change for good.

Kernel change-point detection (Harchaoui and Cappé, 2007; with the penalty of Potapov et al.,
"Category-specific video summarization", ECCV 2014) under a linear kernel.

Legend: N frames, D bins, c cuts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from foveal.motion.packages import opencv

BINS = 40
# R, G, B and L, a, b.
RANGES = ((0, 255), (0, 255), (0, 255), (0, 100), (-128, 127), (-128, 127))


def six_channels(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """RGB in [0, 255] and CIE Lab side by side.

    Args:
        frame: RGB, uint8 [H, W, 3].

    Returns:
        float32 [H, W, 6].
    """
    cv2 = opencv()
    lab = cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return np.concatenate([frame.astype(np.float32), lab], axis=2)


def binned(channels: NDArray[np.float32], bins: int) -> NDArray[np.intp]:
    """The bin of each value in its channel's range, [H, W, 6]."""
    low, high = np.array(RANGES, np.float32).T
    found: NDArray[np.intp] = np.floor((channels - low) * (bins / (high - low))).astype(np.intp)
    return found.clip(0, bins - 1)


def colour_histogram(frame: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Six histograms of 40 bins, each of sum 1: float64 [240]."""
    index = binned(six_channels(frame), BINS) + np.arange(6) * BINS
    pixels = np.full(1, frame.shape[0] * frame.shape[1], np.float64)
    return np.bincount(index.reshape(-1), minlength=6 * BINS) / pixels


def find_cuts(histograms: NDArray[np.float64], most: int = 4, weight: float = 0.6) -> list[int]:
    """Frames that begin a new shot; the number of cuts is chosen by a penalty.

    Args:
        histograms: [N, D], one row a frame.
        most: Cuts at most.
        weight: Of the penalty.

    Returns:
        Indices of first frames, ascending, without 0.
    """
    n = len(histograms)
    scatter = _scatter(histograms)
    # best[c, k]: least scatter of the first k frames under c cuts; where[c, k]: its last cut.
    most = min(most, n - 1)
    best = np.full((most + 1, n + 1), np.inf)
    where = np.zeros((most + 1, n + 1), np.intp)
    best[0, 1:] = scatter[0, 1:]
    for c in range(1, most + 1):
        for k in range(c + 1, n + 1):
            costs = best[c - 1, c:k] + scatter[c:k, k]
            at = int(np.argmin(costs))
            best[c, k], where[c, k] = costs[at], c + at
    totals = [best[c, n] / n + penalty(n, c, weight) for c in range(most + 1)]
    cuts: list[int] = []
    k = n
    for c in range(int(np.argmin(totals)), 0, -1):
        k = int(where[c, k])
        cuts.append(k)
    return cuts[::-1]


def shots_of(
    frames: Iterable[tuple[int, NDArray[np.uint8]]], window: int, most: int, weight: float
) -> Iterator[list[int]]:
    """The numbers of frames, shot by shot.

    Args:
        frames: In order, RGB uint8 [H, W, 3], with their numbers.
        window: Frames that are cut at a time; a shot ends with its window. Memory grows with its
            square.
        most: Cuts at most in a window.
        weight: Of the penalty.
    """
    numbers: list[int] = []
    histograms: list[NDArray[np.float64]] = []

    def parted() -> Iterator[list[int]]:
        if not numbers:
            return
        edges = [0, *find_cuts(np.stack(histograms), most, weight), len(numbers)]
        for a, b in pairwise(edges):
            yield numbers[a:b]
        numbers.clear()
        histograms.clear()

    for number, frame in frames:
        numbers.append(number)
        histograms.append(colour_histogram(frame))
        if len(numbers) == window:
            yield from parted()
    yield from parted()


def penalty(n: int, cuts: int, weight: float = 0.6) -> float:
    """What ``cuts`` cuts cost in ``n`` frames: w c / (2N) (ln(N / c) + 1)."""
    return weight * cuts / (2 * n) * (math.log(n / cuts) + 1) if cuts else 0.0


def _scatter(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """[N + 1, N + 1]: squared distances of frames a to b - 1 from their mean, summed."""
    n = len(x)
    block = np.zeros((n + 1, n + 1))
    block[1:, 1:] = (x @ x.T).cumsum(0).cumsum(1)
    diagonal = np.concatenate([[0.0], np.cumsum((x * x).sum(1))])
    corner = np.diag(block)
    inside = corner[None, :] + corner[:, None] - block - block.T
    length = np.maximum(np.arange(n + 1)[None, :] - np.arange(n + 1)[:, None], 1)
    found: NDArray[np.float64] = diagonal[None, :] - diagonal[:, None] - inside / length
    return found.clip(0)


def step_of(length: int, longest: int = 110) -> int:
    """Every how many frames of a shot are kept."""
    return length // longest + 1 if length > longest else 1
