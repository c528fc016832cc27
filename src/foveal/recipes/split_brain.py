"""Recipes of split_brain. The network's width is that of both halves together."""

from __future__ import annotations

from foveal.recipe import Network, Optimiser, Recipe, Schedule
from foveal.recipes._small import VIEW, small_recipe
from foveal.views.spec import Crop, View


def small() -> Recipe:
    """Few pictures or few cores: where the planner starts.

    Command: foveal pretrain DATA --out runs/split_brain --recipe split_brain/small
    Minutes: not timed
    Machine: any
    Expected: no number for data nobody knows; the proof, 5 points or more, is split_brain/doom
    """
    view = View(size=VIEW, crop=Crop(scale=(0.3, 1.0)))
    options = {"view": view.model_dump(mode="json"), "stride": 4, "hidden": 256}
    return small_recipe("split_brain", options, batch=64)


def doom() -> Recipe:
    """Doom objects.

    Command: foveal pretrain doom/objects/train --out runs/split_brain --recipe split_brain/doom
    Minutes: 39 on one core that other work shared
    Machine: one x86-64 core, torch 2.14.1, 2026-12-01
    Expected: kNN 25.0 %, 7.9 points over random initialisation (seed 0, 292,800 pictures)
    """
    return small().model_copy(update={"epochs": 24.0})


def imagenet() -> Recipe:
    """ImageNet at the paper's scale: two halves of AlexNet, trained as the authors' colouriser.

    The paper gives no settings; these are those of the same authors' AlexNet for colorization.

    Command: foveal pretrain imagenet/train --out runs/split_brain --recipe split_brain/imagenet
    Minutes: not run here
    Machine: one accelerator
    Expected: 35.4 % linear top-1 on conv3 (the paper's project page)
    """
    return Recipe(
        method="split_brain",
        network=Network(name="alexnet_colour", extra={"groups": 1}),
        batch=80,
        epochs=28,
        optimiser=Optimiser(name="adam", lr=3e-5, scaling="none", weight_decay=1e-3),
        schedule=Schedule(name="step", milestones=(15.0, 18.75, 25.0), factor=10**-0.5),
    )
