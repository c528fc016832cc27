"""Recipes of DeepCluster."""

from __future__ import annotations

from foveal.recipe import Network, Optimiser, Recipe, Schedule
from foveal.recipes._small import VIEW, small
from foveal.views.presets import center_view
from foveal.views.spec import Crop, View


def doom() -> Recipe:
    """Small pictures on two cores.

    Command: foveal pretrain doom/objects/train --out runs/deepcluster --recipe deepcluster/doom
    Minutes: to be measured
    Machine: to be measured
    Expected: to be measured
    """
    options = {
        "view": View(size=VIEW, crop=Crop(scale=(0.2, 1.0))).model_dump(mode="json"),
        "cluster_view": center_view(VIEW, 1.0).model_dump(mode="json"),
        "clusters": None,
        "pca": 64,
        "sobel": False,
    }
    return small("deepcluster", options, epochs=20)


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
