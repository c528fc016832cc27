"""How a detector is built and trained: settings, and the recipes of the papers.

``short`` is the default: minutes on two cores for a thousand pictures of 320x240. The others are
those of papers at their scale; where a source leaves something open, the docstring says what
stands there instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from foveal.errors import FovealError
from foveal.recipe import Optimiser, Schedule, merge, nearest, validated

_FULL = 800  # short side in pixels of most papers


class DetectionSettings(BaseModel):
    """Settings of a detector; warm-up and milestones of the schedule count steps."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    finetune: bool = Field(False, description="train the network too, not what stands on it alone")
    form: Literal["c4", "fpn"] = Field(
        "c4",
        description="c4: regions of the last map but one go through the last stage, which is "
        "trained in any case; fpn: a pyramid over the maps",
    )
    norm: Literal["frozen", "batch"] = Field(
        "frozen",
        description="batch norms of the parts that are trained: frozen: statistics, scales and "
        "shifts stay; batch: trained, on statistics of the batch, and new ones where the papers "
        "have them (after the last stage, in the pyramid)",
    )
    scaled: bool = Field(
        True, description="features come in any scale: brought to mean 0 and deviation 1 before "
        "new layers, so that one learning rate fits all networks; no paper has it"
    )  # fmt: skip
    size: int | None = Field(
        None, gt=0, description="short side of the picture; None: the data's own, at most 800"
    )
    train_sizes: tuple[int, ...] = Field(
        (), description="short sides drawn from in training; empty: size"
    )
    steps: int | None = Field(None, gt=0, description="None: as epochs say")
    epochs: float = Field(4, gt=0, description="passes over the training pictures")
    batch: int = Field(4, gt=0, description="pictures a step")
    optimiser: Optimiser = Optimiser(name="adamw", lr=1e-3, scaling="none", weight_decay=1e-4)
    schedule: Schedule = Schedule(name="cosine", warmup=50)
    body: float = Field(
        0.3, gt=0, description="factor on the learning rate of the network, if it is trained"
    )
    clip: float | None = Field(10.0, gt=0, description="largest global gradient norm")
    rois: int = Field(64, gt=1, description="regions of a picture the head learns on")
    proposals: int = Field(
        300, gt=0, description="regions of a picture looked at; in training twice as many"
    )
    cells: int = Field(7, gt=0, description="side of a region's map")
    width: int = Field(128, gt=0, description="channels of the pyramid")
    hidden: int = Field(512, gt=0, description="units of the head where no stage makes one")
    least_score: float = Field(0.01, ge=0, lt=1, description="detections below are dropped")
    detections: int = Field(100, gt=0, description="kept in a picture")


def short() -> DetectionSettings:
    """AdamW along a cosine, few regions, pictures at their own size."""
    return DetectionSettings()


def _paper(**values: Any) -> DetectionSettings:
    """What the papers share: Detectron's sizes and numbers of regions."""
    common: dict[str, Any] = {
        "size": _FULL, "rois": 512, "proposals": 1000, "cells": 14, "width": 256, "hidden": 1024,
        "least_score": 0.05, "body": 1.0, "clip": None, "scaled": False,
    }  # fmt: skip
    return DetectionSettings(**{**common, **values})


def _sgd(lr: float) -> Optimiser:
    return Optimiser(name="sgd", lr=lr, scaling="none", momentum=0.9, weight_decay=1e-4)


def _drops(*steps: float, warmup: float = 0.0) -> Schedule:
    return Schedule(name="step", milestones=steps, factor=0.1, warmup=warmup)


def goyal_voc07() -> DetectionSettings:
    """Goyal et al., ICCV 2019: C4, everything below the last stage frozen, 50,000 steps on VOC07.

    Two GPUs there; one picture on each, and 800 pixels, are assumed.
    """
    return _paper(batch=2, steps=50_000, optimiser=_sgd(0.002), schedule=_drops(38_000))


def goyal_voc0712() -> DetectionSettings:
    """The same on VOC07+12: 100,000 steps."""
    return _paper(batch=2, steps=100_000, optimiser=_sgd(0.002), schedule=_drops(65_000))


def tuned_voc07() -> DetectionSettings:
    """All layers on VOC07 (VISSL's form of MoCo's protocol): C4, batch norms trained, 12,500 steps.

    Sides of 480 to 800 pixels in steps of 32; the second drop is that of VOC07+12 to scale.
    """
    return _paper(
        finetune=True, norm="batch", batch=16, steps=12_500, optimiser=_sgd(0.02),
        schedule=_drops(9_500, 11_500, warmup=100), train_sizes=tuple(range(480, 801, 32)),
    )  # fmt: skip


def tuned_voc0712() -> DetectionSettings:
    """All layers on VOC07+12 (He et al., MoCo, CVPR 2020): C4, norms trained, 24,000 steps."""
    return _paper(
        finetune=True, norm="batch", batch=16, steps=24_000, optimiser=_sgd(0.02),
        schedule=_drops(18_000, 22_000, warmup=100), train_sizes=tuple(range(480, 801, 32)),
    )  # fmt: skip


def coco_1x() -> DetectionSettings:
    """All layers on COCO, the schedule called 1x: FPN, batch norms trained, 90,000 steps."""
    return _paper(
        finetune=True, form="fpn", norm="batch", batch=16, steps=90_000, cells=7,
        optimiser=_sgd(0.02), schedule=_drops(60_000, 80_000, warmup=1000),
        train_sizes=tuple(range(640, 801, 32)),
    )  # fmt: skip


RECIPES: dict[str, Callable[[], DetectionSettings]] = {
    "short": short,
    "goyal_voc07": goyal_voc07,
    "goyal_voc0712": goyal_voc0712,
    "tuned_voc07": tuned_voc07,
    "tuned_voc0712": tuned_voc0712,
    "coco_1x": coco_1x,
}


def detection_settings(changes: Mapping[str, Any]) -> DetectionSettings:
    """Settings from changes of a recipe, which ``recipe`` among them names (``short`` if none).

    Raises:
        FovealError: There is no such recipe or setting; names the nearest.
    """
    changes = dict(changes)
    name = str(changes.pop("recipe", "short"))
    if name not in RECIPES:
        raise FovealError(
            f"there is no recipe of detection '{name}'", hint=nearest(name, list(RECIPES))
        )
    values = merge(RECIPES[name]().model_dump(mode="json"), changes)
    return validated(DetectionSettings, values, "detection")
