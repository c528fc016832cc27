"""Recipes of NPID."""

from __future__ import annotations

from foveal.recipe import Evaluation, Network, Optimiser, Recipe, Schedule
from foveal.recipes._small import DOOM_JITTER, VIEW, small_recipe
from foveal.views.presets import npid_view
from foveal.views.spec import Crop


def small() -> Recipe:
    """Few pictures or few cores.

    Command: foveal pretrain DATA --out runs/npid --recipe npid/small
    Minutes: not timed
    Machine: any
    Expected: no number for data nobody knows; the proof, 5 points or more, is npid/doom
    """
    view = npid_view(VIEW)
    return small_recipe("npid", {"view": view.model_dump(mode="json"), "negatives": 1024})


def doom() -> Recipe:
    """Doom objects: 12,200 pictures, so the exact softmax over the whole bank costs little.

    Command: foveal pretrain doom/objects/train --out runs/npid --recipe npid/doom
    Minutes: 10 on one core, which other work shared for a part of the time
    Machine: one x86-64 core, torch 2.14.1, 2026-11-25
    Expected: kNN 21.0 %, 6.4 points over random initialisation (seed 0, 97,792 pictures)
    """
    view = npid_view(VIEW).model_copy(
        update={"crop": Crop(scale=(0.2, 1.0)), "jitter": DOOM_JITTER, "grey": 0.0}
    )
    return small_recipe(
        "npid",
        {"view": view.model_dump(mode="json"), "negatives": 0, "temperature": 0.1},
        epochs=8,
    )


def imagenet() -> Recipe:
    """ImageNet at the paper's scale: ResNet-50, 200 epochs (released code).

    Command: foveal pretrain imagenet/train --out runs/npid --recipe npid/imagenet
    Minutes: not run here
    Machine: one accelerator or more
    Expected: 54.0 % linear top-1 on ImageNet (as quoted in CPC v2)
    """
    return Recipe(
        method="npid",
        network=Network(name="resnet50"),
        batch=256,
        epochs=200,
        optimiser=Optimiser(name="sgd", lr=0.03, momentum=0.9, weight_decay=1e-4),
        schedule=Schedule(name="step", milestones=(120, 160), factor=0.1),
    )


def cifar10() -> Recipe:
    """CIFAR-10: ResNet-18 with a small stem, no mirroring, temperature 0.1 (released code).

    Command: foveal pretrain cifar10/train --out runs/npid --recipe npid/cifar10
    Minutes: not run here
    Machine: one accelerator
    Expected: not run here; weighted kNN with k = 200 and temperature 0.1 is the paper's measure
    """
    view = npid_view(32).model_copy(update={"flip": 0.0})
    return Recipe(
        method="npid",
        options={"view": view.model_dump(mode="json"), "temperature": 0.1},
        network=Network(name="resnet18", stem="small"),
        batch=128,
        epochs=200,
        optimiser=Optimiser(name="sgd", lr=0.03, scaling="none", weight_decay=5e-4),
        schedule=Schedule(name="step", milestones=(80, 120, 160), factor=0.1),
        evaluation=Evaluation(size=32, fraction=1.0),
    )
