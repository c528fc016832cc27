"""Exponential moving averages of parameters, one call for all tensors."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


@torch.no_grad()
def ema_update(target: Iterable[Tensor], online: Iterable[Tensor], decay: float) -> None:
    """``target <- decay * target + (1 - decay) * online``, in place, pair by pair."""
    torch._foreach_lerp_(list(target), list(online), weight=1.0 - decay)
