"""InfoNCE: pick the partner among the rows of the whole global batch.

Legend: B samples of this rank, W ranks, D features.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from foveal.core import ranks


def nt_xent(
    a_BD: Tensor, b_BD: Tensor, *, temperature: float, normalise: bool = True
) -> tuple[Tensor, Tensor]:
    """NT-Xent (SimCLR, section 2.1, equation 1): the mean over both views' rows.

    The negatives of a row are all other rows of both views, over all ranks: 2WB - 2 of them. The
    released code returns the sum of the two views' means instead, which is twice this.

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
    total = len(all_a)
    own = torch.arange(rows, device=a_BD.device) + ranks.first_row(rows)
    logits = torch.cat([a_BD, b_BD]) @ torch.cat([all_a, all_b]).T / temperature
    itself = torch.cat([own, own + total])
    # A row is no candidate for itself.
    logits = logits.scatter(1, itself[:, None], float("-inf"))
    partner = torch.cat([own + total, own])
    loss = F.cross_entropy(logits, partner)
    correct = (logits.detach().argmax(1) == partner).float().mean()
    return loss, correct
