"""Recipes of Exemplar-CNN."""

from __future__ import annotations

from foveal.recipe import Evaluation, Network, Optimiser, Recipe, Schedule
from foveal.recipes._small import VIEW, small_recipe
from foveal.views.presets import exemplar_view


def small() -> Recipe:
    """Few pictures or few cores: up to 2,000 seeds, colours changed half as much.

    Command: foveal pretrain DATA --out runs/exemplar --recipe exemplar/small
    Minutes: not timed
    Machine: any
    Expected: no number for data nobody knows; the proof, 5 points or more, is exemplar/doom
    """
    return small_recipe("exemplar", _seeds(2000, strength=0.5), epochs=100)


def doom() -> Recipe:
    """Doom objects, whose colour tells classes apart: 2,000 seeds, each seen 16 times.

    Command: foveal pretrain doom/objects/train --out runs/exemplar --recipe exemplar/doom
    Minutes: 2 on one core
    Machine: one x86-64 core, torch 2.14.1, 2026-11-25
    Expected: kNN 24.6 %, +10.1 over random initialisation
    """
    return small_recipe("exemplar", _seeds(2000, strength=0.25), epochs=16, batch=64)


def stl10() -> Recipe:
    """STL-10's unlabelled pictures at the paper's scale, its smallest network (section 4).

    Command: foveal pretrain stl10/unlabeled --out runs/exemplar --recipe exemplar/stl10
    Minutes: not run here; the paper says 1.5 days on one Titan
    Machine: one accelerator
    Expected: no number: 74.2 % on STL-10 is the largest network's (the paper, table 1)
    """
    return Recipe(
        method="exemplar",
        network=Network(name="exemplar_small"),
        batch=128,
        epochs=400,
        optimiser=Optimiser(name="sgd", lr=0.01, scaling="none", momentum=0.9),
        schedule=Schedule(name="step", milestones=(200, 300), factor=1 / 3),
        evaluation=Evaluation(size=96, fraction=1.0),
    )


def stl10_large() -> Recipe:
    """The same with the largest network on 32,000 seeds.

    Command: foveal pretrain stl10/unlabeled --out runs/exemplar --recipe exemplar/stl10_large
    Minutes: not run here; the paper says 9 days on one Titan
    Machine: one accelerator
    Expected: 74.2 % on STL-10 (the paper, table 1)
    """
    base = stl10()
    return base.model_copy(
        update={"network": Network(name="exemplar_large"), "options": {"classes": 32_000}}
    )


def _seeds(classes: int, *, strength: float) -> dict[str, object]:
    view = exemplar_view(VIEW, strength=strength)
    return {
        "view": view.model_dump(mode="json"),
        "classes": classes,
        "scale": [0.5, 1.0],
        "dropout": 0.0,
    }
