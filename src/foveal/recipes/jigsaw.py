"""Recipes of jigsaw."""

from __future__ import annotations

from typing import Any

from foveal.recipe import Evaluation, Network, Optimiser, Recipe, Schedule
from foveal.recipes._small import DOOM_JITTER, small_recipe
from foveal.views.presets import jigsaw_view
from foveal.views.spec import ChannelShift, Crop, Tiles

PUZZLE = 72  # pixels: nine tiles of 20 px, the least in which the small network sees parts


def _as_learned(grid: int) -> dict[str, Any]:
    """Options that read pictures tile by tile: trunks that saw only tiles know only tiles.

    In every tile of 20 px all cells see the padding of its border, in whole pictures few do.
    """
    return {"grid": grid, "overlap": 0.5, "join": "max"}


def small() -> Recipe:
    """Few pictures or few cores: where the planner starts. A small head without dropout.

    Command: foveal pretrain DATA --out runs/jigsaw --recipe jigsaw/small
    Minutes: not timed
    Machine: any
    Expected: no number for data nobody knows; the proof, 5 points or more, is jigsaw/doom
    """
    view = jigsaw_view().model_copy(
        update={
            "size": PUZZLE,
            "crop": Crop(scale=(0.5, 1.0)),
            "channel_shift": ChannelShift(pixels=(-1, 1)),
            "tiles": Tiles(stride=24, size=20, jitter=4, once=("grey",)),
        }
    )
    options: dict[str, Any] = {
        "view": view.model_dump(mode="json"),
        "permutations": 100,
        "shown": 2,
        # Batch norm instead of dropout: the run is the same on any number of ranks.
        "head": {"hidden": [512], "norm": "batch", "dropout": 0.0, "std": None, "bias": 0.0},
        "caffe_biases": False,
        "encode": _as_learned(6),
    }
    return small_recipe(
        "jigsaw", options, batch=128, evaluation=Evaluation(size=PUZZLE, fraction=1.0)
    )


def doom() -> Recipe:
    """Doom objects: 2 x 2 tiles, in which the small network sees more than borders.

    Command: foveal pretrain doom/objects/train --out runs/jigsaw --recipe jigsaw/doom
    Minutes: 49 on one core that other runs shared
    Machine: one shared x86-64 core, torch 2.14.1, 2026-12-01
    Expected: kNN 28.2 %, 16.4 over random initialisation (seed 0, 292,800 pictures; linear 46.5 %)
    """
    view = jigsaw_view().model_copy(
        update={
            "size": 56,
            "crop": Crop(scale=(0.2, 1.0)),
            "jitter": DOOM_JITTER,
            "grey": 0.0,
            # Rendered pictures have no chromatic aberration.
            "channel_shift": None,
            "tiles": Tiles(rows=2, columns=2, stride=28, size=24, jitter=4, once=("jitter",)),
        }
    )
    recipe = small()
    options = {
        **recipe.options,
        "view": view.model_dump(mode="json"),
        # Colour tells classes apart: each tile keeps its own.
        "standardise": "all",
        # All there are.
        "permutations": 24,
        "shown": 8,
        "encode": _as_learned(7),
    }
    # 7 x 7 tiles of 24 px.
    evaluation = Evaluation(size=96, fraction=1.0)
    changes = {"options": options, "batch": 64, "epochs": 24.0, "evaluation": evaluation}
    return recipe.model_copy(update=changes)


def imagenet() -> Recipe:
    """ImageNet as in the paper: Context-Free Network, 1000 permutations (sections 3 and 4).

    Command: foveal pretrain imagenet/train --out runs/jigsaw --recipe jigsaw/imagenet
    Minutes: not run here; the paper says about 2.5 days on one GPU
    Machine: one accelerator
    Expected: 51.8 mAP on VOC 2007 detection (the first version of the paper)
    """
    return Recipe(
        method="jigsaw",
        network=Network(name="cfn"),
        batch=256,
        # 350,000 steps, about 70 puzzles a picture; the rate drops every 100,000.
        epochs=69.94,
        optimiser=Optimiser(name="sgd", lr=0.01, scaling="none", weight_decay=5e-4),
        schedule=Schedule(name="step", milestones=(19.98, 39.96, 59.95), factor=0.1),
        evaluation=Evaluation(size=227, fraction=227 / 256),
    )


def imagenet_2019() -> Recipe:
    """ImageNet as in Kolesnikov et al.: wide ResNet-50, 100 permutations, 8 puzzles a picture.

    Command: foveal pretrain imagenet/train --out runs/jigsaw --recipe jigsaw/imagenet_2019
    Minutes: not run here; the paper used 32 to 128 TPU cores
    Machine: many accelerators
    Expected: 44.6 % linear top-1 on ImageNet (the paper, table 2)
    """
    view = jigsaw_view().model_copy(
        update={"crop": Crop(kind="resize_random", resize=292), "grey": 0.66}
    )
    return Recipe(
        method="jigsaw",
        options={
            "view": view.model_dump(mode="json"),
            "standardise": "all",
            "permutations": 100,
            "shown": 8,
            "shared": True,
            "head": {"embedding": 1000, "norm": "batch", "bias": 0.1},
            "caffe_biases": False,
            "head_decay": 5.0,
            "encode": {"grid": 3},
        },
        network=Network(name="resnet50", width=2, stem="patch"),
        batch=2048,
        epochs=35,
        optimiser=Optimiser(name="sgd", lr=0.1, weight_decay=1e-4),
        schedule=Schedule(name="step", warmup=5, milestones=(15, 25), factor=0.1),
        # Nine tiles of 64 px.
        evaluation=Evaluation(size=192, fraction=192 / 224),
    )


def imagenet_goyal() -> Recipe:
    """ImageNet as in Goyal et al.: ResNet-50; options.permutations is the axis of hardness.

    Command: foveal pretrain imagenet/train --out runs/jigsaw --recipe jigsaw/imagenet_goyal
    Minutes: not run here
    Machine: many accelerators
    Expected: 46.7 to 48.6 % linear top-1 on ImageNet for 100 to 10,000 (re-runs by the authors)
    """
    view = jigsaw_view().model_copy(update={"grey": 0.66})
    return Recipe(
        method="jigsaw",
        options={
            "view": view.model_dump(mode="json"),
            "standardise": "none",
            "permutations": 2000,
            "head": {"embedding": 1000, "embedding_norm": True, "hidden": [], "std": None},
            "caffe_biases": False,
        },
        network=Network(name="resnet50"),
        batch=256,
        epochs=105,
        optimiser=Optimiser(name="sgd", lr=0.1, weight_decay=1e-4),
        schedule=Schedule(name="step", warmup=5, milestones=(30, 60, 90, 100), factor=0.1),
    )
