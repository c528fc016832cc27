"""Recipes of BYOL."""

from __future__ import annotations

from typing import Any

from foveal.recipe import Network, Optimiser, Recipe, Schedule
from foveal.recipes._small import DOOM_JITTER, VIEW, small_recipe
from foveal.views.presets import byol_views
from foveal.views.spec import Crop, View


def small() -> Recipe:
    """Few pictures or few cores: where the planner starts. Small heads, a faster target.

    Command: foveal pretrain DATA --out runs/byol --recipe byol/small
    Minutes: not timed
    Machine: any
    Expected: no number for data nobody knows; the proof, 5 points or more, is byol/doom
    """
    a, b = byol_views(VIEW)
    return _small(a, b)


def doom() -> Recipe:
    """Doom objects, whose colour tells classes apart: light changes much, hue hardly; no blur.

    Command: foveal pretrain doom/objects/train --out runs/byol --recipe byol/doom
    Minutes: 12 on one core
    Machine: one shared x86-64 core, torch 2.14.1, 2026-11-25
    Expected: kNN 23.5 %, 9.0 points over random initialisation (seed 0, 97,792 pictures)
    """
    milder = {
        "crop": Crop(kind="clipped", scale=(0.2, 1.0)),
        "jitter": DOOM_JITTER,
        "grey": 0.0,
        "blur": None,
    }
    a, b = (view.model_copy(update=milder) for view in byol_views(VIEW))
    return _small(a, b, epochs=8)


def _small(a: View, b: View, **changes: Any) -> Recipe:
    options = {
        "view_a": a.model_dump(mode="json"),
        "view_b": b.model_dump(mode="json"),
        "tau": 0.97,
        "hidden": 512,
        "outputs": 128,
    }
    return small_recipe("byol", options, **changes)


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
