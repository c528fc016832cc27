"""Accuracies from class scores. Ties are broken the same way everywhere: the lower class wins.

Legend: Q samples, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from foveal.errors import FovealError


def true_class_rank(scores_QC: Tensor, labels_Q: Tensor) -> Tensor:
    """How many classes are placed before the true one, int64 [Q]; 0 is a right answer.

    A class is placed before another of the same score if its number is lower, so the result does
    not depend on how a sort treats ties.
    """
    own_Q1 = scores_QC.gather(1, labels_Q[:, None])
    lower_C = torch.arange(scores_QC.shape[1], device=scores_QC.device)
    tied_before = (scores_QC == own_Q1) & (lower_C < labels_Q[:, None])
    return ((scores_QC > own_Q1) | tied_before).sum(1)


def topk_accuracy(scores_QC: Tensor, labels_Q: Tensor, k: int = 1) -> float:
    """Share of samples whose true class is among the ``k`` highest scores."""
    _check_any(labels_Q)
    return float((true_class_rank(scores_QC, labels_Q) < k).double().mean())


def mean_per_class_accuracy(predicted_Q: Tensor, labels_Q: Tensor) -> float:
    """Mean over the classes that occur of the share of their samples that are right."""
    _check_any(labels_Q)
    n_C = torch.bincount(labels_Q)
    right_C = torch.bincount(labels_Q[predicted_Q == labels_Q], minlength=len(n_C))
    present = n_C > 0
    return float((right_C[present].double() / n_C[present]).mean())


def _check_any(labels_Q: Tensor) -> None:
    if not len(labels_Q):
        raise FovealError("there are no samples to measure on")
