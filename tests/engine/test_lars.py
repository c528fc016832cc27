"""LARS in both orderings, against the papers' golden steps."""

import pytest
import torch
from torch import nn

from foveal.engine.lars import LARS, trust_ratios


def _step(optimiser, w, lr):
    optimiser.param_groups[0]["lr"] = lr
    w.grad = torch.tensor([[0.1, 0.0], [0.0, 0.2]])
    optimiser.step()
    return w.detach().flatten().tolist()


@pytest.mark.parametrize(
    ("order", "second"),
    [
        ("simclr", [2.961636, 3.961636, 0, -0.019182]),
        ("byol", [2.968836, 3.968836, 0, -0.015582]),
    ],
)
def test_two_steps(order, second):
    w = nn.Parameter(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    optimiser = LARS([w], lr=4.8, weight_decay=0.1, eta=0.001, order=order)
    assert _step(optimiser, w, 4.8) == pytest.approx([2.984, 3.984, 0, -0.008], abs=1e-6)
    assert _step(optimiser, w, 2.4) == pytest.approx(second, abs=1e-6)


def test_trust_ratio():
    w = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    update = torch.tensor([[0.4, 0.4], [0.0, 0.2]])
    ratios = trust_ratios(
        [w, torch.zeros(3), torch.ones(3)], [update, torch.ones(3), torch.zeros(3)], 0.001
    )
    assert [r.item() for r in ratios] == pytest.approx([0.00833333, 1, 1], abs=1e-8)


def test_trust_ratio_of_the_second_step():
    w = torch.tensor([[2.984, 3.984], [0.0, -0.008]])
    update = torch.tensor([[0.1, 0.0], [0.0, 0.2]]) + 0.1 * w
    assert trust_ratios([w], [update], 0.001)[0].item() == pytest.approx(0.00832933, abs=1e-8)


def test_excluded_parameters_take_plain_momentum_steps():
    w = nn.Parameter(torch.tensor([2.0]))
    optimiser = LARS([{"params": [w], "adapt": False, "weight_decay": 0.0}], lr=0.5)
    for expected in (1.5, 0.55):
        w.grad = torch.tensor([1.0])
        optimiser.step()
        assert w.item() == pytest.approx(expected)


def test_recipes_leave_vectors_out_of_decay_and_trust():
    from foveal.engine.optim import _torch_groups
    from foveal.methods.base import Group
    from foveal.recipe import Optimiser

    layer = nn.Linear(3, 2)
    spec = Optimiser(name="lars", weight_decay=0.1, exclude_1d=True)
    matrix, vector = _torch_groups(Group(list(layer.parameters())), spec)
    assert matrix["params"] == [layer.weight] and matrix["weight_decay"] == 0.1 and matrix["adapt"]
    assert vector["params"] == [layer.bias] and vector["weight_decay"] == 0
    assert not vector["adapt"]
