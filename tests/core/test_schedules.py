"""Schedules against the papers' numbers."""

import math

import pytest

from foveal.core.schedules import (
    batch_scaled,
    inverse_square_root,
    momentum_to_one,
    piecewise,
    warmup_cosine,
)
from foveal.engine.budget import Budget
from foveal.engine.optim import learning_rate, peak_learning_rate
from foveal.recipe import Schedule
from foveal.recipes import get_recipe


@pytest.mark.parametrize(("step", "lr"), [(0, 0.0), (1, 0.001535), (3127, 4.8), (15639, 2.816756)])
def test_simclr_100_epochs_of_imagenet(step, lr):
    steps = Budget.of_epochs(100, 1_281_167, 4096).steps
    assert steps == 31_279
    assert warmup_cosine(step, steps, peak=4.8, warmup=3127) == pytest.approx(lr, abs=2e-6)
    # The trainer's rate, from a warm-up stated in epochs: 3127 whole steps.
    schedule = Schedule(name="cosine", warmup=10)
    found = learning_rate(schedule, 4.8, step, steps, 1_281_167 / 4096)
    assert found == pytest.approx(lr, abs=5e-7)


@pytest.mark.parametrize(("step", "lr"), [(1563, 1.599488), (156_392, 1.625379)])
def test_byol_1000_epochs_of_imagenet(step, lr):
    assert Budget.of_epochs(1000, 1_281_167, 4096).steps == pytest.approx(312_784, abs=1)
    assert warmup_cosine(step, 312_784, peak=3.2, warmup=3127) == pytest.approx(lr, abs=2e-6)


@pytest.mark.parametrize(
    ("base", "values"),
    [
        (0.996, [0.996, 0.99600001, 0.99609789, 0.99658579, 0.998, 0.99941421, 1]),
        (0.99, [0.99, 0.99000002, 0.99024472, 0.99146447, 0.995, 0.99853553, 1]),
    ],
)
def test_byol_target_decay(base, values):
    steps = (0, 1, 100, 250, 500, 750, 1000)
    found = [momentum_to_one(k, 1000, base=base) for k in steps]
    assert found == pytest.approx(values, abs=1e-8)
    assert momentum_to_one(500, 1000, base=0.97) == pytest.approx(0.985)


def test_learning_rate_scaling():
    assert [batch_scaled(0.3, b, "linear") for b in (4096, 512, 256)] == pytest.approx(
        [4.8, 0.6, 0.3]
    )
    assert [batch_scaled(0.075, b, "sqrt") for b in (4096, 512, 256)] == pytest.approx(
        [4.8, 1.697056, 1.2], abs=1e-6
    )
    assert peak_learning_rate(get_recipe("simclr/cifar10")) == pytest.approx(2.0)
    with pytest.raises(ValueError, match="linear, sqrt or none"):
        batch_scaled(1.0, 1, "cube")


def test_inverse_square_root_of_the_probes():
    assert inverse_square_root(450_450, peak=0.01, decay=1e-7) == pytest.approx(
        0.00999775, abs=1e-8
    )
    assert inverse_square_root(10_000, peak=0.05, decay=1e-4) == pytest.approx(0.048795, abs=1e-6)
    assert inverse_square_root(1e6, peak=0.01, decay=1e-4) == pytest.approx(0.00707107, abs=1e-8)


def test_rotnet_steps():
    at = [piecewise(e, peak=0.1, milestones=(30, 60, 80), factor=0.2) for e in (0, 30, 60, 80)]
    assert at == pytest.approx([0.1, 0.02, 0.004, 0.0008])
    assert math.isclose(piecewise(29.9, peak=0.1, milestones=(30,), factor=0.2), 0.1)
