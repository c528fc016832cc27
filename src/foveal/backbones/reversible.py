"""Reversible blocks: activations are computed again in backward instead of being kept.

Gomez, Ren, Urtasun, Grosse, "The reversible residual network", NIPS 2017, in the form of
Kolesnikov et al. (CVPR 2019): a block adds to one half of the channels what it makes of the other,
and the halves swap, so that every block's input follows from its output. Of a chain of blocks only
its two ends are kept.

Legend: B images, C channels, H, W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from foveal.backbones.batchnorm import buffers_left_alone


class Coupling(nn.Module):
    """``(x1, x2) -> (x2, x1 + branch(x2))`` on the two halves of the channels.

    Args:
        branch: [B, C / 2, H, W] -> the same shape; nothing random in it.
    """

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        x1, x2 = x.chunk(2, 1)
        return torch.cat([x2, x1 + self.branch(x2)], 1)

    def backward_from(
        self, x2: Tensor, y2: Tensor, grad: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor | None]]:
        """The half that was added to, the gradient of the input and those of the parameters.

        Batch-norm buffers stay as they are: the forward pass has counted this batch.

        Args:
            x2: The half that went through the branch, [B, C / 2, H, W].
            y2: The half that the branch was added to, afterwards.
            grad: Of the output, [B, C, H, W].
        """
        grad_x2, grad_y2 = grad.chunk(2, 1)
        trained = [p for p in self.branch.parameters() if p.requires_grad]
        with torch.enable_grad(), buffers_left_alone(self.branch):
            again = x2.detach().requires_grad_()
            branch = self.branch(again)
        through, *found = torch.autograd.grad(branch, [again, *trained], grad_y2.to(branch.dtype))
        by_parameter = dict(zip(trained, found, strict=True))
        found_all = [by_parameter.get(p) for p in self.branch.parameters()]
        return y2 - branch.detach(), torch.cat([grad_y2, grad_x2 + through], 1), found_all


class Reversible(nn.Sequential):
    """Couplings in a row that keep only their two ends for backward.

    Without gradient, or where a program is traced, it is the plain chain.

    Args:
        couplings: The blocks.
        stored: Keep all activations, as any other chain does: faster, more memory.
    """

    def __init__(self, couplings: Sequence[Coupling], *, stored: bool = False) -> None:
        super().__init__(*couplings)
        self.stored = stored

    def forward(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W], through the couplings ``start`` to ``stop - 1``."""
        couplings = [c for c in list(self)[start:stop] if isinstance(c, Coupling)]
        if not (self.stored or not torch.is_grad_enabled() or torch.compiler.is_exporting()):
            parameters = [p for c in couplings for p in c.branch.parameters()]
            found: Tensor = _KeepEnds.apply(couplings, x, *parameters)
            return found
        for coupling in couplings:
            x = coupling(x)
        return x


class _KeepEnds(torch.autograd.Function):
    """The chain as one operation, whose parameters are inputs: DDP sees their gradients."""

    @staticmethod
    def forward(ctx: Any, couplings: list[Coupling], x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.couplings = couplings
        kind = x.device.type
        on = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
        ctx.autocast = (kind, torch.get_autocast_dtype(kind)) if on else None
        y = x
        for coupling in couplings:
            y = coupling(y)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (x, y), (grad,) = ctx.saved_tensors, grads
        reversed_grads: list[list[Tensor | None]] = []
        kind, dtype = ctx.autocast or (None, None)
        with nullcontext() if kind is None else torch.autocast(kind, dtype):
            for coupling in reversed(ctx.couplings):
                x2, y2 = y.chunk(2, 1)
                if coupling is ctx.couplings[0]:
                    # As it was: channels of zeros would come back as rounding noise, which a norm
                    # blows up and a ReLU passes where it passed nothing.
                    x2 = x.chunk(2, 1)[1]
                x1, grad, found = coupling.backward_from(x2, y2, grad)
                reversed_grads.append(found)
                y = torch.cat([x1, x2], 1)
        return None, grad, *(g for found in reversed(reversed_grads) for g in found)
