"""Two levels of k-means: a few coarse clusters, each cut into many fine ones."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from foveal.clustering.kmeans import kmeans
from foveal.core import rng
from foveal.core.rows import Rows, whole


def two_levels(
    x_ND: NDArray[np.float32] | Rows,
    coarse: int,
    fine: int,
    *,
    iterations: int,
    seed: int,
    device: torch.device | str = "cpu",
) -> NDArray[np.int64]:
    """Coarse cluster, and fine cluster within it, of every row (DeeperCluster, section 3.2).

    Args:
        x_ND: Rows; of all ranks, where they are cut between them.
        coarse: Clusters of the first level.
        fine: Clusters within each; fewer where a coarse one holds fewer rows.
        iterations: Of each k-means.
        seed: Of all initial centroids.
        device: Where products are computed.

    Returns:
        int64 [N, 2].
    """
    rows = whole(x_ND)
    found = np.zeros((rows.total, 2), np.int64)
    if coarse > 1:
        first = rng.seed64(seed, "coarse")
        level = kmeans(rows, coarse, iterations=iterations, seed=first, device=device)
        found[:, 0] = level.assignments
    for c in range(coarse):
        numbers = np.flatnonzero(found[:, 0] == c)
        if k := min(fine, len(numbers)):
            own = rng.seed64(seed, "fine", c)
            part = rows.take(numbers)
            level = kmeans(part, k, iterations=iterations, seed=own, device=device)
            found[numbers, 1] = level.assignments
    return found
