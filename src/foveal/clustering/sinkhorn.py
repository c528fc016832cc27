"""Balanced labels: the transport problem of SeLa by Sinkhorn and Knopp, in log space.

Legend: N samples, K labels, R samples of this rank.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from foveal.core import ranks


@dataclass(frozen=True)
class Balanced:
    """What ``sinkhorn`` found.

    Attributes:
        labels: The most probable label of every sample of this rank, int64 [R].
        log_r: Logarithm of the factor of every label, float64 [K].
        log_c: Logarithm of the factor of every sample of this rank, float64 [R].
        iterations: How many were done.
        error: The last one measured: sum over all samples of ``|c / c_new - 1|``.
    """

    labels: Tensor
    log_r: Tensor
    log_c: Tensor
    iterations: int
    error: float


def sinkhorn(
    log_p_RK: Tensor, *, strength: float, tolerance: float, most: int = 1000, chunk: int = 65_536
) -> Balanced:
    """Labels that every class gets equally often (Asano et al., SeLa, ICLR 2020, section 3.1).

    Finds r and c for which diag(r) P**strength diag(c) has equal row sums and equal column sums;
    the label is its largest entry. In log space, since P**25 underflows. The rows of P are cut
    between the ranks; K numbers travel in every iteration.

    Args:
        log_p_RK: Logarithms of the predicted probabilities, this rank's rows.
        strength: lambda: 25 on ImageNet, 10 on CIFAR in the released code.
        tolerance: Stops where the error, measured at every tenth iteration, is at most this.
        most: Largest number of iterations.
        chunk: Rows held in float64 at a time.
    """
    rows, labels = log_p_RK.shape
    total = int(ranks.sum_over_ranks(torch.tensor(rows, device=log_p_RK.device)))
    chunks = [slice(i, i + chunk) for i in range(0, max(1, rows), chunk)]

    def powers(part: slice) -> Tensor:
        return strength * log_p_RK[part].double()

    def log_mass(log_c: Tensor) -> Tensor:
        """Logarithm of M c, over all ranks, [K]."""
        parts = torch.stack([(powers(s) + log_c[s, None]).logsumexp(0) for s in chunks])
        return ranks.gather_rows(parts.logsumexp(0)[None]).logsumexp(0)

    log_c = torch.full((rows,), -math.log(total), dtype=torch.float64, device=log_p_RK.device)
    log_r, error, iteration = torch.empty(0), math.inf, 0
    while iteration < most:
        log_r = -math.log(labels) - log_mass(log_c)
        new = torch.cat([-math.log(total) - (powers(s) + log_r).logsumexp(1) for s in chunks])
        if iteration % 10 == 0:
            error = float(ranks.sum_over_ranks(((log_c - new).exp() - 1).abs().sum()))
        log_c, iteration = new, iteration + 1
        if error <= tolerance and iteration % 10 == 1:
            break
    found = torch.cat([(powers(s) + log_r).argmax(1) for s in chunks])
    return Balanced(found, log_r, log_c, iteration, error)


def label_entropy(labels: Tensor, classes: int) -> float:
    """Entropy of how often each label occurs, over log K: 1 where all occur equally often."""
    share = torch.bincount(labels.flatten(), minlength=classes).double() / labels.numel()
    return float(torch.special.entr(share).sum() / math.log(classes))
