"""Regression of directions."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def direction_loss(p_BD: Tensor, z_BD: Tensor) -> Tensor:
    """``||p/|p| - z/|z| ||^2 = 2 - 2 cos(p, z)`` of each row, [B] (BYOL, section 3.1, eq. 2)."""
    return 2 - 2 * F.cosine_similarity(p_BD, z_BD, dim=1)
