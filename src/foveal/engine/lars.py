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
            self._step(group)
        return loss

    def _step(self, group: dict[str, Any]) -> None:
        """All tensors of a group together: a handful of calls, whatever the number of layers."""
        parameters = [p for p in group["params"] if p.grad is not None]
        if not parameters:
            return
        for p in parameters:
            if "momentum" not in self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        buffers = [self.state[p]["momentum"] for p in parameters]
        gradients = [p.grad for p in parameters]
        updates = list(torch._foreach_add(gradients, parameters, alpha=group["weight_decay"]))
        if group["adapt"]:
            torch._foreach_mul_(updates, trust_ratios(parameters, updates, group["eta"]))
        torch._foreach_mul_(buffers, group["momentum"])
        if self.order == "simclr":
            torch._foreach_add_(buffers, updates, alpha=group["lr"])
            torch._foreach_sub_(parameters, buffers)
        else:
            torch._foreach_add_(buffers, updates)
            torch._foreach_sub_(parameters, buffers, alpha=group["lr"])


def trust_ratios(weights: list[Tensor], updates: list[Tensor], eta: float) -> list[Tensor]:
    """``eta * |weight| / |update|`` of each, 1 where one of them is 0; scalar tensors, no sync."""
    w = torch.stack(torch._foreach_norm(weights))
    u = torch.stack(torch._foreach_norm(updates))
    return list(torch.where((w > 0) & (u > 0), eta * w / u, torch.ones_like(w)).unbind())
