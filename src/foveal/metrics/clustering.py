"""How well clusters match classes. scikit-learn computes what it defines.

Arguments are integer arrays [N]: the true class and the cluster of every sample.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from foveal.errors import FovealError

Labels = NDArray[np.int64]


def mutual_information(classes: Labels, clusters: Labels) -> float:
    """Mutual information in nats."""
    from sklearn.metrics import mutual_info_score

    return float(mutual_info_score(*_checked(classes, clusters)))


def normalised_mutual_information(
    classes: Labels, clusters: Labels, *, normaliser: Literal["geometric", "arithmetic", "max"]
) -> float:
    """Mutual information over a mean of the two entropies.

    Args:
        classes: The true class of every sample, [N].
        clusters: Its cluster, [N].
        normaliser: No default, since papers differ. ``geometric``: ``sqrt(H H')``, DeepCluster
            (section 4.1) and scikit-learn before 0.22. ``arithmetic``: scikit-learn since then.
            ``max``: the larger one.
    """
    from sklearn.metrics import normalized_mutual_info_score

    return float(
        normalized_mutual_info_score(*_checked(classes, clusters), average_method=normaliser)
    )


def adjusted_mutual_information(classes: Labels, clusters: Labels) -> float:
    """AMI with the arithmetic mean (SeLa's "adjusted NMI"): 0 for chance, 1 for the same."""
    from sklearn.metrics import adjusted_mutual_info_score

    return float(adjusted_mutual_info_score(*_checked(classes, clusters)))


def adjusted_rand_index(classes: Labels, clusters: Labels) -> float:
    """ARI: agreement on pairs of samples, 0 for chance, 1 for the same."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(*_checked(classes, clusters)))


def purity(classes: Labels, clusters: Labels) -> float:
    """Share of samples that belong to the commonest class of their cluster."""
    table = _contingency(classes, clusters)
    return float(table.max(0).sum() / table.sum())


def hungarian_accuracy(classes: Labels, clusters: Labels) -> float:
    """Share of right samples when clusters are matched one to one to classes, at best."""
    from scipy.optimize import (
        linear_sum_assignment,
    )

    table = _contingency(classes, clusters)
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / table.sum())


def _contingency(classes: Labels, clusters: Labels) -> NDArray[np.int64]:
    """Samples by class (rows) and cluster (columns)."""
    classes, clusters = _checked(classes, clusters)
    _, i = np.unique(classes, return_inverse=True)
    _, j = np.unique(clusters, return_inverse=True)
    table = np.zeros((i.max() + 1, j.max() + 1), np.int64)
    np.add.at(table, (i, j), 1)
    return table


def _checked(classes: Any, clusters: Any) -> tuple[Labels, Labels]:
    classes, clusters = np.asarray(classes), np.asarray(clusters)
    if classes.ndim != 1 or classes.shape != clusters.shape or not len(classes):
        raise FovealError(
            f"classes {classes.shape} and clusters {clusters.shape} must be [N], N at least 1"
        )
    return classes, clusters
