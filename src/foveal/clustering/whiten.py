"""PCA whitening: what DeepCluster does to features before it clusters them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BLOCK = 65536
_FLAT = 1e-9  # of the largest eigenvalue: a direction in which nothing varies


def pca_whiten(
    x_ND: NDArray[np.float32],
    dims: int | None = None,
    *,
    power: float = -0.5,
    floor: float | None = None,
) -> NDArray[np.float32]:
    """Projects onto the leading principal directions, scaled to unit variance, rows l2-normalised.

    DeepCluster (section 3.2, "Implementation details"): PCA to 256 dimensions, whitening, l2
    normalisation. Sums are float64 and taken in blocks, so a memory map larger than memory works.

    Args:
        x_ND: Features, [N, D].
        dims: Directions kept; None: all.
        power: Of the eigenvalues; -0.5 whitens.
        floor: Eigenvalues below this share of the largest are raised to it (DeeperCluster: 1e-5);
            None: directions in which nothing varies are dropped.

    Returns:
        float32 [N, directions kept], rows of length 1.
    """
    n = len(x_ND)
    blocks = [slice(i, min(i + _BLOCK, n)) for i in range(0, n, _BLOCK)]
    mean = sum(x_ND[b].sum(0, dtype=np.float64) for b in blocks) / n
    covariance = np.zeros((x_ND.shape[1], x_ND.shape[1]))
    for b in blocks:
        centred = x_ND[b].astype(np.float64) - mean
        covariance += centred.T @ centred
    values, vectors = np.linalg.eigh(covariance / n)
    order = np.argsort(values)[::-1][:dims]
    if values.max() < 1e-30:
        raise ValueError("all features are the same: there is nothing to cluster")
    if floor is None:
        order = order[values[order] > _FLAT * values.max()]
    scale = np.maximum(values[order], (floor or 0.0) * values.max()) ** power
    projection = vectors[:, order] * scale
    out = np.empty((n, len(order)), np.float32)
    for b in blocks:
        rows = (x_ND[b].astype(np.float64) - mean) @ projection
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        out[b] = rows / np.maximum(length, 1e-12)
    return out
