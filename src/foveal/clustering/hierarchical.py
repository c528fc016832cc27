"""Two levels of k-means: a few coarse clusters, each cut into many fine ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from foveal.clustering.kmeans import kmeans
from foveal.core import rng


def two_levels(
    x_ND: NDArray[np.float32], coarse: int, fine: int, *, iterations: int, seed: int
) -> NDArray[np.int64]:
    """Coarse cluster, and fine cluster within it, of every row (DeeperCluster, section 3.2).

    Args:
        x_ND: Rows.
        coarse: Clusters of the first level.
        fine: Clusters within each; fewer where a coarse one holds fewer rows.
        iterations: Of each k-means.
        seed: Of all initial centroids.

    Returns:
        int64 [N, 2].
    """
    found = np.zeros((len(x_ND), 2), np.int64)
    if coarse > 1:
        first = rng.seed64(seed, "coarse")
        found[:, 0] = kmeans(x_ND, coarse, iterations=iterations, seed=first).assignments
    for c in range(coarse):
        rows = np.flatnonzero(found[:, 0] == c)
        own = rng.seed64(seed, "fine", c)
        k = min(fine, len(rows))
        found[rows, 1] = kmeans(x_ND[rows], k, iterations=iterations, seed=own).assignments
    return found
