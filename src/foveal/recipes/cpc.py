"""Recipes of CPC v2."""

from __future__ import annotations

from typing import Any

from foveal.recipe import Evaluation, Network, Optimiser, Recipe, Schedule
from foveal.recipes._small import DOOM_JITTER, small_recipe
from foveal.views.presets import cpc_view
from foveal.views.spec import Crop, Tiles

GRID = 48  # pixels: 3 x 3 patches of 24 px, half overlapping


def small() -> Recipe:
    """Few pictures or few cores: where the planner starts. 3 x 3 patches, two rows ahead.

    Command: foveal pretrain DATA --out runs/cpc --recipe cpc/small
    Minutes: not timed
    Machine: any
    Expected: no number for data nobody knows; the proof, 5 points or more, is cpc/doom
    """
    view = cpc_view().model_copy(
        update={
            "size": GRID,
            "crop": Crop(scale=(0.3, 1.0)),
            "tiles": Tiles(rows=3, columns=3, stride=12, size=24, jitter=0),
        }
    )
    options: dict[str, Any] = {
        "view": view.model_dump(mode="json"),
        "offsets": [2],
        "blocks": 2,
        "hidden": 128,
        # A row of three has few patches: tell them from those of more pictures.
        "group": 64,
        "average": 0.99,
    }
    return small_recipe("cpc", options, batch=64, evaluation=Evaluation(size=GRID, fraction=1.0))


def doom() -> Recipe:
    """Doom objects: 4 x 4 patches at half the width, with the colours that tell objects apart.

    Of 3 x 3 patches two rows ahead the middle one, where the object is, would be in no question.

    Command: foveal pretrain doom/objects/train --out runs/cpc --recipe cpc/doom
    Minutes: 28 on one core that two other runs shared
    Machine: one shared x86-64 core, torch 2.14.1, 2026-12-01
    Expected: kNN 20.4 %, 11.6 over random initialisation (seed 0, 97,600 pictures; linear 33.5 %,
        21.2 over); guessing the patch is a loss of log 1024 = 6.93
    """
    recipe = small()
    view = {
        **recipe.options["view"],
        "size": 60,
        "tiles": Tiles(rows=4, columns=4, stride=12, size=24, jitter=0).model_dump(mode="json"),
        "jitter": DOOM_JITTER.model_dump(mode="json"),
        "grey": 0.0,
        "choice": {"count": 1, "of": ["rotation", "translation", "shear", "sharpness"]},
        "solarise": 0.0,
        "invert": 0.0,
        "posterise": None,
        "autocontrast": 0.0,
        "equalise": 0.0,
    }
    # What is in any of 7 x 7 patches of 24 px counts: the mean is mostly background.
    options = {**recipe.options, "view": view, "join": "max", "grid": 7}
    changes: dict[str, Any] = {
        "options": options,
        "network": Network(name="small", width=0.5),
        "epochs": 8.0,
        "evaluation": Evaluation(size=96, fraction=1.0),
    }
    return recipe.model_copy(update=changes)


def imagenet() -> Recipe:
    """ImageNet as in the paper: ResNet-161, 6 x 6 patches of 80 px, four directions.

    Command: foveal pretrain imagenet/train --out runs/cpc --recipe cpc/imagenet
    Minutes: not run here; 200 epochs on 32 workers in the paper
    Machine: many accelerators
    Expected: 71.5 % linear top-1 on ImageNet (the paper)
    """
    return Recipe(
        method="cpc",
        network=Network(name="resnet161_cpc"),
        batch=512,
        epochs=200,
        optimiser=Optimiser(
            name="adam", lr=4e-4, scaling="none", betas=(0.8, 0.999), weight_decay=0.0
        ),
        schedule=Schedule(name="constant"),
        clip=0.01,
        evaluation=Evaluation(size=260, fraction=260 / 300),
    )
