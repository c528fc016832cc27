"""Recipes of DeepCluster."""

from __future__ import annotations

from foveal.recipe import Network, Optimiser, Recipe, Schedule
from foveal.recipes._small import DOOM_JITTER, VIEW, small_recipe
from foveal.views.presets import center_view
from foveal.views.spec import Crop, View


def small() -> Recipe:
    """Few pictures or few cores: where the planner starts. In colour.

    Command: foveal pretrain DATA --out runs/deepcluster --recipe deepcluster/small
    Minutes: not timed
    Machine: any
    Expected: no number for data nobody knows; the proof, 5 points or more, is deepcluster/doom
    """
    options = {
        "view": View(size=VIEW, crop=Crop(scale=(0.2, 1.0))).model_dump(mode="json"),
        "cluster_view": center_view(VIEW, 1.0, "bilinear").model_dump(mode="json"),
        # A round must be long enough for the fresh head to learn the clusters: small batches and
        # two epochs a round, where the paper has five thousand steps in one.
        "clusters": None,
        "every": 2.0,
        "pca": 64,
        "sobel": False,
    }
    adamw = Optimiser(name="adamw", lr=1e-3, scaling="none", weight_decay=0.05, exclude_1d=True)
    return small_recipe("deepcluster", options, batch=64, optimiser=adamw)


def doom() -> Recipe:
    """Doom objects. Light jitter, which the paper has not: without it clusters are rooms.

    Command: foveal pretrain doom/objects/train --out runs/deepcluster --recipe deepcluster/doom
    Minutes: 4 on one core
    Machine: one shared x86-64 core, torch 2.14.1, 2026-11-25
    Expected: kNN 23.5 %, 8.9 points over random initialisation (seed 0, 73,216 pictures)
    """
    recipe = small()
    view = View(size=VIEW, crop=Crop(scale=(0.2, 1.0)), jitter=DOOM_JITTER)
    options = {**recipe.options, "view": view.model_dump(mode="json"), "clusters": 200}
    return recipe.model_copy(update={"options": options, "epochs": 6.0})


def imagenet() -> Recipe:
    """ImageNet at the paper's scale: AlexNet on Sobel responses, 10,000 clusters, 500 epochs.

    Command: foveal pretrain imagenet/train --out runs/deepcluster --recipe deepcluster/imagenet
    Minutes: not run here; the paper says twelve days on one P100
    Machine: one accelerator
    Expected: 38.2 % linear top-1 on conv3 (the paper, table 1)
    """
    return Recipe(
        method="deepcluster",
        options={"clusters": 10_000},
        network=Network(name="alexnet_deepcluster", extra={"last_relu": False}),
        batch=256,
        epochs=500,
        optimiser=Optimiser(name="sgd", lr=0.05, scaling="none", weight_decay=1e-5),
        schedule=Schedule(name="constant"),
    )
