"""Recipes of colorization_hypercolumn."""

from __future__ import annotations

from foveal.recipe import Network, Optimiser, Recipe, Schedule
from foveal.recipes._small import VIEW, small_recipe
from foveal.views.spec import Crop, View


def small() -> Recipe:
    """Few pictures or few cores: where the planner starts. Fewer points, a narrower head.

    Only the last map is stacked with the picture, so that a short run has to teach it.

    Command: foveal pretrain DATA --out runs/colour --recipe colorization_hypercolumn/small
    Minutes: not timed
    Machine: any
    Expected: no number for data nobody knows; the proof, 5 points or more, is its doom recipe
    """
    view = View(size=VIEW, crop=Crop(scale=(0.3, 1.0)))
    options = {
        "view": view.model_dump(mode="json"),
        "points": 100,
        "border": 4,
        "layers": 1,
        "hidden": 256,
        "dropout": 0.0,
    }
    return small_recipe("colorization_hypercolumn", options, batch=64)


def doom() -> Recipe:
    """Doom objects.

    Command: foveal pretrain doom/objects/train --out runs/colour
        --recipe colorization_hypercolumn/doom
    Minutes: 7 on one core
    Machine: one x86-64 core, torch 2.14.1, 2026-11-25
    Expected: kNN 18.4 %, 8.6 points over random initialisation (seed 0, 97,600 pictures)
    """
    return small().model_copy(update={"epochs": 8.0})


def imagenet() -> Recipe:
    """ImageNet, ten epochs of AlexNet; steps and rates are those of the 2016 colouriser.

    The paper pretrains on ImageNet and Places together, with settings it does not give; the 2016
    colouriser drops its rate at 1.0, 1.5 and 1.75 of 2 million steps, the same shares as here.

    Command: foveal pretrain imagenet/train --out runs/colour
        --recipe colorization_hypercolumn/imagenet
    Minutes: not run here
    Machine: one accelerator
    Expected: no figure of ours; the loss of the chroma starts at ln 32 = 3.47
    """
    return Recipe(
        method="colorization_hypercolumn",
        network=Network(name="alexnet_colour"),
        batch=8,
        epochs=10,
        optimiser=Optimiser(name="sgd", lr=1e-3, scaling="none", weight_decay=5e-4),
        schedule=Schedule(name="step", milestones=(5.0, 7.5, 8.75), factor=0.1),
    )
