"""The loop of all that is trained to be measured: losses come, weights step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from foveal.engine.optim import build_optimiser, learning_rate, set_learning_rates
from foveal.engine.screen import Meter, ProgressScreen
from foveal.errors import FovealError
from foveal.methods.base import Group
from foveal.recipe import Optimiser, Schedule

_READ_EVERY = 10  # steps between looks at the loss, which waits for an accelerator


def by_steps(optimiser: Optimiser, schedule: Schedule, steps: int) -> Callable[[int], float]:
    """The learning rate of each step where warm-up and milestones count steps.

    Counted from 1, so that the first step does something and so does the last.
    """
    return lambda step: learning_rate(schedule, optimiser.lr, step + 1, steps + 1, 1)


def fit(
    losses: Iterable[Tensor],
    groups: Sequence[Group],
    optimiser: Optimiser,
    rate: Callable[[int], float],
    steps: int,
    *,
    clip: float | None = None,
    screen: ProgressScreen | None = None,
    batch: int = 1,
    waited: Callable[[], float] | None = None,
    what: str = "the loss",
    hint: str = "a smaller learning rate: a third of it",
) -> float:
    """Steps once for every loss.

    Args:
        losses: Each computed when it is asked for, on the weights of that moment.
        groups: What is trained; factors on the learning rate count, changes over epochs do not.
        optimiser: Its kind.
        rate: The learning rate of a step, from 0.
        steps: Losses to come.
        clip: Largest global gradient norm.
        screen: Told how it goes.
        batch: Pictures a step.
        waited: Seconds for data so far, where they are measured.
        what: The loss, as an error names it.
        hint: What to do where it is no longer a number.

    Returns:
        The last loss.

    Raises:
        FovealError: A loss is no longer a number.
    """
    weights = build_optimiser(groups, optimiser)
    trained = [p for group in groups for p in group.parameters]
    seen, meter = math.nan, Meter(batch)
    for step, loss in enumerate(losses):
        now = rate(step)
        set_learning_rates({"main": weights}, now, now, 0)
        weights.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(trained, clip, foreach=True)
        weights.step()
        meter.add(waited() if waited else 0.0)
        if step % _READ_EVERY == 0 or step + 1 == steps:
            seen = float(loss.detach())
            if not math.isfinite(seen):
                raise FovealError(f"{what} became {seen} at step {step}", hint=hint)
            if screen is not None:
                left = (steps - step - 1) * batch / meter.speed
                wait = meter.wait if waited else None
                screen.step(step + 1, steps, seen, meter.speed, wait, left)
    return seen
