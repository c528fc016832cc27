"""A time budget is planned from measured speed, with a clock of its own for the test."""

import pytest

from foveal.engine import screen
from foveal.engine.budget import Budget
from foveal.engine.screen import Meter


class Clock:
    """Seconds that pass when told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def run(budget, clock, seconds_of):
    """Steps until the plan is fulfilled; returns (steps, seconds)."""
    budget.start()
    began, step = clock.now, 0
    while step < budget.steps:
        clock.now += seconds_of(step)
        step += 1
        budget.plan(step)
        assert step < 100_000
    return step, clock.now - began


@pytest.mark.parametrize(
    "speed", [lambda s: 0.01, lambda s: 0.5, lambda s: 0.05 if s < 200 else 0.2]
)
def test_a_run_ends_on_time(speed):
    clock = Clock()
    budget = Budget.of_minutes(2.0)
    budget.clock = clock
    steps, seconds = run(budget, clock, speed)
    assert 0.85 * 120 <= seconds <= 120
    assert steps > 100


def test_time_of_earlier_sessions_counts():
    clock = Clock()
    budget = Budget.of_minutes(2.0, elapsed=100.0)
    budget.clock = clock
    _, seconds = run(budget, clock, lambda s: 0.1)
    assert seconds <= 20


def test_epochs_are_steps():
    assert Budget.of_epochs(100, 1_281_167, 4096).steps == 31_279
    assert Budget.of_epochs(2, 24, 8).steps == 6
    assert Budget.of_epochs(0.5, 25, 8).steps == 2


def test_the_speed_shown_counts_no_probes(monkeypatch):
    """A probe of 90 s before the first step made it 0.7 pictures a second, and days left."""
    clock = Clock()
    monkeypatch.setattr(screen.time, "monotonic", clock)
    meter = Meter(batch=64)
    clock.now += 90
    meter.exclude(90)
    for _ in range(3):
        clock.now += 0.5
        meter.add(waited=0.0)
    assert meter.speed == pytest.approx(128)
