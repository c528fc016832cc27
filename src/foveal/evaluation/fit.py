"""The loop of heads and detectors: losses come, weights step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from foveal.engine.optim import build_optimiser, learning_rate, set_learning_rates
from foveal.engine.screen import Meter, ProgressScreen
from foveal.errors import FovealError
from foveal.methods.base import Group
from foveal.recipe import Optimiser, Schedule

_READ_EVERY = 10  # steps between looks at the loss, which waits for an accelerator


def fit(
    losses: Iterable[Tensor],
    groups: Sequence[Group],
    optimiser: Optimiser,
    schedule: Schedule,
    steps: int,
    *,
    clip: float | None = None,
    screen: ProgressScreen | None = None,
    batch: int = 1,
) -> float:
    """Steps once for every loss.

    Args:
        losses: Each computed when it is asked for, on the weights of that moment.
        groups: What is trained.
        optimiser: How; its learning rate is taken as it is.
        schedule: Warm-up and milestones count steps.
        steps: Losses to come.
        clip: Largest global gradient norm.
        screen: Told how it goes.
        batch: Pictures a step.

    Returns:
        The last loss.

    Raises:
        FovealError: A loss is no longer a number.
    """
    weights = build_optimiser(groups, optimiser)
    trained = [p for group in groups for p in group.parameters]
    seen, meter = math.nan, Meter(batch)
    for step, loss in enumerate(losses):
        # Counted from 1, so that the first step does something and so does the last.
        rate = learning_rate(schedule, optimiser.lr, step + 1, steps + 1, 1)
        set_learning_rates({"main": weights}, rate, optimiser.lr, 0)
        weights.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(trained, clip, foreach=True)
        weights.step()
        meter.add(0.0)
        if step % _READ_EVERY == 0 or step + 1 == steps:
            seen = float(loss.detach())
            if not math.isfinite(seen):
                raise FovealError(
                    f"the loss became {seen} at step {step}",
                    hint="a smaller learning rate: a third of it",
                )
            if screen is not None:
                left = (steps - step - 1) * batch / meter.speed
                screen.step(step + 1, steps, seen, meter.speed, None, left)
    return seen
