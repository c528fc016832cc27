"""Recipes of DeeperCluster."""

from __future__ import annotations

from foveal.recipe import Network, Optimiser, Recipe, Schedule
from foveal.recipes import deepcluster


def small() -> Recipe:
    """Few pictures or few cores. In colour, four coarse clusters, a fine one for 100 pictures.

    Command: foveal pretrain DATA --out runs/deepercluster --recipe deepercluster/small
    Minutes: not timed
    Machine: any
    Expected: no number for data nobody knows; the proof, 5 points or more, is deepercluster/doom
    """
    return deepcluster.small().model_copy(update={"method": "deepercluster"})


def doom() -> Recipe:
    """Doom objects as deepcluster/doom, two coarse clusters, every picture at all four turns.

    Command: foveal pretrain doom/objects/train --out runs/deepercluster --recipe deepercluster/doom
    Minutes: 18 on one core that other work shared
    Machine: one shared x86-64 core, torch 2.14.1, 2026-12-01
    Expected: kNN 21.3 %, 6.8 points over random initialisation (seed 0, 36,608 pictures)
    """
    recipe = deepcluster.doom()
    options = {**recipe.options, "all_turns": True, "coarse": 2, "every": 1.5}
    sooner = recipe.schedule.model_copy(update={"warmup": 0.3})
    changes = {"options": options, "epochs": 3.0, "schedule": sooner}
    return recipe.model_copy(update={"method": "deepercluster", **changes})


def imagenet() -> Recipe:
    """The paper's network and optimiser; k is for ImageNet's size, not for 96 million pictures.

    k = 320,000 of the paper means 4 x 320,000 heads of 4096 numbers: 21 GB in float32, and as much
    again for the momentum. With 40,000 (a cluster for about 32 pictures) it is 2.6 GB. Start from a
    rotation run of the same network, as the paper does: ``--init runs/rotation``.

    Command: foveal pretrain PILE --out runs/deeper --recipe deepercluster/imagenet --init ROTATION
    Minutes: not run here; the paper used 64 GPUs
    Machine: several accelerators
    Expected: 73.0 % ImageNet top-1 or more after fine-tuning VGG-16 (the paper: 74.9 on 96 M)
    """
    return Recipe(
        method="deepercluster",
        options={"clusters": 40_000},
        network=Network(name="vgg16_bn", extra={"last_relu": False}),
        batch=3072,
        epochs=100,
        optimiser=Optimiser(name="sgd", lr=0.1, scaling="none", weight_decay=1e-5),
        schedule=Schedule(name="constant"),
    )
