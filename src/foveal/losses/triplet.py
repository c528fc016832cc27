"""Triplet losses over the rows of the whole global batch: who belongs together is nearer.

Legend: B rows of this rank, A rows of all ranks, D features.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from foveal.core import ranks

Distance = Literal["squared", "cosine", "euclidean"]
Mining = Literal["semi_hard", "all", "hard"]
Normalise = Literal["rows", "columns", "none"]


def triplet_loss(
    z_BD: Tensor,
    ids_B: Tensor,
    *,
    margin: float,
    distance: Distance = "squared",
    mining: Mining = "semi_hard",
    normalise: Normalise = "rows",
    soft: bool = False,
) -> tuple[Tensor, Tensor]:
    """``max(0, margin + d(a, p) - d(a, n))``, mean over the triplets of the global batch.

    Every row is an anchor ``a``; ``p`` is any other row of its id, ``n`` a row of another id.

    Mining:
        ``semi_hard`` (Kolesnikov et al. 2019): one negative for every ordered pair (a, p), the
        nearest that is farther from ``a`` than ``p`` is; the farthest one if none is.
        ``all`` (Doersch & Zisserman 2017): every negative of the batch.
        ``hard`` (Hermans, Beyer, Leibe 2017; S4L 2019): one triplet an anchor, of the farthest row
        of its id and the nearest of another.

    Args:
        z_BD: Embeddings.
        ids_B: What belongs together, int64.
        margin: In units of the distance.
        distance: ``squared`` Euclidean, its root ``euclidean``, or ``cosine``: ``1 - cos``. Of rows
            of length 1 the first is twice the last.
        mining: See above.
        normalise: ``rows``: every embedding to length 1. ``columns``: every dimension over the
            batch, what the released code of Kolesnikov et al. does in fact. ``cosine`` normalises
            rows in any case.
        soft: ``log(1 + exp(x))`` in place of ``max(0, x)``.

    Returns:
        The loss over this rank's anchors, scaled so that its mean over ranks is the mean over all
        triplets; and the share of this rank's triplets that still cost something (``soft``: that
        would without it).
    """
    own = torch.arange(len(z_BD), device=z_BD.device) + ranks.first_row(len(z_BD))
    z_AD, ids_A = ranks.gather(z_BD), ranks.gather_rows(ids_B)
    if normalise != "none" or distance == "cosine":
        columns = normalise == "columns" and distance != "cosine"
        z_AD = F.normalize(z_AD, dim=0 if columns else 1)
    d_BA = _distances(z_AD[own], z_AD, distance)
    alike_BA = ids_A[own, None] == ids_A
    positive_BA = alike_BA & (own[:, None] != torch.arange(len(ids_A), device=own.device))
    if mining == "semi_hard":
        gap = (d_BA - _semi_hard(d_BA, alike_BA))[positive_BA]
    elif mining == "hard":
        gap = _hard(d_BA, positive_BA, ~alike_BA)
    else:
        gap = _all_triplets(d_BA, positive_BA, ~alike_BA)
    cost = F.softplus(margin + gap) if soft else F.relu(margin + gap)
    share = _share_of_all(ids_A, own, mining)
    # A batch of one id, or without any pair, holds no triplet: nothing to learn, no division by 0.
    mean = cost.mean() if len(cost) else d_BA.sum() * 0
    active = (gap.detach() > -margin).float().mean() if len(cost) else d_BA.new_zeros(())
    return mean * share, active


def _distances(a: Tensor, b: Tensor, distance: Distance) -> Tensor:
    dots = a @ b.T
    if distance == "cosine":
        return 1 - dots
    squares = a.square().sum(1, keepdim=True) + b.square().sum(1) - 2 * dots
    # The root's slope at 0 is infinite.
    return squares.clamp_min(1e-12).sqrt() if distance == "euclidean" else squares.clamp_min(0)


def _semi_hard(d_BA: Tensor, alike_BA: Tensor) -> Tensor:
    """For every pair (a, p) the distance of its negative, [B, A]; meaningless where p is none."""
    sorted_BA = d_BA.masked_fill(alike_BA, torch.inf).sort(dim=1).values
    count_B1 = (~alike_BA).sum(1, keepdim=True)
    farther = torch.searchsorted(sorted_BA.detach(), d_BA.detach().contiguous(), right=True)
    # Past the last negative: the last one, which is the farthest.
    return sorted_BA.gather(1, torch.minimum(farther, (count_B1 - 1).clamp_min(0)))


def _hard(d_BA: Tensor, positive_BA: Tensor, other_BA: Tensor) -> Tensor:
    """``d(a, p) - d(a, n)`` of every anchor that has both, [T]."""
    both = positive_BA.any(1) & other_BA.any(1)
    far = d_BA.masked_fill(~positive_BA, -torch.inf)[both].amax(1)
    near = d_BA.masked_fill(~other_BA, torch.inf)[both].amin(1)
    return far - near


def _all_triplets(d_BA: Tensor, positive_BA: Tensor, other_BA: Tensor) -> Tensor:
    """``d(a, p) - d(a, n)`` of every triplet, [T]: one positive of every anchor at a time."""
    most = int(positive_BA.sum(1).max())
    order_BA = positive_BA.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
    found = [d_BA.new_zeros(0)]
    for k in range(most):
        at_B1 = order_BA[:, k : k + 1]
        there_B1 = positive_BA.gather(1, at_B1)
        found.append((d_BA.gather(1, at_B1) - d_BA)[there_B1 & other_BA])
    return torch.cat(found)


def _share_of_all(ids_A: Tensor, own: Tensor, mining: Mining) -> Tensor:
    """Ranks times this rank's share of all triplets: 1 where every rank has as many."""
    _, which, counts = torch.unique(ids_A, return_inverse=True, return_counts=True)
    alike = counts[which]
    triplets = (alike > 1 if mining == "hard" else alike - 1).double()
    others = len(ids_A) - alike
    triplets = triplets * (others if mining == "all" else (others > 0))
    total = triplets.sum()
    share: Tensor = triplets[own].sum() * ranks.world_size() / total.clamp_min(1)
    return share.to(torch.float32)
