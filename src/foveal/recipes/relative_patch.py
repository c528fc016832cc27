"""Recipes of relative patch location."""

from __future__ import annotations

from foveal.recipe import Evaluation, Network, Optimiser, Recipe, Schedule
from foveal.recipes import jigsaw
from foveal.recipes._small import small_recipe
from foveal.views.presets import jigsaw_view
from foveal.views.spec import Crop


def small() -> Recipe:
    """Few pictures or few cores: where the planner starts. A small head.

    Command: foveal pretrain DATA --out runs/relative_patch --recipe relative_patch/small
    Minutes: not timed
    Machine: any
    Expected: no number for data nobody knows; the proof, 5 points or more, is relative_patch/doom
    """
    same = jigsaw.small()
    options = {
        "standardise": "channel",
        **{key: same.options[key] for key in ("view", "head", "encode")},
    }
    return small_recipe("relative_patch", options, batch=128, evaluation=same.evaluation)


def doom() -> Recipe:
    """Doom objects: jigsaw's 2 x 2 tiles.

    Command: foveal pretrain doom/objects/train --out runs/patch --recipe relative_patch/doom
    Minutes: 23 on one core that other runs shared
    Machine: one shared x86-64 core, torch 2.14.1, 2026-12-01
    Expected: kNN 27.8 %, 15.9 over random initialisation (seed 0, 146,432 pictures; linear 43.2 %)
    """
    same = jigsaw.doom()
    recipe = small()
    tiles = {key: same.options[key] for key in ("view", "standardise", "encode")}
    changes = {
        "options": {**recipe.options, **tiles},
        "batch": 64,
        "epochs": 12.0,
        "evaluation": same.evaluation,
    }
    return recipe.model_copy(update=changes)


def imagenet() -> Recipe:
    """ImageNet as in Kolesnikov et al. 2019: a wide ResNet-50, eight pairs a picture.

    Command: foveal pretrain imagenet/train --out runs/patch --recipe relative_patch/imagenet
    Minutes: not run here; the paper used 32 to 128 TPU cores
    Machine: many accelerators
    Expected: 51.4 % linear top-1 on ImageNet (the paper, table 2)
    """
    view = jigsaw_view().model_copy(
        update={"crop": Crop(kind="resize_random", resize=292), "grey": 0.66}
    )
    return Recipe(
        method="relative_patch",
        options={
            "view": view.model_dump(mode="json"),
            "pairs": "centre",
            "standardise": "all",
            "head": {"embedding": 1000, "norm": "batch", "bias": 0.1},
            "head_decay": 5.0,
            "encode": {"grid": 3},
        },
        network=Network(name="resnet50", width=2, stem="patch"),
        batch=2048,
        epochs=35,
        optimiser=Optimiser(name="sgd", lr=0.1, weight_decay=1e-4),
        schedule=Schedule(name="step", warmup=5, milestones=(15, 25), factor=0.1),
        # Nine patches of 64 px.
        evaluation=Evaluation(size=192, fraction=192 / 224),
    )


def imagenet_2015() -> Recipe:
    """ImageNet as in Doersch et al.: an AlexNet with batch norm, patches of 96 px.

    Command: foveal pretrain imagenet/train --out runs/patch --recipe relative_patch/imagenet_2015
    Minutes: not run here; 1 to 1.7 million steps
    Machine: one accelerator
    Expected: 51.4 mAP on VOC 2007 with Fast R-CNN (the first author's refactored code)
    """
    return Recipe(
        method="relative_patch",
        network=Network(name="contextnet"),
        # 504 patches, 2,240 pairs. The code sums over pairs at 1e-5; here it is their mean.
        batch=56,
        epochs=60,
        optimiser=Optimiser(name="sgd", lr=2240e-5, scaling="none", momentum=0.0, weight_decay=0.0),
        schedule=Schedule(name="constant"),
        evaluation=Evaluation(size=227, fraction=227 / 256),
    )
