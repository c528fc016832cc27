"""Recipes of SimCLR."""

from __future__ import annotations

from foveal.recipe import Evaluation, Network, Optimiser, Recipe, Schedule
from foveal.recipes._small import DOOM_JITTER, VIEW, small_recipe
from foveal.views.presets import simclr_view
from foveal.views.spec import Crop


def small() -> Recipe:
    """Few pictures or few cores: where the planner starts. Colour at half strength, no blur.

    Command: foveal pretrain DATA --out runs/simclr --recipe simclr/small
    Minutes: not timed
    Machine: any
    Expected: no number for data nobody knows; the proof, 5 points or more, is simclr/doom
    """
    view = simclr_view(VIEW, strength=0.5, blur=False)
    return small_recipe("simclr", {"view": view.model_dump(mode="json"), "temperature": 0.1})


def doom() -> Recipe:
    """Doom objects, whose colour tells classes apart: light changes much, hue hardly.

    Command: foveal pretrain doom/objects/train --out runs/simclr --recipe simclr/doom
    Minutes: 9 on one core
    Machine: one shared x86-64 core, torch 2.14.1, 2026-11-25
    Expected: kNN 30.6 %, 16.1 points over random initialisation (seed 0, 97,792 pictures); 31.0 %
        and 16.5 on an AMD EPYC (32 minutes of a shared core, 2026-12-01)
    """
    view = simclr_view(VIEW, blur=False).model_copy(
        update={"crop": Crop(scale=(0.2, 1.0)), "jitter": DOOM_JITTER, "grey": 0.0}
    )
    return small_recipe(
        "simclr", {"view": view.model_dump(mode="json"), "temperature": 0.1}, epochs=8
    )


def imagenet() -> Recipe:
    """ImageNet at the paper's scale: ResNet-50, LARS, batch 4096, 1000 epochs (section 2.2, B.6).

    Command: foveal pretrain imagenet/train --out runs/simclr --recipe simclr/imagenet
    Minutes: not run here; the paper used 32 to 128 TPU v3 cores
    Machine: many accelerators
    Expected: 69.3 % linear top-1 on ImageNet (the paper)
    """
    return Recipe(
        method="simclr",
        options={"temperature": 0.1},
        network=Network(name="resnet50"),
        batch=4096,
        epochs=1000,
        optimiser=Optimiser(name="lars", lr=0.3, weight_decay=1e-6, exclude_1d=True),
        schedule=Schedule(name="cosine", warmup=10),
    )


def cifar10() -> Recipe:
    """CIFAR-10: ResNet-18 with a small stem, no blur, colour at half strength (appendix B.9).

    Command: foveal pretrain cifar10/train --out runs/simclr --recipe simclr/cifar10
    Minutes: not run here
    Machine: one accelerator
    Expected: about 91 % linear top-1 (the released code, 1000 epochs)
    """
    view = simclr_view(32, strength=0.5, blur=False)
    return Recipe(
        method="simclr",
        options={"view": view.model_dump(mode="json"), "temperature": 0.5},
        network=Network(name="resnet18", stem="small"),
        batch=512,
        epochs=1000,
        optimiser=Optimiser(name="lars", lr=1.0, weight_decay=1e-4, exclude_1d=True),
        schedule=Schedule(name="cosine", warmup=10),
        evaluation=Evaluation(size=32, fraction=1.0),
    )
