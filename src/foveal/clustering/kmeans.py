"""k-means over rows that may lie on disk and be cut between ranks, and what came out.

Where rows lie changes no bit of the result. Products are taken in blocks of one shape, so that a
row's scores do not depend on its neighbours, and sums are exact: see ``_exact``.

Legend: N rows over all ranks, R of this rank, B rows of a block, D features, K clusters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from foveal.core import rng
from foveal.core.rows import Rows, whole
from foveal.errors import FovealError

# Rows and centroids of one product. On a CPU its scores (2 MB) must stay in a core's cache.
_TILE_CPU, _TILE = (512, 1024), (16_384, 8_192)
_READ = 16  # blocks read at once
_NUDGE = 2.0**-10  # how far the halves of a split cluster start apart, of the largest coordinate


@dataclass(frozen=True)
class Clusters:
    """What k-means found.

    Attributes:
        centroids: float32 [K, D].
        assignments: int64 [N], the nearest centroid of each row of all ranks.
        objective: Sum of squared distances to the assigned centroids.
        iterations: Rounds of update done; fewer than asked for where nothing moved any more.
    """

    centroids: NDArray[np.float32]
    assignments: NDArray[np.int64]
    objective: float
    iterations: int


def kmeans(
    x_ND: NDArray[np.float32] | Rows,
    k: int,
    *,
    iterations: int = 20,
    seed: int = 0,
    start: NDArray[np.float32] | None = None,
    spherical: bool = False,
    device: torch.device | str = "cpu",
) -> Clusters:
    """Lloyd's algorithm with squared Euclidean distance on all rows (DeepCluster, section 3.2).

    A cluster that runs empty takes half of another: its centroid is moved beside that of a
    non-empty one, drawn by size (section 3.3, "Empty clusters"). Beside the rows themselves, memory
    is one number a row and three tables [K, D], whatever N is.

    Args:
        x_ND: Rows: an array, or ``Rows`` that are cut between ranks, where all ranks ask and get
            the same answer.
        k: Clusters.
        iterations: Rounds of assignment and update; one more assignment follows.
        seed: Of the initial centroids, k rows drawn without replacement, and of the splits.
        start: Initial centroids [K, D] instead (a warm start).
        spherical: Rows and centroids are scaled to length 1 (the nearest has the largest cosine).
        device: Where products are computed.

    Raises:
        FovealError: There are fewer rows than clusters, or rows hold NaN or infinity.
    """
    rows = whole(x_ND)
    if rows.total < k:
        raise FovealError(
            f"{rows.total} samples cannot form {k} clusters",
            hint=f"at most {rows.total} clusters; one for every 100 samples is a usual number",
        )
    if start is not None and start.shape != (k, rows.width):
        raise FovealError(f"start is {list(start.shape)}, not [{k}, {rows.width}]")
    draws = rng.key(seed, "kmeans")
    centres = _drawn(rows, k, draws) if start is None else np.asarray(start, np.float64)
    lloyd = _Lloyd(rows, k, centres, spherical, torch.device(device))
    centres = lloyd.unit(centres - lloyd.shift)
    done = 0
    while True:
        found = lloyd.assign(centres)
        full = bool((found.counts > 0).all())
        if done == iterations or (full and found.changed == 0):
            break
        centres = lloyd.unit(_moved(centres, found, lloyd.largest, draws, done))
        done += 1
    return Clusters(
        (centres + lloyd.shift).astype(np.float32),
        rows.join(lloyd.labels).numpy(),
        found.objective,
        done,
    )


@dataclass(frozen=True)
class _Found:
    """One pass over all rows: rows of each cluster, their sums, and how many labels changed."""

    counts: NDArray[np.int64]
    sums: NDArray[np.float64]
    objective: float
    changed: int


class _Lloyd:
    """Assigns rows to centroids; coordinates count from ``shift``.

    Float32 products lose digits where rows lie far from the origin, so that is moved among them.
    """

    def __init__(
        self, rows: Rows, k: int, start: NDArray[np.float64], spherical: bool, device: torch.device
    ) -> None:
        self.rows, self.k, self.spherical, self.device = rows, k, spherical, device
        self.block, self.tile = _TILE_CPU if device.type == "cpu" else _TILE
        self.shift = np.zeros(rows.width) if spherical else start.mean(0).astype(np.float32)
        self.shift_D = torch.from_numpy(self.shift.astype(np.float32)).to(device)
        self.labels = torch.full((len(rows),), -1, dtype=torch.int64)
        self.largest = self._largest()

    def unit(self, centres: NDArray[np.float64]) -> NDArray[np.float64]:
        """Centroids of length 1 where that is asked for."""
        if not self.spherical:
            return centres
        length: NDArray[np.float64] = np.linalg.norm(centres, axis=1, keepdims=True)
        return centres / np.maximum(length, 1e-12)

    def assign(self, centres: NDArray[np.float64]) -> _Found:
        """Gives every row its nearest centroid, and sums up."""
        c_KD = torch.from_numpy(centres.astype(np.float32)).to(self.device)
        half_K = c_KD.double().square().sum(1).div(2).float()
        scores = torch.empty(self.block, min(self.tile, self.k), device=self.device)
        # One table: what is summed up, how many rows, and the totals, in one talk between ranks.
        sums = torch.zeros(self.k, self.rows.width, dtype=torch.float64, device=self.device)
        counts, totals = sums.new_zeros(self.k), sums.new_zeros(2)
        rounder = _exact(self.rows.total, self.largest)
        for part, x_BD in self._blocks():
            best, nearest = self._nearest(x_BD, c_KD, half_K, scores)
            n = part.stop - part.start
            best, nearest, wide = best[:n], nearest[:n], x_BD[:n].double()
            totals[0] += (wide.square().sum(1) - 2 * best).clamp_min(0).sum()
            sums.index_add_(0, nearest, wide.add_(rounder).sub_(rounder))
            counts += torch.bincount(nearest, minlength=self.k)
            labels = nearest.cpu()
            totals[1] += (labels != self.labels[part]).sum().item()
            self.labels[part] = labels
        joined = self.rows.sum(torch.cat([sums.flatten(), counts, totals])).cpu()
        squares, changed = joined[-2:].tolist()
        sums, counts = joined[: -2 - self.k].view(self.k, -1), joined[-2 - self.k : -2]
        return _Found(counts.long().numpy(), sums.numpy(), squares, int(changed))

    def _nearest(
        self, x_BD: Tensor, c_KD: Tensor, half_K: Tensor, scores: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Largest ``x c - c c / 2`` of each row, the same as the smallest distance, and whose."""
        best, nearest = torch.empty(0), torch.empty(0)
        for first in range(0, self.k, self.tile):
            c = c_KD[first : first + self.tile]
            out = scores.flatten()[: len(x_BD) * len(c)].view(len(x_BD), len(c))
            torch.addmm(half_K[first : first + self.tile], x_BD, c.T, beta=-1, out=out)
            value, which = out.max(1)
            if first == 0:
                best, nearest = value, which
                continue
            better = value > best
            best = torch.where(better, value, best)
            nearest = torch.where(better, which + first, nearest)
        return best, nearest

    def _blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Rows from ``shift``, always ``block`` of them: the last block is filled with zeros."""
        x_BD = torch.zeros(self.block, self.rows.width, device=self.device)
        for many, block in self.rows.blocks(_READ * self.block):
            for start in range(0, len(block), self.block):
                some = torch.from_numpy(np.array(block[start : start + self.block], np.float32))
                x_BD[: len(some)] = some.to(self.device)
                x_BD[len(some) :] = 0
                if self.spherical:
                    x_BD = F.normalize(x_BD, dim=1)
                else:
                    x_BD -= self.shift_D
                first = many.start + start
                yield slice(first, first + len(some)), x_BD

    def _largest(self) -> float:
        """The largest coordinate of all rows, at least the smallest normal number."""
        largest = torch.tensor(2.0**-126)
        for part, x_BD in self._blocks():
            block = x_BD[: part.stop - part.start].abs().amax().cpu()
            # NaN is larger than nothing, so that a maximum would hide it.
            largest = torch.maximum(largest, torch.nan_to_num(block, nan=math.inf))
        found = float(self.rows.largest(largest))
        if math.isinf(found):
            raise FovealError(
                "features hold NaN or infinity: they cannot be clustered",
                hint="a smaller optimiser.lr, or machine.precision=32",
            )
        return found


def _exact(n: int, largest: float) -> float:
    """What, added and taken away again, makes sums of up to ``n`` numbers exact in float64.

    It rounds to multiples of 2**-51 of the largest sum there can be: every partial sum is then such
    a multiple of less than 53 bits, so neither the order of rows nor their cut between ranks moves
    a bit (Demmel and Nguyen, "Fast reproducible floating-point summation", ARITH 2013).
    """
    quantum = 2.0 ** (math.ceil(math.log2(n * largest)) - 51)
    return 1.5 * 2.0**52 * quantum


def _drawn(rows: Rows, k: int, draws: rng.Key) -> NDArray[np.float64]:
    """K rows drawn without replacement, wherever they are kept."""
    numbers = rng.permute(draws, rows.total, np.arange(k))
    _, which, place = np.intersect1d(numbers, rows.at, assume_unique=True, return_indices=True)
    found = torch.zeros(k, rows.width, dtype=torch.float64)
    found[torch.from_numpy(which)] = torch.from_numpy(np.array(rows.read(place), np.float64))
    drawn: NDArray[np.float64] = rows.sum(found).numpy()
    return drawn


def _moved(
    centres: NDArray[np.float64], found: _Found, largest: float, draws: rng.Key, done: int
) -> NDArray[np.float64]:
    """Means of the rows of each cluster; an empty one gets half of another's."""
    k, d = centres.shape
    counts = found.counts.astype(np.float64)
    moved = found.sums / np.maximum(counts, 1)[:, None]
    for empty in np.flatnonzero(counts == 0):
        counter = np.array([k + done * k + empty])
        drawn = rng.uniform(draws, counter, 1)[0, 0]
        reach = np.cumsum(np.maximum(counts - 1, 0))
        if reach[-1] == 0:  # every row has a cluster of its own already
            moved[empty] = centres[empty]
            continue
        full = int(np.searchsorted(reach, drawn * reach[-1], side="right"))
        apart = rng.normal(draws, counter, d, part=1)[0]
        apart *= _NUDGE * largest / np.linalg.norm(apart)
        moved[empty], moved[full] = moved[full] + apart, moved[full] - apart
        counts[empty] = counts[full] / 2
        counts[full] /= 2
    return moved


@dataclass(frozen=True)
class Sizes:
    """How the rows share out.

    Attributes:
        used: Clusters that hold at least one row.
        largest: Share of all rows in the largest cluster.
        entropy: Of the shares, in nats; log K when all are equally large.
    """

    used: int
    largest: float
    entropy: float


def cluster_sizes(assignments: NDArray[np.int64], k: int) -> Sizes:
    """Sizes of clusters; -1 (left out) does not count."""
    counts = np.bincount(assignments[assignments >= 0], minlength=k)
    shares = counts[counts > 0] / max(1, counts.sum())
    return Sizes(
        int((counts > 0).sum()),
        float(shares.max(initial=0.0)),
        float(-(shares * np.log(shares)).sum()),
    )
