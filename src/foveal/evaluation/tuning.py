"""How a network is trained with labels: settings, and the recipes of the papers.

``small`` is the default: minutes on two cores for pictures of about 40 px. The others are those
of papers at their scale; where a source leaves something open, the docstring says what stands
there instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from foveal.errors import FovealError
from foveal.recipe import Optimiser, Schedule, merge, nearest, validated
from foveal.views.presets import plain_view
from foveal.views.spec import Crop, View

_PICTURES, _LEAST, _MOST = 40_000, 5, 100  # seen in all, and the epochs that may become


class Tuning(BaseModel):
    """Settings of fine-tuning."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: float | None = Field(
        None, gt=0, description="None: 40,000 pictures in all, but 5 to 100 epochs"
    )
    batch: int = Field(64, ge=2)
    optimiser: Optimiser = Optimiser(
        name="adamw", lr=1e-3, scaling="none", weight_decay=0.05, exclude_1d=True
    )
    schedule: Schedule = Schedule(name="cosine")
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="factor on the learning rate for every end point further from "
        "the head; a random start has no layers to spare and does without"
    )  # fmt: skip
    head: float = Field(1.0, gt=0, description="factor on the head's learning rate")
    freeze: str | None = Field(None, description="this end point and those before it stay")
    batchnorm: Literal["train", "frozen"] = Field(
        "train", description="frozen: running statistics, of pretraining, are used and kept"
    )
    clip: float | None = Field(None, gt=0, description="largest global gradient norm")
    view: View = Field(
        View(size=224, crop=Crop(scale=(0.2, 1.0)), interpolation="bicubic"),
        description="what is cut from a training picture, brought to the network's size",
    )

    def epochs_of(self, pictures: int) -> float:
        """Passes over so many pictures."""
        if self.epochs is not None:
            return self.epochs
        return float(min(max(round(_PICTURES / pictures), _LEAST), _MOST))


def small() -> Tuning:
    """AdamW, cosine, a fixed number of pictures whatever the number of labels."""
    return Tuning()


def vissl() -> Tuning:
    """Goyal et al.'s PyTorch code, semi-supervised: SGD 0.05 per 256, tenth at epoch 30 of 70."""
    return Tuning(
        epochs=70,
        batch=256,
        optimiser=Optimiser(name="sgd", lr=0.05, scaling="linear", nesterov=True, weight_decay=0),
        schedule=Schedule(name="step", milestones=(30,), factor=0.1),
        view=plain_view(),
    )


def simclr() -> Tuning:
    """SimCLR's released code (v2): LARS 0.005 with square-root scaling, 60 epochs, batch 1024.

    There the first layer of the projection head is tuned too; it is no part of an encoder here.
    The cosine is that of the code's pretraining.
    """
    return Tuning(
        epochs=60,
        batch=1024,
        optimiser=Optimiser(name="lars", lr=0.005, scaling="sqrt", weight_decay=0, exclude_1d=True),
        schedule=Schedule(name="cosine"),
        view=plain_view(),
    )


def deepercluster() -> Tuning:
    """DeeperCluster's released code, all labels: SGD 0.1, decay 1e-4, 100 epochs of batch 256.

    Its drops are not given; a tenth every 30 epochs is what the time used.
    """
    return Tuning(
        epochs=100,
        batch=256,
        optimiser=Optimiser(name="sgd", lr=0.1, scaling="none", weight_decay=1e-4),
        schedule=Schedule(name="step", milestones=(30, 60, 90), factor=0.1),
        view=plain_view(),
    )


TUNINGS = {"small": small, "vissl": vissl, "simclr": simclr, "deepercluster": deepercluster}


def get_tuning(name: str = "small", changes: Mapping[str, Any] | None = None) -> Tuning:
    """A recipe of fine-tuning by name, with some values changed.

    Raises:
        FovealError: There is no such recipe or value; names the nearest.
    """
    if name not in TUNINGS:
        raise FovealError(
            f"there is no recipe of fine-tuning '{name}'", hint=nearest(name, list(TUNINGS))
        )
    values = merge(TUNINGS[name]().model_dump(mode="json"), changes or {})
    return validated(Tuning, values, "fine-tuning")
