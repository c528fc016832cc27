"""Recipes of watching objects move."""

from __future__ import annotations

from typing import Any

from foveal.methods.motion_segments import object_view
from foveal.recipe import Evaluation, Network, Optimiser, Recipe, Schedule
from foveal.recipes._small import VIEW, small_recipe


def small() -> Recipe:
    """Few videos or few cores: where the planner starts.

    Command: foveal pretrain MASKS --out runs/motion --recipe motion_segments/small
    Minutes: not timed
    Machine: any
    Expected: no number for data nobody knows; the proof, 5 points or more, is motion_segments/doom
    """
    options: dict[str, Any] = {
        "view": object_view(VIEW).model_dump(mode="json"),
        "target": 28,
        "grid": 14,
        "per_shot": None,
    }
    return small_recipe("motion_segments", options, batch=128)


def doom() -> Recipe:
    """Monsters that move before a camera that stands.

    Command: foveal pretrain doom/motion --out runs/motion --recipe motion_segments/doom
    Minutes: 1 on one core
    Machine: one shared x86-64 core, torch 2.14.1, 2026-12-01
    Expected: kNN 23.8 %, 7.9 over random initialisation (seed 0, 14,336 pictures; linear 31.9 %)
    """
    # As large as pictures of Doom objects are; at VIEW pixels kNN was only 2.2 points over.
    evaluation = Evaluation(size=64, fraction=1.0)
    return small().model_copy(update={"epochs": 40.0, "evaluation": evaluation})


def yfcc() -> Recipe:
    """The paper's scale: AlexNet on frames of 205,000 videos of YFCC100M.

    Command: foveal pretrain yfcc/motion --out runs/motion --recipe motion_segments/yfcc
    Minutes: not run here
    Machine: several accelerators
    Expected: not run here; the paper's tests are detection on VOC 2007
    """
    return Recipe(
        method="motion_segments",
        network=Network(name="caffenet"),
        batch=256,
        epochs=10,
        optimiser=Optimiser(name="sgd", lr=0.01, scaling="none", weight_decay=5e-4),
        schedule=Schedule(name="cosine", warmup=0.1),
    )
