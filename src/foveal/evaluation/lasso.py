"""The lasso probe: a linear classifier on a sparse mix of a network's units, learned with it.

Doersch and Zisserman, "Multi-task self-supervised visual learning", ICCV 2017, "evaluation only":
the trunk is frozen, and the new task learns which depths it reads. ``sum_m alpha_m unit_m`` with
alpha of length 1 and an L1 penalty on it, units brought to one scale, averaged to a small grid.

Legend: N training samples, Q test samples, M units, V values of a unit, C classes, B batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from foveal.backbones.base import End
from foveal.backbones.encoder import Encoder
from foveal.backbones.reading import device_of
from foveal.core import rng
from foveal.core.schedules import warmup_cosine
from foveal.errors import FovealError
from foveal.evaluation.bench import Bench, Split
from foveal.evaluation.compare import WHICH
from foveal.evaluation.features import placed, read_features
from foveal.evaluation.linear import linear
from foveal.evaluation.pooling import pooled_together
from foveal.evaluation.probe import Problem, chosen_by, parts, standardised
from foveal.evaluation.ranked import Answers, answers, figures
from foveal.evaluation.result import Result

CELLS = 3
PENALTIES = (0.0, 0.01, 0.1)
LEARNING_RATES = (0.01, 0.1)
_EPOCHS, _BATCH, _MOMENTUM = 20, 256, 0.9


def lasso(bench: Bench) -> list[Result]:
    """Top-1 (and top-5, the paper's) of the mix, and of the last unit alone trained alike.

    Units are the residual units of the deepest stage that has two or more, else the end points of
    equal size that lie deepest.
    """
    encoder = with_units(bench.encoder)
    units = units_of(encoder)
    pixels = answers(bench, "linear", linear, bench.pixels, pixels=True)
    results = []
    for words, mixes in (("mix", True), ("last unit", False)):
        by: dict[str, Answers] = {"pixels": pixels}
        for which, network in (
            ("trained", encoder), ("random_init", with_units(bench.random_encoder)),
        ):  # fmt: skip
            split = _pooled_units(bench, network, units)
            probe = partial(mix_probe, units=len(units), mixes=mixes)
            by[which] = answers(bench, f"lasso, {words}", probe, split)
        about = {
            "layer": " + ".join(end.name for end in units) if mixes else units[-1].name,
            "pooling": f"average to {CELLS} x {CELLS} cells",
        }
        results += figures(
            bench, "lasso", {w: by[w] for w in WHICH}, suffix=f" {words}", about=about
        )
    return results


def with_units(encoder: Encoder) -> Encoder:
    """The same network with its residual units as end points, where it can show them."""
    about = encoder.describe()
    for trunk in about["trunks"]:
        trunk["units"] = True
    try:
        shown = Encoder.from_description(about)
    except FovealError:  # a network without residual units: its end points then
        return encoder
    # The same layers in the same order; those of a stage are named by unit now.
    own, found = shown.state_dict(), encoder.state_dict()
    order = zip(own, found.items(), strict=True)
    shown.load_state_dict({name: value for name, (_, value) in order})
    return placed(shown, device_of(encoder)).eval()


def units_of(encoder: Encoder) -> list[End]:
    """What can be mixed: the deepest two or more neighbours of one size.

    Raises:
        FovealError: There are none.
    """
    ends = [end for end in encoder.ends if "_unit" in end.name] or list(encoder.ends)
    groups = [list(some) for _, some in groupby(ends, lambda e: (e.channels, e.stride, e.kind))]
    for group in reversed(groups):
        if len(group) > 1:
            return group
    raise FovealError(
        "the network has no two units of one size to mix",
        hint="a deeper one: resnet50, resnetv2_101_block3, a ViT",
    )


def _pooled_units(bench: Bench, encoder: Encoder, units: list[End]) -> Split:
    """All units of every picture on a small grid, side by side [N, M V], kept."""
    names = [end.name for end in units]

    def pool(x: Tensor, end: End) -> Tensor:
        if end.kind == "map":
            cells = (min(CELLS, x.shape[2]), min(CELLS, x.shape[3]))
            return F.adaptive_avg_pool2d(x, cells).flatten(1)
        return x.mean(1) if end.kind == "tokens" else x

    def read(images: Tensor) -> Tensor:
        return pooled_together(encoder(images, names), units, pool)

    train, test = (
        bench.labelled(
            read_features(
                bench.store, encoder, source, bench.view(encoder.size), read,
                {"units": names, "cells": CELLS},
            )
        )
        for source in (bench.train, bench.test)
    )  # fmt: skip
    return Split(train, test)


def mix_probe(problem: Problem, *, units: int, mixes: bool) -> tuple[Tensor, dict[str, Any]]:
    """Scores of the mix whose penalty and learning rate are best on a held-out part.

    Args:
        problem: Its features are those of M units side by side.
        units: M.
        mixes: False: the last unit alone.
    """
    train_x, test_x, about = standardised(problem)
    y = problem.train_y
    kept, held = parts(problem)
    grid = [(l1, lr) for l1 in (PENALTIES if mixes else (0.0,)) for lr in LEARNING_RATES]
    fit: Callable[..., Mix] = partial(
        fit_mix, units=units, mixes=mixes, classes=problem.classes, seed=problem.seed
    )
    found = [
        problem.score(fit(train_x[kept], y[kept], l1=l1, lr=lr).scores(train_x[held]), held)
        for l1, lr in grid
    ]
    # Of equally good ones the sparser.
    best = max(range(len(grid)), key=lambda i: (found[i], grid[i][0]))
    mix = fit(train_x, y, l1=grid[best][0], lr=grid[best][1])
    return mix.scores(test_x), {
        "l1": grid[best][0],
        "lr": grid[best][1],
        "l1_grid": list(PENALTIES),
        "alpha": [round(float(a), 4) for a in mix.alpha],
        "loss": "mean cross-entropy + l1 * sum |alpha|, alpha of length 1",
        "epochs": _EPOCHS,
        "batch": _BATCH,
        "optimiser": f"SGD, Nesterov momentum {_MOMENTUM}, cosine to 0",
        **chosen_by(problem, found[best]),
        "normalisation": about,
    }


class Mix:
    """A fitted mix: alpha [M] of length 1, weight [V, C] and bias [C]."""

    def __init__(self, alpha: Tensor, weight: Tensor, bias: Tensor) -> None:
        self.alpha, self.weight, self.bias = alpha, weight, bias

    def scores(self, x_Q: Tensor) -> Tensor:
        """Features of M units side by side [Q, M V] to logits [Q, C]."""
        return mixed(x_Q, self.alpha) @ self.weight + self.bias


def mixed(x_B: Tensor, alpha_M: Tensor) -> Tensor:
    """[B, M V] -> [B, V]."""
    return torch.einsum("bmv,m->bv", x_B.view(len(x_B), len(alpha_M), -1), alpha_M)


def fit_mix(
    x_N: Tensor,
    y_N: Tensor,
    *,
    units: int,
    mixes: bool,
    classes: int,
    l1: float,
    lr: float,
    seed: int,
    epochs: int = _EPOCHS,
) -> Mix:
    """Learns alpha and the classifier together, from an even mix and a zero classifier.

    Args:
        x_N: Standardised features of M units side by side, [N, M V].
        y_N: int64 classes.
        units: M.
        mixes: False: alpha stays on the last unit.
        classes: C.
        l1: Weight of the penalty.
        lr: Peak of the cosine.
        seed: Of the order of samples.
        epochs: Passes.
    """
    n, values = len(x_N), x_N.shape[1] // units
    alpha = x_N.new_zeros(units)
    alpha[-1] = 1.0
    if mixes:
        alpha.fill_(1 / math.sqrt(units))
    weight, bias = x_N.new_zeros(values, classes), x_N.new_zeros(classes)
    learned = [weight, bias, *([alpha] if mixes else [])]
    for parameter in learned:
        parameter.requires_grad_(True)
    optimiser = torch.optim.SGD(learned, lr=lr, momentum=_MOMENTUM, nesterov=True)
    each, step = max(1, n // _BATCH), 0
    with torch.enable_grad():
        for epoch in range(epochs):
            order = rng.permute(rng.key(seed, "lasso", epoch), n, np.arange(n))
            for rows in np.array_split(order, each):
                optimiser.param_groups[0]["lr"] = warmup_cosine(step, epochs * each, peak=lr)
                chosen = torch.from_numpy(rows).to(x_N.device)
                row = alpha / alpha.norm()
                logits = mixed(x_N[chosen], row) @ weight + bias
                loss = F.cross_entropy(logits, y_N[chosen]) + l1 * row.abs().sum()
                optimiser.zero_grad()
                torch.autograd.backward(loss)
                optimiser.step()
                step += 1
    with torch.no_grad():
        return Mix((alpha / alpha.norm()).detach(), weight.detach(), bias.detach())
