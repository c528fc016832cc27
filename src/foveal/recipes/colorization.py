"""Recipes of colorization."""

from __future__ import annotations

from foveal.recipe import Network, Optimiser, Recipe, Schedule
from foveal.recipes._small import VIEW, small_recipe
from foveal.views.spec import Crop, View


def small() -> Recipe:
    """Few pictures or few cores: where the planner starts.

    Command: foveal pretrain DATA --out runs/colorization --recipe colorization/small
    Minutes: not timed
    Machine: any
    Expected: no number for data nobody knows; the proof, 5 points or more, is colorization/doom
    """
    view = View(size=VIEW, crop=Crop(scale=(0.3, 1.0)))
    options = {"view": view.model_dump(mode="json"), "stride": 4, "hidden": 256, "counted": 4096}
    return small_recipe("colorization", options, batch=64)


def doom() -> Recipe:
    """Doom objects.

    Command: foveal pretrain doom/objects/train --out runs/colorization --recipe colorization/doom
    Minutes: 25 on one core that other work shared
    Machine: one shared x86-64 core, torch 2.14.1, 2026-11-25
    Expected: kNN 23.1 %, 13.4 points over random initialisation (seed 0, 48,832 pictures)
    """
    return small().model_copy(update={"epochs": 4.0})


def imagenet() -> Recipe:
    """ImageNet at the paper's scale: AlexNet on L, 450,000 steps of 80 (the released solvers).

    The learning rates 3e-5, 1e-5, 3e-6 and 1e-6 are halves of a decade here, to 5 %.

    Command: foveal pretrain imagenet/train --out runs/colorization --recipe colorization/imagenet
    Minutes: not run here
    Machine: one accelerator
    Expected: no figure of ours; the loss starts at ln 313 = 5.75
    """
    return Recipe(
        method="colorization",
        options={},
        network=Network(name="alexnet_colour"),
        batch=80,
        epochs=28,
        optimiser=Optimiser(name="adam", lr=3e-5, scaling="none", weight_decay=1e-3),
        # Dropped after 240,000, 300,000 and 400,000 steps of the 16,015 in an epoch.
        schedule=Schedule(name="step", milestones=(15.0, 18.75, 25.0), factor=10**-0.5),
    )
