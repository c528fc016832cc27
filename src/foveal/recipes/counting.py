"""Recipes of counting."""

from __future__ import annotations

from foveal.recipe import Evaluation, Network, Optimiser, Recipe, Schedule
from foveal.recipes._small import small_recipe
from foveal.views.spec import Crop, View

WHOLE = 64  # pixels: the network sees quarters of half the side


def small() -> Recipe:
    """Few pictures or few cores.

    Command: foveal pretrain DATA --out runs/counting --recipe counting/small
    Minutes: not timed
    Machine: any
    Expected: no number for data nobody knows; the proof, 5 points or more, is counting/doom
    """
    view = View(size=WHOLE, crop=Crop(scale=(0.3, 1.0)), grey=0.67)
    # Read whole pictures at the size whose quarters it learned on.
    evaluation = Evaluation(size=WHOLE, fraction=1.0)
    options = {"view": view.model_dump(mode="json")}
    return small_recipe("counting", options, batch=128, evaluation=evaluation)


def doom() -> Recipe:
    """Doom objects, the small network at half its width.

    Command: foveal pretrain doom/objects/train --out runs/counting --recipe counting/doom
    Minutes: 16 on one core that other runs shared
    Machine: one shared x86-64 core, torch 2.14.1, 2026-12-01
    Expected: kNN 19.2 %, 6.5 over random initialisation (seed 0, 292,864 pictures; linear 29.1 %)
    """
    changes = {"epochs": 24.0, "network": Network(name="small", width=0.5)}
    return small().model_copy(update=changes)


def imagenet() -> Recipe:
    """ImageNet: AlexNet on 114 px, two pictures in three grey (the paper; from memory).

    Optimiser, batch and length are those of an independent re-implementation (Taha, 2020), which
    reached the paper's figures: 33.6 for 34.3 at conv3.

    Command: foveal pretrain imagenet/train --out runs/counting --recipe counting/imagenet
    Minutes: not run here
    Machine: one accelerator
    Expected: 34.3 % linear top-1 on ImageNet from conv3 (the survey); 67.7 mAP on VOC 2007
    """
    view = View(size=228, crop=Crop(kind="resize_random", resize=256), grey=0.67)
    return Recipe(
        method="counting",
        options={"view": view.model_dump(mode="json")},
        network=Network(name="caffenet", extra={"top": False}),
        batch=256,
        epochs=250,
        optimiser=Optimiser(name="adam", lr=1e-4, scaling="none", weight_decay=0.0),
        schedule=Schedule(name="constant"),
        evaluation=Evaluation(size=227, fraction=227 / 256),
    )
