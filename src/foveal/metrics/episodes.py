"""Few-shot episodes: classify by the nearest mean of a few examples (Snell et al., 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def nearest_prototype(support_NKD: Tensor, queries_QD: Tensor) -> Tensor:
    """The class of every query, int64 [Q].

    Args:
        support_NKD: K examples of each of N classes.
        queries_QD: What to classify: the class whose mean is nearest by Euclidean distance.
    """
    return torch.cdist(queries_QD, support_NKD.mean(1)).argmin(1)


def mean_and_interval(accuracies: Sequence[float]) -> tuple[float, float]:
    """Mean over episodes, and 1.96 population standard deviations over the root of their number."""
    values = np.asarray(accuracies, np.float64)
    return float(values.mean()), float(1.96 * values.std() / np.sqrt(len(values)))
