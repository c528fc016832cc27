"""Recipes of exemplar by triplets."""

from __future__ import annotations

from foveal.recipe import Network, Optimiser, Recipe, Schedule
from foveal.recipes._small import DOOM_JITTER, VIEW, small_recipe
from foveal.views.presets import exemplar_view, inception_view
from foveal.views.spec import Crop, View


def small() -> Recipe:
    """Few pictures or few cores: two views a picture, so that a batch holds many pictures.

    Command: foveal pretrain DATA --out runs/exemplar --recipe exemplar_triplet/small
    Minutes: not timed
    Machine: any
    Expected: no number for data nobody knows; the proof, 5 points or more, is exemplar_triplet/doom
    """
    view = inception_view(VIEW, grey=0.2)
    return small_recipe("exemplar_triplet", _few_views(view), batch=128)


def doom() -> Recipe:
    """Doom objects, whose colour tells classes apart: light changes much, hue hardly.

    Command: foveal pretrain doom/objects/train --out runs/exemplar --recipe exemplar_triplet/doom
    Minutes: 3 on one core
    Machine: one x86-64 core, torch 2.14.1, 2026-11-25
    Expected: kNN 31.2 %, +16.6 over random initialisation
    """
    view = View(size=VIEW, interpolation="bicubic", crop=Crop(scale=(0.2, 1.0)), jitter=DOOM_JITTER)
    return small_recipe("exemplar_triplet", _few_views(view), batch=128, epochs=3)


def imagenet() -> Recipe:
    """ImageNet as in Revisiting: ResNet-50 v1, 64 pictures x 8 views, 35 epochs (section 4.1).

    Command: foveal pretrain imagenet/train --out runs/exemplar --recipe exemplar_triplet/imagenet
    Minutes: not run here; the paper used 32 TPU cores and batches of 2048
    Machine: one accelerator or more
    Expected: 46.0 % linear top-1 of a network twelve units wide (the paper), three times this one
    """
    return Recipe(
        method="exemplar_triplet",
        network=Network(name="resnet50"),
        batch=64,
        epochs=35,
        optimiser=Optimiser(name="sgd", lr=0.1, weight_decay=1e-4),
        schedule=Schedule(name="step", warmup=5, milestones=(15, 25), factor=0.1),
    )


def patches() -> Recipe:
    """As in Multi-task: two warped patches of 96 pixels, cosine distance, every negative.

    Command: foveal pretrain imagenet/train --out runs/exemplar --recipe exemplar_triplet/patches
    Minutes: not run here
    Machine: one accelerator or more
    Expected: 31.5 % linear top-1 of a ResNet-101 (as later papers quote it)
    """
    view = exemplar_view(96).model_copy(update={"crop": Crop(scale=(0.1, 0.5), ratio=(1.0, 1.0))})
    return Recipe(
        method="exemplar_triplet",
        options={
            "view": view.model_dump(mode="json"),
            "copies": 2,
            "distance": "cosine",
            "mining": "all",
            "head_layers": 2,
            "standardise": False,
        },
        network=Network(name="resnetv2_101"),
        batch=256,
        epochs=35,
        optimiser=Optimiser(name="sgd", lr=0.1, weight_decay=1e-4),
        schedule=Schedule(name="step", warmup=5, milestones=(15, 25), factor=0.1),
    )


def _few_views(view: View) -> dict[str, object]:
    return {
        "view": view.model_dump(mode="json"),
        "copies": 2,
        "head_outputs": 128,
        "standardise": False,
    }
