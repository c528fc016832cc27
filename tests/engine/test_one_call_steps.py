"""Optimisers and averages in one call for all tensors equal the maths of each tensor."""

import pytest
import torch
from torch import nn

from foveal.core.ema import ema_update
from foveal.engine.optim import _build, _torch_groups
from foveal.methods.base import Group
from foveal.recipe import Optimiser

SHAPES = [(8, 3, 3, 3), (8,), (5, 8), (5,), (4, 8, 1, 1)]
LR, STEPS = 0.1, 4


def drawn(seed):
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randn(shape, generator=generator) for shape in SHAPES]
    # Convolutions lie channels last, as the engine lays them; one tensor is all zeros.
    made[0] = made[0].to(memory_format=torch.channels_last)
    made[4].zero_()
    return made


def stepped(spec):
    parameters = [nn.Parameter(x) for x in drawn(0)]
    optimiser = _build(_torch_groups(Group(parameters), spec), spec)
    for step in range(STEPS):
        for group in optimiser.param_groups:
            group["lr"] = LR / (1 + step)
        for p, g in zip(parameters, drawn(step + 1), strict=True):
            p.grad = g
        # A tensor that no stream of this step reached keeps still.
        parameters[2].grad = None if step == 1 else parameters[2].grad
        optimiser.step()
    return [p.detach() for p in parameters]


def by_hand(spec, update):
    parameters = drawn(0)
    states = [{} for _ in parameters]
    for step in range(STEPS):
        for i, g in enumerate(drawn(step + 1)):
            if i == 2 and step == 1:
                continue
            vector = g.ndim <= 1 and spec.exclude_1d
            decay = 0.0 if vector else spec.weight_decay
            parameters[i] = update(parameters[i], g, states[i], LR / (1 + step), decay, vector)
    return parameters


@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("order", ["simclr", "byol"])
def test_lars(order, exclude):
    spec = Optimiser(name="lars", weight_decay=0.1, exclude_1d=exclude, lars_order=order)

    def update(w, g, state, lr, decay, vector):
        g = g + decay * w
        if not vector and w.norm() > 0 and g.norm() > 0:
            g = g * (spec.trust * w.norm() / g.norm())
        inside, outside = (lr, 1) if order == "simclr" else (1, lr)
        state["m"] = spec.momentum * state.get("m", 0) + inside * g
        return w - outside * state["m"]

    same(stepped(spec), by_hand(spec, update))


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd(nesterov):
    spec = Optimiser(name="sgd", weight_decay=0.1, nesterov=nesterov)

    def update(w, g, state, lr, decay, vector):
        g = g + decay * w
        state["m"] = spec.momentum * state["m"] + g if "m" in state else g
        return w - lr * (g + spec.momentum * state["m"] if nesterov else state["m"])

    same(stepped(spec), by_hand(spec, update))


def test_adamw():
    spec = Optimiser(name="adamw", weight_decay=0.1, exclude_1d=True, betas=(0.8, 0.95))

    def update(w, g, state, lr, decay, vector):
        (b1, b2), t = spec.betas, state.get("t", 0) + 1
        state["t"] = t
        state["m"] = b1 * state.get("m", 0) + (1 - b1) * g
        state["v"] = b2 * state.get("v", 0) + (1 - b2) * g * g
        m, v = state["m"] / (1 - b1**t), state["v"] / (1 - b2**t)
        return w * (1 - lr * decay) - lr * m / (v.sqrt() + 1e-8)

    same(stepped(spec), by_hand(spec, update))


def test_ema():
    target, online = drawn(0), drawn(1)
    wanted = [0.9 * t + 0.1 * o for t, o in zip(target, online, strict=True)]
    ema_update(target, online, 0.9)
    same(target, wanted)


def same(found, wanted):
    for a, b in zip(found, wanted, strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-6)
