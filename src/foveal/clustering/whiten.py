"""PCA whitening: what DeepCluster does to features before it clusters them.

Legend: N rows, D features, P directions kept.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from foveal.core import ranks
from foveal.core.rows import Rows, as_tensor, whole

_FLAT = 1e-9  # of the largest eigenvalue: a direction in which nothing varies
_ROUNDING = 1e-12  # what is left of such a direction of float32; raised to a floor it would count


def pca_whiten(
    x_ND: NDArray[np.float32] | Rows,
    dims: int | None = None,
    *,
    power: float = -0.5,
    floor: float | None = None,
    device: torch.device | str = "cpu",
) -> Rows:
    """Projects onto the leading principal directions, scaled to unit variance, rows l2-normalised.

    DeepCluster (section 3.2, "Implementation details"): PCA to 256 dimensions, whitening, l2
    normalisation. Sums are float64, taken in blocks and over the ranks that hold the rows.

    Args:
        x_ND: Features, [N, D].
        dims: Directions kept; None: all.
        power: Of the eigenvalues; -0.5 whitens.
        floor: Eigenvalues below this share of the largest are raised to it (DeeperCluster: 1e-5).
            Directions that hold nothing but rounding are dropped.
        device: Where products are computed.

    Returns:
        [N, P], rows of length 1, kept where the features are kept.

    Raises:
        ValueError: All features are the same.
    """
    rows = whole(x_ND)
    d = rows.width

    def read(block: NDArray[np.float32]) -> Tensor:
        return as_tensor(block).to(device).double()

    total = torch.zeros(d, dtype=torch.float64, device=device)
    for _, block in rows.blocks():
        total += read(block).sum(0)
    mean_D = rows.sum(total) / rows.total
    products = torch.zeros(d, d, dtype=torch.float64, device=device)
    for _, block in rows.blocks():
        centred = read(block) - mean_D
        products.addmm_(centred.T, centred)
    values, vectors = np.linalg.eigh((rows.sum(products) / rows.total).cpu().numpy())
    if values.max() < 1e-30:
        raise ValueError("all features are the same: there is nothing to cluster")
    order = np.argsort(values)[::-1][:dims]
    order = order[values[order] > (_FLAT if floor is None else _ROUNDING) * values.max()]
    scale = np.maximum(values[order], (floor or 0.0) * values.max()) ** power
    projection_DP = torch.from_numpy(vectors[:, order] * scale).to(device)
    if rows.shared:  # machines may differ in the last bit
        projection_DP = ranks.from_first(projection_DP)

    def whitened(block: Tensor) -> Tensor:
        out: Tensor = (block.to(device).double() - mean_D) @ projection_DP
        return F.normalize(out, dim=1).float()

    return rows.map(whitened)
