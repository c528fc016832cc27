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
    """Doom objects, with the light jitter of deepcluster/doom.

    Command: foveal pretrain doom/objects/train --out runs/deepercluster --recipe deepercluster/doom
    Minutes: 38 on one core that other work shared
    Machine: one x86-64 core, torch 2.14.1, 2026-11-25
    Expected: kNN 18.9 %, +4.4 over random initialisation; unproven: 5 points are asked
    """
    recipe = deepcluster.doom()
    # One angle a picture and step, where rotation has all four: more epochs for the same lesson.
    options = {**recipe.options, "every": 6.0}
    return recipe.model_copy(update={"method": "deepercluster", "options": options, "epochs": 24.0})


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
