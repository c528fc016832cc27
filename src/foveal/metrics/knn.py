"""Weighted nearest neighbours, as NPID measures features.

Wu et al., "Unsupervised feature learning via non-parametric instance discrimination", CVPR 2018,
section 3.4.

Legend: N training samples, Q queries, D features, C classes, K neighbours.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from foveal.errors import FovealError
from foveal.metrics.accuracy import topk_accuracy

_BLOCK_VALUES = 1 << 24  # similarities held at once: 64 MB of float32
_SMALLEST_TEMPERATURE = 0.002  # exp(1 / T) still fits into float64


def knn_scores(
    train_x: Tensor,
    train_y: Tensor,
    test_x: Tensor,
    *,
    classes: int,
    k: int = 20,
    temperature: float = 0.07,
    normalise: bool = True,
) -> Tensor:
    """Class scores ``sum over the K nearest of that class of exp(similarity / temperature)``.

    The paper: K = 200, temperature 0.07 on ImageNet (its released code takes 0.1 on CIFAR).
    Neighbours of equal similarity are taken in the order of their rows.

    Args:
        train_x: [N, D].
        train_y: int64 [N], 0 to C-1.
        test_x: [Q, D].
        classes: C.
        k: Neighbours; cut to N.
        temperature: At least 0.002.
        normalise: L2-normalise both sides first, so that similarity is the cosine. Without it
            scores of a query are relative to its nearest neighbour's, which changes no ranking.

    Returns:
        float64 [Q, C]. Memory stays bounded whatever Q is.

    Raises:
        FovealError: No training samples, ``k`` below 1, or a temperature too small.
    """
    if not len(train_x):
        raise FovealError("kNN needs at least one training sample")
    if k < 1:
        raise FovealError(f"kNN with k={k}", hint="k=20")
    if temperature < _SMALLEST_TEMPERATURE:
        raise FovealError(f"kNN temperature {temperature} is too small", hint="temperature=0.07")
    k = min(k, len(train_x))
    if normalise:
        train_x, test_x = F.normalize(train_x), F.normalize(test_x)
    train_DN = train_x.T
    block = max(1, _BLOCK_VALUES // len(train_x))
    scores_QC = torch.zeros(len(test_x), classes, dtype=torch.float64, device=test_x.device)
    for start in range(0, len(test_x), block):
        values_QK, rows_QK = _nearest(test_x[start : start + block] @ train_DN, k)
        values_QK = values_QK.double()
        if not normalise:
            values_QK = values_QK - values_QK[:, :1]
        weights_QK = torch.exp(values_QK / temperature)
        scores_QC[start : start + block].scatter_add_(1, train_y[rows_QK], weights_QK)
    return scores_QC


def knn_accuracy(
    train_x: Tensor,
    train_y: Tensor,
    test_x: Tensor,
    test_y: Tensor,
    k: int = 20,
    *,
    temperature: float = 0.07,
) -> float:
    """Top-1 accuracy of ``knn_scores`` on l2-normalised features."""
    classes = int(max(train_y.max(), test_y.max())) + 1
    scores_QC = knn_scores(train_x, train_y, test_x, classes=classes, k=k, temperature=temperature)
    return topk_accuracy(scores_QC, test_y)


def _nearest(similarity_QN: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row, largest first; of equal ones the lower columns."""
    values_QK, rows_QK = similarity_QN.topk(k, dim=1)
    last_Q1 = values_QK[:, -1:]
    # topk picks any of the equal ones. Which are picked matters only where more equal the last
    # value than there is room for: these few queries are sorted in full.
    unclear = (similarity_QN == last_Q1).sum(1) > (values_QK == last_Q1).sum(1)
    if unclear.any():
        found = similarity_QN[unclear].sort(dim=1, descending=True, stable=True)
        values_QK[unclear], rows_QK[unclear] = found.values[:, :k], found.indices[:, :k]
    return values_QK, rows_QK
