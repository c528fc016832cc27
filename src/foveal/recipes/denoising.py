"""Recipes of the denoising autoencoder."""

from __future__ import annotations

from foveal.recipe import Evaluation, Network, Optimiser, Recipe, Schedule
from foveal.recipes._small import VIEW, small_recipe
from foveal.views.spec import Crop, View


def small() -> Recipe:
    """Few pictures or few cores: half of a picture masked, in cells as large as the map's.

    Command: foveal pretrain DATA --out runs/denoising --recipe denoising/small
    Minutes: not timed
    Machine: any
    Expected: no number for data nobody knows; the proof, 5 points or more, is denoising/doom
    """
    view = View(size=VIEW, crop=Crop(scale=(0.3, 1.0)))
    # Single pixels are filled in from their neighbours, which needs no features.
    options = {"view": view.model_dump(mode="json"), "amount": 0.5, "cell": 8}
    # Read larger than it is trained: kNN +8 points, at random initialisation too (its page).
    evaluation = Evaluation(size=96, fraction=1.0)
    return small_recipe("denoising", options, batch=128, evaluation=evaluation)


def doom() -> Recipe:
    """Doom objects.

    Command: foveal pretrain doom/objects/train --out runs/denoising --recipe denoising/doom
    Minutes: 12 on one core that other runs shared
    Machine: one shared x86-64 core, torch 2.14.1, 2026-12-01
    Expected: kNN 34.9 %, 12.9 over random initialisation (seed 0, 146,432 pictures; linear 41.0 %)
    """
    return small().model_copy(update={"epochs": 12.0})


def imagenet() -> Recipe:
    """ImageNet with the AlexNet of the survey's comparisons; no paper has this method there.

    The settings are our choice: the papers of 2008 and 2010 train small pictures of digits.

    Command: foveal pretrain imagenet/train --out runs/denoising --recipe denoising/imagenet
    Minutes: not run here
    Machine: one accelerator
    Expected: no figure of ours, and no paper's; the loss starts at 1
    """
    return Recipe(
        method="denoising",
        options={"amount": 0.5, "cell": 16},
        network=Network(name="alexnet_rotnet", extra={"top": False}),
        batch=256,
        epochs=30,
        optimiser=Optimiser(name="adam", lr=1e-4, scaling="none", weight_decay=0.0),
        schedule=Schedule(name="cosine", warmup=1.0),
    )
