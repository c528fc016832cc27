"""How many steps a run has: stated, or planned again and again from the measured speed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

_FIRST_PLAN = 8  # steps measured before the first plan
_REPLANS = 40  # plans over the whole budget


@dataclass
class Budget:
    """Steps to do.

    Attributes:
        steps: Planned optimiser steps.
        seconds: Time budget, or None where the steps are stated.
        elapsed: Seconds used by earlier sessions of this run.
        reserve: Seconds kept for what comes after the last step.
        clock: Seconds, monotonic.
    """

    steps: int
    seconds: float | None = None
    elapsed: float = 0.0
    reserve: float = 0.0
    clock: Callable[[], float] = time.monotonic
    _started: float = field(default=0.0, init=False)
    _next_plan: float = field(default=0.0, init=False)
    _mark: tuple[int, float] | None = field(default=None, init=False)
    _paused: float = field(default=0.0, init=False)

    @classmethod
    def of_epochs(cls, epochs: float, samples: int, batch: int, elapsed: float = 0.0) -> Budget:
        """``ceil(epochs * samples / batch)`` steps, as SimCLR counts (31,279 for 100 epochs)."""
        return cls(steps=math.ceil(round(epochs * samples / batch, 9)), elapsed=elapsed)

    @classmethod
    def of_minutes(cls, minutes: float, elapsed: float = 0.0, steps: int | None = None) -> Budget:
        """A time budget; the first steps are measured before anything is planned."""
        seconds = minutes * 60
        return cls(
            # Until the speed is known the plan is "far away", so schedules stand at their start.
            steps=steps or 1_000_000_000,
            seconds=seconds,
            elapsed=elapsed,
            reserve=min(60.0, max(1.0, 0.04 * seconds)),
        )

    def start(self) -> None:
        """The clock runs from here."""
        self._started = self.clock()

    @property
    def used(self) -> float:
        """Seconds used, over all sessions."""
        return self.elapsed + self.clock() - self._started

    def left(self, step: int, steps_per_second: float) -> float | None:
        """Seconds until the last step, or None while that is unknown."""
        if self.seconds is not None:
            return max(0.0, self.seconds - self.used)
        return (self.steps - step) / steps_per_second if steps_per_second > 0 else None

    def exclude(self, seconds: float) -> None:
        """Time since the last plan that says nothing about the speed (probes, checkpoints)."""
        self._paused += seconds

    def plan(self, step: int) -> int | None:
        """After ``step`` steps: the new number of steps where it was planned again, else None."""
        if self.seconds is None:
            return None
        now = self.used
        left = self.seconds - self.reserve - now
        if left <= 0:
            return self._set(step)
        if self._mark is None:
            self._mark = (step, now)
            return None
        first, since = self._mark
        if step - first < _FIRST_PLAN or now < self._next_plan:
            return None
        busy = max(1e-6, now - since - self._paused)
        speed = (step - first) / busy
        # What probes and checkpoints took lately they will go on taking.
        share = busy / max(busy, now - since)
        self._next_plan = now + self.seconds / _REPLANS
        self._mark, self._paused = (step, now), 0.0
        return self._set(step + max(1, int(left * speed * share)))

    def _set(self, steps: int) -> int | None:
        changed = steps != self.steps
        self.steps = steps
        return steps if changed else None
