"""Optimisers from a recipe and a method's parameter groups; learning rates from the step alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from foveal.core.schedules import batch_scaled, piecewise, warmup_cosine
from foveal.engine.adapt import adapted_groups
from foveal.engine.lars import LARS
from foveal.errors import FovealError
from foveal.methods.base import Group, Method
from foveal.recipe import Optimiser, Recipe, Schedule


def build_optimisers(method: Method, recipe: Recipe) -> dict[str, torch.optim.Optimizer]:
    """One optimiser for every name the method's streams use.

    Every torch group carries ``factor``, ``constant_lr`` and ``frozen_until``, which
    ``set_learning_rates`` reads.
    """
    groups = method.parameter_groups()
    if recipe.adapt is not None:
        groups = adapted_groups(groups, method.encoder(), recipe.adapt)
    wanted = {stream.optimiser for stream in method.streams().values()}
    if wanted != set(groups):
        raise FovealError(
            f"{type(method).__name__} names optimisers {sorted(wanted)} in its streams and "
            f"{sorted(groups)} in its parameter groups"
        )
    return {name: build_optimiser(groups[name], recipe.optimiser) for name in sorted(groups)}


def build_optimiser(groups: Sequence[Group], spec: Optimiser) -> torch.optim.Optimizer:
    """One optimiser over some groups of parameters."""
    return _build([g for group in groups for g in _torch_groups(group, spec)], spec)


def _torch_groups(group: Group, spec: Optimiser) -> list[dict[str, Any]]:
    """A group as torch's: vectors apart where they get no decay."""
    exclude = spec.exclude_1d if group.exclude_1d is None else group.exclude_1d
    common: dict[str, Any] = {
        "factor": group.lr,
        "constant_lr": group.constant_lr,
        "frozen_until": group.frozen_until,
    }
    if group.momentum is not None:
        common["momentum"] = group.momentum
    decay = spec.weight_decay * group.decay
    parts = [([p for p in group.parameters if p.ndim > 1 or not exclude], decay, True)]
    parts.append(([p for p in group.parameters if p.ndim <= 1 and exclude], 0.0, False))
    torch_groups = []
    for parameters, weight_decay, adapt in parts:
        if parameters:
            g = {"params": parameters, "weight_decay": weight_decay, **common}
            if spec.name == "lars":
                g["adapt"] = adapt
            torch_groups.append(g)
    return torch_groups


def _build(groups: list[dict[str, Any]], spec: Optimiser) -> torch.optim.Optimizer:
    # Fused: all of a tensor's step in one pass over its memory. On a CPU torch's "foreach" makes
    # several passes for every tensor, each with its own hand-over between threads.
    if spec.name == "sgd":
        return torch.optim.SGD(
            groups, lr=spec.lr, momentum=spec.momentum, nesterov=spec.nesterov, fused=True
        )
    if spec.name in ("adam", "adamw"):
        for g in groups:
            if (momentum := g.pop("momentum", None)) is not None:
                g["betas"] = (momentum, spec.betas[1])  # the average of gradients
        kind = torch.optim.Adam if spec.name == "adam" else torch.optim.AdamW
        return kind(groups, lr=spec.lr, betas=spec.betas, fused=True)
    return LARS(groups, lr=spec.lr, momentum=spec.momentum, eta=spec.trust, order=spec.lars_order)


def learning_rate(
    schedule: Schedule, peak: float, step: int, steps: int, steps_per_epoch: float
) -> float:
    """The main learning rate at a step."""
    # Whole steps, as SimCLR counts: 3127 of 10 epochs of ImageNet at 4096.
    warmup = math.floor(round(schedule.warmup * steps_per_epoch, 9))
    if schedule.name == "cosine":
        return warmup_cosine(
            step, steps, peak=peak, warmup=min(warmup, steps), final=peak * schedule.final
        )
    if step < warmup:
        return peak * step / warmup
    if schedule.name == "step":
        return piecewise(
            step / steps_per_epoch,
            peak=peak,
            milestones=schedule.milestones,
            factor=schedule.factor,
        )
    return peak


def peak_learning_rate(recipe: Recipe) -> float:
    """The base learning rate scaled to the batch."""
    return batch_scaled(recipe.optimiser.lr, recipe.batch, recipe.optimiser.scaling)


def set_learning_rates(
    optimisers: dict[str, torch.optim.Optimizer], lr: float, peak: float, epoch: float
) -> None:
    """Writes the step's learning rate into every group."""
    for optimiser in optimisers.values():
        for group in optimiser.param_groups:
            rate = peak if group["constant_lr"] else lr
            frozen = epoch < group["frozen_until"]
            group["lr"] = 0.0 if frozen else rate * group["factor"]


def drop_state(
    optimisers: dict[str, torch.optim.Optimizer], parameters: list[nn.Parameter]
) -> None:
    """Forgets the optimiser state of parameters that were re-drawn."""
    for optimiser in optimisers.values():
        for parameter in parameters:
            optimiser.state.pop(parameter, None)
