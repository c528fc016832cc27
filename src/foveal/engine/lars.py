"""LARS: every weight tensor steps by a share of its own norm (You et al., 2017)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor


class LARS(torch.optim.Optimizer):
    """Momentum SGD with the step of each tensor scaled by ``eta * |w| / |g + decay * w|``.

    The scale, called trust ratio, is 1 where one of the norms is 0, and in groups with
    ``adapt=False`` (biases and norm scales, which the papers leave out).

    Args:
        params: Groups as torch's; each may set ``adapt`` and ``weight_decay``.
        lr: Learning rate.
        momentum: Of the buffer.
        eta: Trust coefficient.
        order: ``simclr`` keeps ``lr * trust * g`` in the buffer, so a falling learning rate takes
            effect slowly; ``byol`` keeps ``trust * g`` and multiplies the buffer by the learning
            rate.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        eta: float = 0.001,
        order: Literal["simclr", "byol"] = "simclr",
    ) -> None:
        defaults = {
            "lr": lr, "momentum": momentum, "weight_decay": weight_decay, "eta": eta,
            "adapt": True,
        }  # fmt: skip
        super().__init__(params, defaults)
        self.order = order

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step over all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._step(p, p.grad, group)
        return loss

    def _step(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        update = grad.add(p, alpha=group["weight_decay"]) if group["weight_decay"] else grad
        if group["adapt"]:
            update = update * trust_ratio(p, update, group["eta"])
        state = self.state[p]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(p)
        buffer: Tensor = state["momentum"]
        if self.order == "simclr":
            buffer.mul_(group["momentum"]).add_(update, alpha=group["lr"])
            p.sub_(buffer)
        else:
            buffer.mul_(group["momentum"]).add_(update)
            p.sub_(buffer, alpha=group["lr"])


def trust_ratio(weight: Tensor, update: Tensor, eta: float) -> Tensor:
    """``eta * |weight| / |update|``, 1 where one of them is 0; a scalar tensor, no sync."""
    w, u = torch.linalg.vector_norm(weight), torch.linalg.vector_norm(update)
    return torch.where((w > 0) & (u > 0), eta * w / u, torch.ones_like(w))
