"""What a round of clustering logs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from foveal.clustering.kmeans import cluster_sizes
from foveal.metrics.clustering import normalised_mutual_information


def cluster_log(
    now: NDArray[np.int64], k: int, before: NDArray[np.int64] | None = None
) -> dict[str, float]:
    """Sizes of the clusters, and how far they are those of the round before.

    Args:
        now: Cluster of every sample, [N].
        k: Clusters.
        before: Those of the round before; -1 or None: there was none.
    """
    sizes = cluster_sizes(now, k)
    log = {"used": float(sizes.used), "largest": sizes.largest, "entropy": sizes.entropy}
    if before is not None and np.all(before >= 0):
        log["nmi_before"] = normalised_mutual_information(before, now, normaliser="geometric")
    return log
