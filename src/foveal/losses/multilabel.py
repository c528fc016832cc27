"""Noisy labels of several classes at once: an independent logistic loss for every class.

Sun, Shrivastava, Singh, Gupta, "Revisiting unreasonable effectiveness of data in deep learning
era", ICCV 2017 (section 3.2). What is not labelled counts as absent; nothing models the noise.

Legend: B samples, K classes of the data, C of the hierarchy: these and what lies above them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def closed_upwards(labels_B: Tensor, positives_KC: Tensor) -> Tensor:
    """1 for the class of each sample and for all above it, float32 [B, C]; -1 has none.

    Args:
        labels_B: int64, -1 unknown.
        positives_KC: bool, of each class itself and its ancestors.
    """
    nothing_C = torch.zeros_like(positives_KC[:1])
    # The last row, where -1 points.
    return torch.cat([positives_KC, nothing_C])[labels_B].float()


def multilabel_loss(
    logits_BC: Tensor, targets_BC: Tensor, counted_BC: Tensor | None = None
) -> Tensor:
    """Summed over the classes, mean over the samples.

    Args:
        logits_BC: float32.
        targets_BC: 1 where the class is there.
        counted_BC: 0 where nothing is to be learned (VOC's difficult objects); None: all count.
    """
    summed = F.binary_cross_entropy_with_logits(
        logits_BC, targets_BC, weight=counted_BC, reduction="sum"
    )
    return summed / len(logits_BC)


def base_rate_loss(positives_KC: Tensor) -> float:
    """What knowing only how common each class is gives, all classes of the data equally common."""
    share_C = positives_KC.double().mean(0)
    return float(F.binary_cross_entropy(share_C, share_C, reduction="sum"))
