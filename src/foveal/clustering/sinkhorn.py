"""Balanced labels: the transport problem of SeLa by Sinkhorn and Knopp, at float64 accuracy.

P**25 underflows, and logarithms of sums in every iteration are slow: for 12,200 x 128 entries 90 ms
against 8 (one core). So the first iteration is done on logarithms; what it finds goes into the
matrix, whose rows then sum to 1 / N and columns to at least 1 / (K N), and further iterations are
products with factors near 1 (Schmitzer, "Stabilized sparse scaling algorithms for entropy
regularized transport problems", SIAM 2019). Where factors have grown the matrix takes them in.

Legend: N samples, K labels, R samples of this rank.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from foveal.core import ranks

_GROWN = 200.0  # logarithm of a factor; float64 reaches to 709


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
    the label is its largest entry. The rows of P are cut between the ranks; K numbers travel in
    every iteration.

    Args:
        log_p_RK: Logarithms of the predicted probabilities, this rank's rows.
        strength: lambda: 25 on ImageNet, 10 on CIFAR in the released code.
        tolerance: Stops where the error, measured at every tenth iteration, is at most this.
        most: Largest number of iterations.
        chunk: Rows held in float64 at a time; more rows are made anew in every iteration.
    """
    rows, labels = log_p_RK.shape
    total = int(ranks.sum_over_ranks(torch.tensor(rows, device=log_p_RK.device)))
    chunks = [slice(i, i + chunk) for i in range(0, max(1, rows), chunk)]

    def powers(part: slice) -> Tensor:
        return strength * log_p_RK[part].double()

    def plan(part: slice) -> Tensor:
        """diag(r) P**strength diag(c) as far as r and c are taken in, [rows, K]."""
        return powers(part).add_(log_r).add_(log_c[part, None]).exp_()

    log_c = torch.full((rows,), -math.log(total), dtype=torch.float64, device=log_p_RK.device)
    log_r = log_c.new_zeros(labels)
    # Factors of both since they were taken in.
    r, c = torch.ones_like(log_r), torch.ones_like(log_c)
    held: list[Tensor] = []
    error, iteration, grown = math.inf, 0, True
    while iteration < most:
        if grown:
            log_c = log_c + c.log()
            parts = torch.stack([(powers(s) + log_c[s, None]).logsumexp(0) for s in chunks])
            log_mass = ranks.gather_rows(parts.logsumexp(0)[None]).logsumexp(0)
            log_r = -math.log(labels) - log_mass
            new = torch.cat([-math.log(total) - (powers(s) + log_r).logsumexp(1) for s in chunks])
            change, log_c = (log_c - new).exp(), new
            r, c = torch.ones_like(log_r), torch.ones_like(log_c)
            held = [plan(chunks[0])] if len(chunks) == 1 else []
        else:
            mass = torch.stack([(held[0] if held else plan(s)).T @ c[s] for s in chunks]).sum(0)
            r = 1 / (labels * ranks.gather_rows(mass[None]).sum(0))
            row = torch.cat([(held[0] if held else plan(s)) @ r for s in chunks])
            change, c = c * total * row, 1 / (total * row)
        largest = torch.cat([r, c]).log().abs().amax()
        grown = bool(ranks.max_over_ranks(largest) > _GROWN)
        if iteration % 10 == 0:
            error = float(ranks.sum_over_ranks((change - 1).abs().sum()))
        iteration += 1
        if error <= tolerance and iteration % 10 == 1:
            break
    log_r, log_c = log_r + r.log(), log_c + c.log()
    found = torch.cat([(powers(s) + log_r).argmax(1) for s in chunks])
    return Balanced(found, log_r, log_c, iteration, error)


def label_entropy(labels: Tensor, classes: int) -> float:
    """Entropy of how often each label occurs, over log K: 1 where all occur equally often."""
    share = torch.bincount(labels.flatten(), minlength=classes).double() / labels.numel()
    return float(torch.special.entr(share).sum() / math.log(classes))
