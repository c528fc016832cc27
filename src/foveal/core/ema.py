"""Exponential moving averages of networks, one call for all tensors."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


@torch.no_grad()
def ema_update(target: Iterable[Tensor], online: Iterable[Tensor], decay: float) -> None:
    """``target <- decay * target + (1 - decay) * online``, in place, pair by pair."""
    torch._foreach_lerp_(list(target), list(online), weight=1.0 - decay)


@torch.no_grad()
def copy_buffers(target: nn.Module, online: nn.Module) -> None:
    """The online network's buffers (batch-norm statistics) as they are; it may have none."""
    if buffers := list(target.buffers()):
        torch._foreach_copy_(buffers, list(online.buffers()))
