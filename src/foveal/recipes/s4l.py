"""Recipes of S4L; ``labels.per_class`` or ``labels.file`` says which labels are seen."""

from __future__ import annotations

from foveal.recipe import Labels, Network, Optimiser, Recipe, Schedule
from foveal.recipes._small import DOOM_JITTER, VIEW, small_recipe
from foveal.views.spec import Crop, View


def small() -> Recipe:
    """Few pictures or few cores, rotation beside the labels.

    Command: foveal pretrain LABELLED --out runs/s4l --recipe s4l/small labels.per_class=15
    Minutes: not timed
    Machine: any
    Expected: no number for data nobody knows; 20 passes over the labelled pictures
    """
    view = View(size=VIEW, crop=Crop(scale=(0.3, 1.0)))
    return small_recipe("s4l", {"view": view.model_dump(mode="json"), "vat_xi": 1e-3}, batch=64)


def doom() -> Recipe:
    """Doom objects with 5 % of their labels.

    Command: foveal pretrain doom/objects/train --out runs/s4l --recipe s4l/doom
    Minutes: 8 on one core
    Machine: one x86-64 core, torch 2.14.1, 2026-11-25
    Expected: kNN 46.8 %, 32.2 points over random initialisation (seed 0), with 610 labels
    """
    view = View(size=VIEW, interpolation="bicubic", crop=Crop(scale=(0.2, 1.0)), jitter=DOOM_JITTER)
    options = {"view": view.model_dump(mode="json"), "vat_xi": 1e-3}
    return small_recipe("s4l", options, batch=64, epochs=30, labels=Labels(share=0.05))


def imagenet() -> Recipe:
    """ImageNet with 128 labels a class (10 %), S4L-Rotation as released.

    Command: foveal pretrain imagenet/train --out runs/s4l --recipe s4l/imagenet
    Minutes: not run here
    Machine: accelerators; a step is 2,048 pictures of 224 px
    Expected: 83.82 % top-5 of the classifier (the paper; its list of labels is another draw)
    """
    return Recipe(
        method="s4l",
        options={"vat_xi": 1e-2},
        network=Network(name="resnetv2_50"),
        batch=256,
        epochs=200,
        optimiser=Optimiser(name="sgd", lr=0.03, scaling="none", weight_decay=1e-3),
        schedule=Schedule(name="step", warmup=5, milestones=(140, 160, 180), factor=0.1),
        labels=Labels(per_class=128),
    )
