"""k-means by faiss, and what the assignments look like.

Legend: N rows, D features, K clusters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foveal.errors import FovealError


@dataclass(frozen=True)
class Clusters:
    """What k-means found.

    Attributes:
        centroids: float32 [K, D].
        assignments: int64 [N], the nearest centroid of each row.
        objective: Sum of squared distances to the assigned centroids.
    """

    centroids: NDArray[np.float32]
    assignments: NDArray[np.int64]
    objective: float


def kmeans(
    x_ND: NDArray[np.float32],
    k: int,
    *,
    iterations: int = 20,
    seed: int = 0,
    start: NDArray[np.float32] | None = None,
) -> Clusters:
    """Lloyd's algorithm with squared Euclidean distance on all rows (DeepCluster, section 3.2).

    A cluster that runs empty is re-seeded beside a large one (faiss splits it). The same arguments
    give the same clusters on the same machine and core budget.

    Args:
        x_ND: Rows, float32 [N, D].
        k: Clusters.
        iterations: Rounds of assignment and update; one more assignment follows.
        seed: Of the initial centroids, k rows drawn without replacement.
        start: Initial centroids [K, D] instead.

    Raises:
        FovealError: There are fewer rows than clusters.
    """
    import faiss

    if len(x_ND) < k:
        raise FovealError(
            f"{len(x_ND)} samples cannot form {k} clusters",
            hint=f"at most {len(x_ND)} clusters; one for every 100 samples is a usual number",
        )
    rows = np.ascontiguousarray(x_ND, np.float32)
    machine = faiss.Kmeans(
        rows.shape[1],
        k,
        niter=iterations,
        seed=seed & 0x7FFFFFFF,
        min_points_per_centroid=1,
        max_points_per_centroid=len(rows),  # never a subsample
    )
    machine.train(rows, init_centroids=start)
    centroids: NDArray[np.float32] = np.array(machine.centroids, np.float32)
    index = faiss.IndexFlatL2(rows.shape[1])
    index.add(centroids)
    distances, nearest = index.search(rows, 1)
    return Clusters(centroids, nearest[:, 0].astype(np.int64), float(distances.sum(dtype=float)))


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
