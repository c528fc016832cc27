"""Recipes of supervised classification."""

from __future__ import annotations

from foveal.recipe import Evaluation, Network, Optimiser, Recipe, Schedule
from foveal.recipes._small import DOOM_JITTER, VIEW, small_recipe
from foveal.views.spec import Crop, View


def small() -> Recipe:
    """Few pictures or few cores.

    Command: foveal pretrain LABELLED --out runs/supervised --recipe supervised/small
    Minutes: not timed
    Machine: any
    Expected: no number for data nobody knows; with 40 classes, supervised/doom says
    """
    view = View(size=VIEW, interpolation="bicubic")
    return small_recipe("supervised", {"view": view.model_dump(mode="json")})


def doom() -> Recipe:
    """Doom objects with their labels: what the table of proofs is measured against.

    Command: foveal pretrain doom/objects/train --out runs/supervised --recipe supervised/doom
    Minutes: 11 on one core
    Machine: one shared x86-64 core, torch 2.14.1, 2026-11-25
    Expected: kNN 77.1 %, linear 79.0 % (seed 0, 122,112 pictures)
    """
    view = View(size=VIEW, interpolation="bicubic", crop=Crop(scale=(0.2, 1.0)), jitter=DOOM_JITTER)
    return small_recipe(
        "supervised", {"view": view.model_dump(mode="json"), "smoothing": 0.1}, epochs=10
    )


def jft() -> Recipe:
    """Noisy labels of many classes as JFT-300M was learned from: ResNet-101, a yes or no per class.

    Command: foveal pretrain DATA --out runs/jft --recipe supervised/jft labels.hierarchy=tree.csv
    Minutes: not run here; about two months on 50 accelerators in the paper
    Machine: many accelerators
    Expected: transfer linear in log10 of the number of pictures, up to 300 million (the paper)
    """
    view = View(size=299, crop=Crop(kind="resize_random", resize=340))
    return Recipe(
        method="supervised",
        options={
            "view": view.model_dump(mode="json"), "loss": "sigmoid", "unlabelled": "negative"
        },
        network=Network(name="resnet101"),
        batch=1600,
        epochs=4,
        optimiser=Optimiser(name="sgd", lr=0.1, weight_decay=1e-4),
        evaluation=Evaluation(size=299, fraction=299 / 340),
    )  # fmt: skip


def imagenet() -> Recipe:
    """ImageNet, ResNet-50, the recipe most papers compare with: 90 epochs, drops every 30.

    Command: foveal pretrain imagenet/train --out runs/supervised --recipe supervised/imagenet
    Minutes: not run here
    Machine: one accelerator or more
    Expected: about 76 % top-1 of a ResNet-50 (Goyal et al., 2017)
    """
    return Recipe(
        method="supervised",
        network=Network(name="resnet50"),
        batch=256,
        epochs=90,
        optimiser=Optimiser(name="sgd", lr=0.1, momentum=0.9, weight_decay=1e-4),
        schedule=Schedule(name="step", milestones=(30, 60, 80), factor=0.1),
    )
