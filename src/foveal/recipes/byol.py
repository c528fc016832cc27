"""Recipes of BYOL."""

from __future__ import annotations

from foveal.recipe import Network, Optimiser, Recipe, Schedule
from foveal.recipes._small import VIEW, small
from foveal.views.presets import byol_views


def doom() -> Recipe:
    """Small pictures on two cores.

    Command: foveal pretrain doom/objects/train --out runs/byol --recipe byol/doom
    Minutes: to be measured
    Machine: to be measured
    Expected: to be measured
    """
    a, b = byol_views(VIEW)
    options = {
        "view_a": a.model_dump(mode="json"),
        "view_b": b.model_dump(mode="json"),
        "tau": 0.98,
        "hidden": 512,
        "outputs": 128,
    }
    return small("byol", options, epochs=20)


def imagenet() -> Recipe:
    """ImageNet at the paper's scale: ResNet-50, LARS, batch 4096, 1000 epochs (section 3.3).

    Command: foveal pretrain imagenet/train --out runs/byol --recipe byol/imagenet
    Minutes: not run here; the paper used 512 TPU v3 cores for about 8 hours
    Machine: many accelerators
    Expected: 74.3 % linear top-1 on ImageNet (the paper)
    """
    return Recipe(
        method="byol",
        options={"tau": 0.996},
        network=Network(name="resnet50"),
        batch=4096,
        epochs=1000,
        optimiser=Optimiser(
            name="lars", lr=0.2, weight_decay=1.5e-6, exclude_1d=True, lars_order="byol"
        ),
        schedule=Schedule(name="cosine", warmup=10),
    )
