"""Recipes of SeLa."""

from __future__ import annotations

from foveal.recipe import Evaluation, Network, Optimiser, Recipe, Schedule
from foveal.recipes._small import DOOM_JITTER, VIEW, small_recipe
from foveal.views.presets import center_view, sela_view
from foveal.views.spec import Crop


def small() -> Recipe:
    """Few pictures or few cores.

    Command: foveal pretrain DATA --out runs/sela --recipe sela/small
    Minutes: not timed
    Machine: any
    Expected: no number for data nobody knows; the proof, 5 points or more, is sela/doom
    """
    options = {
        "view": sela_view(VIEW).model_dump(mode="json"),
        "label_view": center_view(VIEW, 1.0).model_dump(mode="json"),
        "heads": 4, "labels": 128, "updates": 20, "strength": 10.0, "tolerance": 0.01,
    }  # fmt: skip
    return small_recipe("sela", options)


def doom() -> Recipe:
    """Doom objects: many labels, about a dozen pictures each, in small batches.

    Command: foveal pretrain doom/objects/train --out runs/sela --recipe sela/doom
    Minutes: 13 on one core that other work shared
    Machine: one shared x86-64 core, torch 2.14.1, 2026-12-01
    Expected: kNN 20.5 %, 5.9 points over random initialisation (seed 0, 48,832 pictures)
    """
    recipe = small()
    view = sela_view(VIEW).model_copy(
        update={"crop": Crop(scale=(0.2, 1.0)), "jitter": DOOM_JITTER, "grey": 0.0}
    )
    options = {
        **recipe.options,
        "view": view.model_dump(mode="json"),
        "heads": 2, "labels": 1000, "updates": 8, "tolerance": 0.1,
    }  # fmt: skip
    slower = recipe.optimiser.model_copy(update={"lr": 1e-3})
    changes = {"options": options, "batch": 64, "epochs": 4.0, "optimiser": slower}
    return recipe.model_copy(update=changes)


def imagenet() -> Recipe:
    """ImageNet at the paper's scale: ResNet-50, 10 heads of 3000 labels, 400 epochs.

    Command: foveal pretrain imagenet/train --out runs/sela --recipe sela/imagenet
    Minutes: not run here
    Machine: several accelerators
    Expected: 61.5 % linear top-1 on ImageNet (the released code's table)
    """
    return Recipe(
        method="sela",
        network=Network(name="resnet50"),
        batch=256,
        epochs=400,
        optimiser=Optimiser(name="sgd", lr=0.05, scaling="none", weight_decay=1e-5),
        schedule=Schedule(name="step", milestones=(150, 300, 350), factor=0.1),
    )


def cifar10() -> Recipe:
    """CIFAR-10: 10 heads of 128 labels, lambda 10 (released code).

    Command: foveal pretrain cifar10/train --out runs/sela --recipe sela/cifar10
    Minutes: not run here
    Machine: one accelerator
    Expected: 77.6 % weighted kNN of an AlexNet (the authors)
    """
    view = sela_view(32).model_copy(update={"crop": Crop(scale=(0.2, 1.0))})
    return Recipe(
        method="sela",
        options={
            "view": view.model_dump(mode="json"),
            "label_view": center_view(32, 1.0).model_dump(mode="json"),
            "labels": 128, "strength": 10.0, "tolerance": 0.01, "updates": 400,
        },
        network=Network(name="resnet18", stem="small"),
        batch=128,
        epochs=400,
        optimiser=Optimiser(name="sgd", lr=0.03, scaling="none", weight_decay=5e-4),
        schedule=Schedule(name="step", milestones=(160, 240, 320), factor=0.1),
        evaluation=Evaluation(size=32, fraction=1.0),
    )  # fmt: skip
