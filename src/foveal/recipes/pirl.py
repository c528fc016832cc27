"""Recipes of PIRL."""

from __future__ import annotations

from typing import Any

from foveal.recipe import Evaluation, Network, Optimiser, Recipe, Schedule
from foveal.recipes import jigsaw
from foveal.recipes._small import DOOM_JITTER, VIEW, small_recipe
from foveal.views.presets import npid_view
from foveal.views.spec import Crop


def small() -> Recipe:
    """Few pictures or few cores: NPID's colours, jigsaw's small tiles, InfoNCE.

    Command: foveal pretrain DATA --out runs/pirl --recipe pirl/small
    Minutes: not timed
    Machine: any
    Expected: no number for data nobody knows; the proof, 5 points or more, is pirl/doom
    """
    tiles: dict[str, Any] = jigsaw.small().options["view"]
    options = {
        "view": npid_view(VIEW).model_dump(mode="json"),
        "other_view": {**tiles, "channel_shift": None, "flip": 0.5},
        "negatives": 4096,
        "temperature": 0.1,
        "form": "info_nce",
    }
    return small_recipe("pirl", options, evaluation=Evaluation(size=VIEW, fraction=1.0))


def doom() -> Recipe:
    """Doom objects.

    Command: foveal pretrain doom/objects/train --out runs/pirl --recipe pirl/doom
    Minutes: 20 on one core
    Machine: one x86-64 core, torch 2.14.1, 2026-11-25
    Expected: kNN 27.8 %, 13.2 points over random initialisation (seed 0, 97,600 pictures)
    """
    recipe = small()
    light = DOOM_JITTER.model_dump(mode="json")
    picture = npid_view(VIEW).model_copy(update={"crop": Crop(scale=(0.2, 1.0)), "grey": 0.0})
    other = {**recipe.options["other_view"], "jitter": light, "grey": 0.0}
    options = {
        **recipe.options,
        "view": {**picture.model_dump(mode="json"), "jitter": light},
        "other_view": other,
    }
    return recipe.model_copy(update={"options": options, "batch": 64, "epochs": 8.0})


def imagenet() -> Recipe:
    """ImageNet at the paper's scale: ResNet-50, 800 epochs (released configuration).

    Command: foveal pretrain imagenet/train --out runs/pirl --recipe pirl/imagenet
    Minutes: not run here; the released run used 32 GPUs
    Machine: several accelerators
    Expected: 63.6 % linear top-1 on ImageNet (the paper)
    """
    return Recipe(
        method="pirl",
        network=Network(name="resnet50"),
        batch=1024,
        epochs=800,
        optimiser=Optimiser(
            name="sgd", lr=0.12, scaling="none", weight_decay=1e-4, exclude_1d=True
        ),
        schedule=Schedule(name="cosine"),
    )
