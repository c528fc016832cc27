"""Recipes of context encoders."""

from __future__ import annotations

from foveal.recipe import Evaluation, Network, Optimiser, Recipe, Schedule
from foveal.recipes._small import VIEW, small_recipe
from foveal.views.spec import Crop, View


def small() -> Recipe:
    """Few pictures or few cores: holes of up to a quarter, no judge.

    Command: foveal pretrain DATA --out runs/context --recipe context_encoder/small
    Minutes: not timed
    Machine: any
    Expected: no number for data nobody knows; the proof, 5 points or more, is context_encoder/doom
    """
    view = View(size=VIEW, crop=Crop(scale=(0.3, 1.0)))
    # The judge makes pictures sharper, and takes every other step.
    options = {"view": view.model_dump(mode="json"), "adversarial": 0.0}
    # Read larger than it is trained: kNN +12 points, +8 at random initialisation (its page).
    evaluation = Evaluation(size=96, fraction=1.0)
    return small_recipe("context_encoder", options, batch=128, evaluation=evaluation)


def doom() -> Recipe:
    """Doom objects.

    Command: foveal pretrain doom/objects/train --out runs/context --recipe context_encoder/doom
    Minutes: 22 on one core that other runs shared
    Machine: one shared x86-64 core, torch 2.14.1, 2026-12-01
    Expected: kNN 33.6 %, 11.6 over random initialisation (seed 0, 146,432 pictures; linear 40.9 %)
    """
    return small().model_copy(update={"epochs": 12.0})


def imagenet() -> Recipe:
    """ImageNet as in the paper: AlexNet, holes anywhere, 100,000 steps (section 4; from memory).

    Squared error alone, as the paper's features: its judge did not converge with AlexNet.

    Command: foveal pretrain imagenet/train --out runs/context --recipe context_encoder/imagenet
    Minutes: not run here; the paper says 14 hours on a Titan X
    Machine: one accelerator
    Expected: 44.5 mAP on VOC 2007 detection, fine-tuned with Fast R-CNN (the survey)
    """
    view = View(size=227, crop=Crop(kind="resize_random", resize=256))
    return Recipe(
        method="context_encoder",
        options={"view": view.model_dump(mode="json"), "adversarial": 0.0},
        network=Network(name="caffenet"),
        batch=64,
        epochs=5,
        optimiser=Optimiser(name="adam", lr=2e-4, scaling="none", weight_decay=0.0),
        schedule=Schedule(name="constant"),
        evaluation=Evaluation(size=227, fraction=227 / 256),
    )
