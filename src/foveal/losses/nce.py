"""Noise-contrastive estimation: tell one row of a bank from rows drawn at random.

Legend: B samples, M = 1 + m candidates (slot 0 is the right one), N rows of the bank.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.core import ranks


def nce(logits_BM: Tensor, *, log_z: Tensor, rows: int) -> Tensor:
    """NCE against uniform noise (Wu et al., NPID, CVPR 2018, section 3.2), mean over samples.

    With p_j = exp(s_j) / Z and h_j = p_j / (p_j + m / N) the loss is
    -log h_0 - sum over the m negatives of log(1 - h_j). Since h is a sigmoid of s - log(Z m / N),
    nothing is divided and no epsilon is needed.

    Args:
        logits_BM: Similarities over temperature, slot 0 the sample's own row.
        log_z: Logarithm of the constant Z, scalar.
        rows: N.
    """
    negatives = logits_BM.shape[1] - 1
    shifted = logits_BM - (log_z + math.log(negatives / rows))
    return (F.softplus(-shifted[:, 0]) + F.softplus(shifted[:, 1:]).sum(1)).mean()


def softmax_nce(logits_BM: Tensor) -> Tensor:
    """The form of PIRL's paper (Misra and van der Maaten, CVPR 2020, equations 2 to 4).

    h is the softmax over the candidates themselves; every negative adds -log(1 - h_j). Mean over
    samples.
    """
    log_h = logits_BM.log_softmax(1)
    # log(1 - h), exact where h is small and where it is close to 1.
    rest = torch.log1p(-log_h[:, 1:].exp().clamp_max(1 - 1e-7))
    return (-log_h[:, 0] - rest.sum(1)).mean()


def info_nce_first(logits_BM: Tensor) -> Tensor:
    """Cross-entropy with slot 0 as the right answer, mean over samples."""
    return (-logits_BM.log_softmax(1)[:, 0]).mean()


def log_partition(logits_BM: Tensor, rows: int) -> Tensor:
    """Logarithm of Z = N times the mean of exp(s) over a batch, positives included; scalar."""
    return logits_BM.flatten().logsumexp(0) - math.log(logits_BM.numel()) + math.log(rows)


class Partition(nn.Module):
    """The constant Z of ``nce``: estimated at the first step over all ranks, then never again."""

    value: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("value", torch.tensor(-1.0))  # unset: Z itself is positive

    def at(self, step: int, logits_BM: Tensor, rows: int) -> Tensor:
        """Z for this step; from this step's own similarities if it is the first."""
        if step > 0:
            return self.value
        return ranks.mean_over_ranks(log_partition(logits_BM, rows).exp())

    @torch.no_grad()
    def keep(self, step: int, value: Tensor) -> None:
        """After the first step: what it used (the mean over ranks and micro-batches)."""
        if step == 0:
            self.value.copy_(value)
