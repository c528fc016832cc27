"""k-means over rows that may lie on disk and be cut between ranks, and what came out.

Where rows lie changes no bit of the result. Products are taken in blocks of one shape, so that a
row's scores do not depend on its neighbours, and sums are exact: see ``_exact``.

Legend: N rows over all ranks, R of this rank, B rows of a block, D features, K clusters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.core import rng
from foveal.core.rows import Rows, whole
from foveal.errors import FovealError

# Rows and centroids of one product. On a CPU its scores (1 MB) must stay in a core's cache.
_TILE_CPU, _TILE = (256, 1024), (16_384, 8_192)
_BLOCK = 4096  # rows read and summed up at a time, at least: a multiple of both
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
    is a few numbers a row and tables [K, D], whatever N is.

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
    Everything a block needs is allocated once: fresh memory costs as much as the arithmetic.
    """

    def __init__(
        self, rows: Rows, k: int, start: NDArray[np.float64], spherical: bool, device: torch.device
    ) -> None:
        self.rows, self.k, self.spherical, self.device = rows, k, spherical, device
        self.some, self.tile = _TILE_CPU if device.type == "cpu" else _TILE
        self.block = max(_BLOCK, self.some)
        self.shift = np.zeros(rows.width) if spherical else start.mean(0).astype(np.float32)
        self.shift_D = torch.from_numpy(self.shift.astype(np.float32)).to(device)
        self.labels = torch.full((len(rows),), -1, dtype=torch.int64)
        self.best = torch.empty(len(rows))
        d = rows.width
        wide: dict[str, Any] = {"dtype": torch.float64, "device": device}
        self.read = torch.zeros(self.block, d)
        # A last column of ones, which meets the centroids' own term in one product.
        self.x_BE = torch.ones(self.block, d + 1, device=device)
        self.scores = torch.empty(self.some * min(self.tile, k), device=device)
        self.score_B = torch.empty(self.block, device=device)
        self.place_B = torch.empty(self.block, dtype=torch.int64, device=device)
        self.wide_BD = torch.empty(self.block, d, **wide)
        # What is summed up, rows of each cluster, then the objective and the changed labels.
        self.table = torch.zeros(k * d + k + 2, **wide)
        self.largest, self.squares = self._looked()

    def unit(self, centres: NDArray[np.float64]) -> NDArray[np.float64]:
        """Centroids of length 1 where that is asked for."""
        if not self.spherical:
            return centres
        length: NDArray[np.float64] = np.linalg.norm(centres, axis=1, keepdims=True)
        return centres / np.maximum(length, 1e-12)

    def assign(self, centres: NDArray[np.float64]) -> _Found:
        """Gives every row its nearest centroid, and sums up."""
        k, d = self.k, self.rows.width
        half = np.square(centres.astype(np.float32), dtype=np.float64).sum(1, keepdims=True) / 2
        c = np.concatenate([centres, -half], 1).astype(np.float32)
        c_KE = torch.from_numpy(c).to(self.device)
        sums = self.table.zero_()[: k * d].view(k, d)
        rounder = _exact(self.rows.total, self.largest)
        before, self.labels = self.labels, torch.empty_like(self.labels)
        for part, n in self._blocks():
            for first in range(0, n, self.some):
                self._nearest(c_KE, slice(first, first + self.some))
            nearest = self.place_B[:n]
            wide = self.wide_BD[:n].copy_(self.x_BE[:n, :d])
            sums.index_add_(0, nearest, wide.add_(rounder).sub_(rounder))
            self.labels[part], self.best[part] = nearest, self.score_B[:n]
        self.table[k * d : -2] = torch.bincount(self.labels, minlength=k)
        self.table[-2] = self.best.sum(dtype=torch.float64)
        self.table[-1] = (self.labels != before).sum()
        joined = self.rows.sum(self.table).cpu()
        score, changed = joined[-2:].tolist()
        return _Found(
            joined[k * d : -2].long().numpy(),
            joined[: k * d].view(k, d).numpy().copy(),
            max(0.0, self.squares - 2 * score),
            int(changed),
        )

    def _nearest(self, c_KE: Tensor, rows: slice) -> None:
        """Largest ``x c - c c / 2`` of some rows, the same as the smallest distance, and whose."""
        x, score, place = self.x_BE[rows], self.score_B[rows], self.place_B[rows]
        for first in range(0, self.k, self.tile):
            c = c_KE[first : first + self.tile]
            out = torch.mm(x, c.T, out=self.scores[: len(x) * len(c)].view(len(x), len(c)))
            if first == 0:
                torch.max(out, 1, out=(score, place))
                continue
            value, which = out.max(1)
            place.copy_(torch.where(value > score, which + first, place))
            torch.maximum(score, value, out=score)

    def _blocks(self) -> Iterator[tuple[slice, int]]:
        """Reads rows into ``x_BE``, from ``shift``, and says which and how many.

        Products are always of ``some`` rows: behind the last row there are those of before.
        """
        read, x_BD = self.read.numpy(), self.x_BE[:, : self.rows.width]
        for part, rows in self.rows.blocks(self.block):
            n = len(rows)
            np.copyto(read[:n], rows)
            x_BD.copy_(self.read)
            if self.spherical:
                x_BD /= x_BD.norm(dim=1, keepdim=True).clamp_min(1e-12)
            else:
                x_BD -= self.shift_D
            yield part, n

    def _looked(self) -> tuple[float, float]:
        """The largest coordinate of all rows (or the smallest number), and the sum of squares."""
        largest, squares = torch.tensor(2.0**-126), torch.zeros((), dtype=torch.float64)
        for _, n in self._blocks():
            x_ND = self.x_BE[:n, : self.rows.width]
            # NaN is larger than nothing, so that a maximum would hide it.
            top = torch.nan_to_num(x_ND.abs().amax().cpu(), nan=math.inf)
            largest = torch.maximum(largest, top)
            squares += x_ND.square().sum(dtype=torch.float64).cpu()
        found = float(self.rows.largest(largest))
        if math.isinf(found):
            raise FovealError(
                "features hold NaN or infinity: they cannot be clustered",
                hint="a smaller optimiser.lr, or machine.precision=32",
            )
        return found, float(self.rows.sum(squares))


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
