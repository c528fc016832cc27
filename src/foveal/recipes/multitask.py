"""Recipes of combinations; ``rotation+jigsaw/doom`` and the like need none of their own."""

from __future__ import annotations

from foveal.recipe import Evaluation, Network, Optimiser, Recipe, Schedule
from foveal.recipes import colorization, exemplar_triplet, jigsaw, rotation
from foveal.recipes._combine import combined


def small() -> Recipe:
    """Rotation, jigsaw and colorization for few pictures or few cores, by their small recipes.

    Command: foveal pretrain DATA --out runs/multitask --recipe multitask/small
    Minutes: not timed
    Machine: any
    Expected: no number for data nobody knows; the proof, 5 points or more, is multitask/doom
    """
    return combined([rotation.small(), jigsaw.small(), colorization.small()], "multitask")


def doom() -> Recipe:
    """Doom objects, 381 updates of each of the three parts, all of 64 pictures.

    Jigsaw starts slowly, and what it does until then disturbs the others: it learns at a quarter
    of the rate.

    Command: foveal pretrain doom/objects/train --out runs/multitask --recipe multitask/doom
    Minutes: 4 on two cores
    Machine: two x86-64 cores, torch 2.14.1, 2026-12-01
    Expected: kNN 23.7 %, 9.1 points over random initialisation (seed 0, 73,216 pictures)
    """
    recipe = combined([rotation.doom(), jigsaw.doom(), colorization.doom()], "multitask")
    options = {**recipe.options, "sizes": {}, "rates": {"jigsaw": 0.25}}
    return recipe.model_copy(update={"options": options, "batch": 64, "epochs": 6.0})


def imagenet() -> Recipe:
    """Three of the paper's four tasks on its ResNet-101-v2 up to the third block.

    Motion segmentation, the fourth, learns from another pile of pictures. The paper's optimiser is
    RMSProp on 64 GPUs with schedules nobody published; here it is the parts' SGD in turns.
    ``options.lasso=0.01`` gives every part a mix of the 23 units of the third block.

    Command: foveal pretrain imagenet/train --out runs/multitask --recipe multitask/imagenet
    Minutes: not run here; the paper used 16,800 GPU hours
    Machine: many accelerators
    Expected: no figure of ours; four tasks gave 70.5 mAP on VOC 2007 detection (the paper)
    """
    colour = colorization.imagenet()
    shared = {
        "batch": 256,
        "epochs": 35.0,
        "network": Network(name="resnetv2_101_block3"),
        "optimiser": Optimiser(name="sgd", lr=0.1, weight_decay=1e-4),
        "schedule": Schedule(name="step", warmup=15, milestones=(45, 75), factor=0.1),
        "evaluation": Evaluation(size=224, fraction=0.875),
    }
    parts = [
        Recipe(method="relative_patch", epochs=35),
        # Two 1x1 layers with 128 hidden units, and no rebalancing of rare colours.
        colour.model_copy(update={"options": {"hidden": 128, "uniform": 1.0}}),
        exemplar_triplet.patches(),
    ]
    recipe = combined([part.model_copy(update=shared) for part in parts])
    # The one whose input is the plain picture.
    return recipe.model_copy(update={"options": {**recipe.options, "encode": "exemplar_triplet"}})
