"""InfoNCE: pick the partner among many others, without ever storing all similarities.

Forward keeps the log-sum-exp of each query's row, backward computes the similarities again: tile
by tile, so memory grows with Q + K and not with Q * K, and a tile stays in the cache (the idea of
FlashAttention, Dao et al., NeurIPS 2022, and of Inf-CL, Cheng et al., 2024, on plain matrix
products).

Legend: Q queries of this rank, K others they are compared with, D features, S left out of each
query's others, B samples of this rank, W ranks; R rows and C columns of a tile. Of patches:
P values at H x W places, G samples of a group, N = G H W.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from foveal.core import ranks

# Rows and columns of a tile: what a core's second cache holds; enough work for a launch on a GPU.
_TILE = {"cpu": (256, 1024)}
_TILE_ELSEWHERE = (2048, 8192)
# Up to this many similarities the plain computation is faster, and they fit anywhere.
_PLAIN = 1 << 17


def info_nce(
    queries_QD: Tensor,
    partners_QD: Tensor,
    others_KD: Tensor,
    *,
    temperature: float,
    skip_QS: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """``-log(exp(q.p / t) / (exp(q.p / t) + sum_k exp(q.o_k / t)))`` of each query.

    Covers SimCLR (others: both views of the whole batch, itself and partner left out), MoCo
    (others: the queue), exact bank losses (others: the bank, its row of the same picture left
    out). Gradients reach whatever asks for them: none for a bank or a queue. The rows are used as
    they are: normalise them first where the paper compares directions.

    Args:
        queries_QD: What looks for its partner.
        partners_QD: The partner of each query.
        others_KD: What the partner must be told from; shared by all queries. A bank may be kept
            in half precision.
        temperature: Divides the similarities.
        skip_QS: int64, rows of ``others_KD`` that do not count for a query.

    Returns:
        The loss [Q], and whether the partner is more similar than all others, bool [Q]. Equally
        similar does not count, and differences within rounding are taken for equal: a network that
        says the same about everything picks nobody.
    """
    scaled_QD = queries_QD / temperature
    partner_Q = (scaled_QD * partners_QD).sum(1)
    others_Q, best_Q = negatives_log_sum_exp(scaled_QD, others_KD, skip_QS)
    with torch.no_grad():
        rounding = 1e-5 * scaled_QD.norm(dim=1) * partners_QD.norm(dim=1)
        correct_Q = partner_Q > best_Q + rounding
    return F.softplus(others_Q - partner_Q), correct_Q


def nt_xent(
    a_BD: Tensor, b_BD: Tensor, *, temperature: float, normalise: bool = True
) -> tuple[Tensor, Tensor]:
    """NT-Xent (SimCLR, section 2.1, equation 1): the mean over both views' rows.

    The negatives of a row are all other rows of both views, over all ranks: 2WB - 2 of them. The
    released code returns the sum of the two views' means instead, which is twice this. Each rank
    compares its own 2B rows with all 2WB.

    Args:
        a_BD: Projections of one view.
        b_BD: Projections of the other view, row by row of the same pictures.
        temperature: Divides the similarities.
        normalise: l2-normalise the rows first (the paper); otherwise plain dot products.

    Returns:
        The loss over this rank's 2B rows, and the share of rows whose partner is the most similar.
    """
    if normalise:
        a_BD, b_BD = F.normalize(a_BD, dim=1), F.normalize(b_BD, dim=1)
    rows = len(a_BD)
    all_a, all_b = ranks.gather(a_BD), ranks.gather(b_BD)
    own_B = torch.arange(rows, device=a_BD.device) + ranks.first_row(rows)
    both_B2 = torch.stack([own_B, own_B + len(all_a)], dim=1)
    loss, correct = info_nce(
        torch.cat([a_BD, b_BD]),
        torch.cat([b_BD, a_BD]),
        torch.cat([all_a, all_b]),
        temperature=temperature,
        skip_QS=both_B2.repeat(2, 1),
    )
    return loss.mean(), correct.float().mean()


def patch_nce(
    predictions_BPHW: Tensor,
    targets_BPHW: Tensor,
    offset: int,
    *,
    scale: float = 0.1,
    group: int | None = None,
) -> tuple[Tensor, Tensor]:
    """InfoNCE of the patch ``offset`` rows down among a group's patches (CPC v2, the appendix).

    Groups are consecutive samples of the batch over all ranks, so that ranks never matter.

    Args:
        predictions_BPHW: What each place says about the patch ``offset`` rows below it; the last
            rows have none and are not used.
        targets_BPHW: What stands at each place.
        offset: Rows.
        scale: Of the predictions; dot products, without normalising.
        group: Samples whose patches are told apart; None: all there are.

    Returns:
        Mean loss over this rank's places, and the share whose patch is the most similar.
    """
    rows = len(targets_BPHW)
    all_BPHW, first = targets_BPHW, 0
    if group is None or rows % group:
        # A group may lie on several ranks.
        all_BPHW, first = ranks.gather(targets_BPHW), ranks.first_row(rows)
    height, width = targets_BPHW.shape[2:]
    size = group or len(all_BPHW)
    losses, rights = [], []
    for start in range(first // size * size, first + rows, size):
        targets_GPHW = all_BPHW[start : start + size]
        # Of this group the samples that are this rank's.
        mine = slice(max(start, first), min(start + size, first + rows))
        label_GQ = patch_labels(len(targets_GPHW), height, width, offset).to(all_BPHW.device)
        label_Q = label_GQ[mine.start - start : mine.stop - start].flatten()
        queries_BPHW = predictions_BPHW[mine.start - first : mine.stop - first, :, :-offset]
        targets_NP = targets_GPHW.permute(0, 2, 3, 1).flatten(0, 2)
        loss, right = info_nce(
            queries_BPHW.permute(0, 2, 3, 1).flatten(0, 2),
            targets_NP[label_Q],
            targets_NP,
            temperature=1 / scale,
            skip_QS=label_Q[:, None],
        )
        losses.append(loss)
        rights.append(right)
    return torch.cat(losses).mean(), torch.cat(rights).float().mean()


def patch_labels(samples: int, height: int, width: int, offset: int) -> Tensor:
    """Which of all ``samples * height * width`` places each place predicts that has a prediction.

    Returns:
        int64 [samples, (height - offset) * width], row by row.
    """
    place = torch.arange(samples * height * width).reshape(samples, height, width)
    return place[:, offset:].flatten(1)


def negatives_log_sum_exp(
    q_QD: Tensor, k_KD: Tensor, skip_QS: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """``log sum_k exp(q.k)`` over the ``k`` that count for each query, and their largest ``q.k``.

    Args:
        q_QD: Queries, already divided by the temperature.
        k_KD: What they are compared with.
        skip_QS: int64, rows of ``k_KD`` left out for each query; a row may be named twice.

    Returns:
        Log-sum-exp [Q] with gradient, maximum [Q] without; -inf where nothing counts.
    """
    if skip_QS is None:
        skip_QS = torch.empty(len(q_QD), 0, dtype=torch.int64, device=q_QD.device)
    if len(q_QD) * len(k_KD) <= _PLAIN:
        s_QK = (q_QD @ k_KD.to(q_QD.dtype).T).scatter(1, skip_QS, float("-inf"))
        return s_QK.logsumexp(1), s_QK.detach().amax(1)
    summed, best = _TiledLogSumExp.apply(q_QD, k_KD, skip_QS)
    return summed, best


class _TiledLogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q_QD: Tensor, k_KD: Tensor, skip_QS: Tensor) -> tuple[Tensor, Tensor]:
        q_QD, k_KD = q_QD.contiguous(), k_KD.contiguous()
        best_Q = q_QD.new_full((len(q_QD),), float("-inf"))
        total_Q = torch.zeros_like(best_Q)
        for r, _, s_RC in _tiles(q_QD, k_KD, skip_QS):
            before_R = _finite(best_Q[r])
            best_Q[r] = torch.maximum(best_Q[r], s_RC.amax(1))
            now_R = _finite(best_Q[r])
            tile_R = s_RC.sub_(now_R[:, None]).exp_().sum(1)
            total_Q[r] = total_Q[r] * (before_R - now_R).exp_() + tile_R
        summed_Q = _finite(best_Q) + total_Q.log()
        ctx.save_for_backward(q_QD, k_KD, skip_QS, _finite(summed_Q))
        ctx.mark_non_differentiable(best_Q)
        return summed_Q, best_Q

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_Q: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        q_QD, k_KD, skip_QS, summed_Q = ctx.saved_tensors
        of_q, of_k, _ = ctx.needs_input_grad
        grad_q_QD = torch.zeros_like(q_QD) if of_q else None
        grad_k_KD = torch.zeros_like(k_KD) if of_k else None
        weighted_QD = q_QD * grad_Q[:, None]
        for r, c, s_RC in _tiles(q_QD, k_KD, skip_QS):
            share_RC = s_RC.sub_(summed_Q[r, None]).exp_()
            if grad_q_QD is not None:
                grad_q_QD[r].addmm_(share_RC, k_KD[c].to(q_QD.dtype))
            if grad_k_KD is not None:
                grad_k_KD[c].addmm_(share_RC.T, weighted_QD[r])
        if grad_q_QD is not None:
            grad_q_QD *= grad_Q[:, None]
        return grad_q_QD, grad_k_KD, None


def _tiles(q_QD: Tensor, k_KD: Tensor, skip_QS: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Tiles of ``q @ k.T``, -inf where left out; all in the same memory, one after another."""
    (rows, others), columns = (len(q_QD), len(k_KD)), skip_QS.shape[1]
    height, width = _TILE.get(q_QD.device.type, _TILE_ELSEWHERE)
    buffer = q_QD.new_empty(min(height, rows) * min(width, others))
    for top in range(0, rows, height):
        r = slice(top, min(top + height, rows))
        for left in range(0, others, width):
            c = slice(left, min(left + width, others))
            shape = (r.stop - r.start, c.stop - c.start)
            tile_RC = buffer[: shape[0] * shape[1]].view(shape)
            torch.mm(q_QD[r], k_KD[c].to(q_QD.dtype).T, out=tile_RC)
            if columns:
                # No look at the values: a minimum with -inf inside the tile, with inf elsewhere.
                at_RS = skip_QS[r] - left
                inside_RS = (at_RS >= 0) & (at_RS < shape[1])
                bound_RS = torch.where(inside_RS, float("-inf"), float("inf")).to(tile_RC.dtype)
                tile_RC.scatter_reduce_(1, at_RS.clamp(0, shape[1] - 1), bound_RS, "amin")
            yield r, c, tile_RC


def _finite(x: Tensor) -> Tensor:
    """-inf as the lowest number: a row without others has no share in anything, and no nan."""
    return x.clamp(min=torch.finfo(x.dtype).min)
