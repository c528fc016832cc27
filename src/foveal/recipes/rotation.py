"""Recipes of rotation."""

from __future__ import annotations

from foveal.recipe import Evaluation, Network, Optimiser, Recipe, Schedule
from foveal.recipes._small import VIEW, small_recipe
from foveal.views.presets import padded_view
from foveal.views.spec import Crop, View


def small() -> Recipe:
    """Few pictures or few cores: where the planner starts.

    Command: foveal pretrain DATA --out runs/rotation --recipe rotation/small
    Minutes: not timed
    Machine: any
    Expected: no number for data nobody knows; the proof, 5 points or more, is rotation/doom
    """
    view = View(size=VIEW, crop=Crop(scale=(0.3, 1.0)))
    return small_recipe("rotation", {"view": view.model_dump(mode="json")}, batch=128)


def doom() -> Recipe:
    """Doom objects.

    Command: foveal pretrain doom/objects/train --out runs/rotation --recipe rotation/doom
    Minutes: 9 on one core
    Machine: one shared x86-64 core, torch 2.14.1, 2026-11-25
    Expected: kNN 29.6 %, 15.0 points over random initialisation (seed 0, 48,896 pictures)
    """
    return small().model_copy(update={"epochs": 4.0})


def cifar10() -> Recipe:
    """CIFAR-10 as in the paper: Network-in-Network of four blocks (section 3.1).

    Command: foveal pretrain cifar10/train --out runs/rotation --recipe rotation/cifar10
    Minutes: not run here
    Machine: one accelerator
    Expected: 89.06 % with a non-linear probe on block 2 (the paper, table 1)
    """
    return Recipe(
        method="rotation",
        options={"view": padded_view().model_dump(mode="json")},
        network=Network(name="nin", extra={"blocks": 4}),
        batch=128,
        epochs=100,
        optimiser=Optimiser(name="sgd", lr=0.1, scaling="none", nesterov=True, weight_decay=5e-4),
        schedule=Schedule(name="step", milestones=(30, 60, 80), factor=0.2),
        evaluation=Evaluation(size=32, fraction=1.0),
    )


def imagenet() -> Recipe:
    """ImageNet at the paper's scale: AlexNet with batch norm, 30 epochs (section 3.2).

    Command: foveal pretrain imagenet/train --out runs/rotation --recipe rotation/imagenet
    Minutes: not run here; the paper says about two days on one GPU
    Machine: one accelerator
    Expected: 38.7 % linear top-1 on conv3 (the paper, table 5)
    """
    return Recipe(
        method="rotation",
        network=Network(name="alexnet_rotnet"),
        batch=192,
        epochs=30,
        optimiser=Optimiser(name="sgd", lr=0.01, scaling="none", nesterov=True, weight_decay=5e-4),
        schedule=Schedule(name="step", milestones=(10, 20), factor=0.1),
    )
