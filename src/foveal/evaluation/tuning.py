"""How a network is trained with labels: settings, and the recipes of the papers.

``small`` is the default: minutes on two cores for pictures of about 40 px. The others are those
of papers at their scale; where a source leaves something open, the docstring says what stands
there instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from foveal.errors import FovealError
from foveal.recipe import Optimiser, Schedule, merge, nearest, validated
from foveal.views.presets import padded_view, plain_view
from foveal.views.spec import Crop, View

_PICTURES, _LEAST, _MOST = 40_000, 5, 100  # seen in all, and the epochs that may become


class Tuning(BaseModel):
    """Settings of fine-tuning."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: float | None = Field(
        None, gt=0, description="None: 40,000 pictures in all, but 5 to 100 epochs"
    )
    steps: int | None = Field(
        None, gt=0, description="this many steps instead, whatever the number of pictures; "
        "warm-up and milestones of the schedule then count steps"
    )  # fmt: skip
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
    freeze: str | None = Field(
        None, description="this end point and those before it stay; 'last': the last one; "
        "'pooled': all layers"
    )  # fmt: skip
    fresh: str | None = Field(
        None, description="layers after this end point (or 'last') start from drawn weights"
    )
    new_layers: Literal["network", "normal"] = Field(
        "network", description="how new linear layers start: the network's way, and a head of "
        "zeros; or weights N(0, 0.01) and biases 0.1"
    )  # fmt: skip
    reads: str | None = Field(None, description="end point the head reads; None: pooled")
    on_top: Literal["linear", "nin"] = Field(
        "linear", description="the head: a linear layer (of a map: of its mean), or a NIN block "
        "before it"
    )  # fmt: skip
    rival: Literal["same", "all"] = Field(
        "same", description="what the random start trains: the same layers, or all it has"
    )
    fold_sobel: bool = Field(
        False, description="Sobel filters, where there are any, become part of the first layer"
    )
    batchnorm: Literal["train", "frozen"] = Field(
        "train", description="frozen: running statistics, of pretraining, are used and kept; "
        "new layers make their own"
    )  # fmt: skip
    clip: float | None = Field(None, gt=0, description="largest global gradient norm")
    view: View = Field(
        View(size=224, crop=Crop(scale=(0.2, 1.0)), interpolation="bicubic"),
        description="what is cut from a training picture, brought to the network's size",
    )
    crops: int = Field(
        0, ge=0, description="test: logits summed over so many training views; 0: one centre view"
    )
    after: tuple[str, ...] = Field(
        (), description="retrain_after and finetune_after: some end points; none named: all"
    )

    def length(self, pictures: int) -> tuple[int, float]:
        """Steps in all, and steps of one unit of the schedule (an epoch, or a step)."""
        if self.steps is not None:
            return self.steps, 1.0
        per_epoch = pictures / self.batch
        return max(1, round(self.epochs_of(pictures) * per_epoch)), per_epoch

    def epochs_of(self, pictures: int) -> float:
        """Passes over so many pictures."""
        if self.steps is not None:
            return self.steps * self.batch / pictures
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

    A tenth every 30 epochs; Sobel filters become part of the first convolution.
    """
    return Tuning(
        epochs=100,
        batch=256,
        optimiser=Optimiser(name="sgd", lr=0.1, scaling="none", weight_decay=1e-4),
        schedule=Schedule(name="step", milestones=(30, 60, 90), factor=0.1),
        view=plain_view(),
        fold_sobel=True,
    )


def rotnet() -> Tuning:
    """RotNet's few labels (released code, CIFAR): a NIN block on the frozen second block.

    100 epochs of 50,000 draws in batches of 128 however few the pictures are, a fifth of the
    learning rate after 35, 70 and 85 of them. The rival is the whole network from a random start
    (there 200 epochs). ``reads`` and ``freeze`` name that network's end point.
    """
    epoch = 50_000 / 128
    return Tuning(
        steps=round(100 * epoch),
        batch=128,
        optimiser=Optimiser(name="sgd", lr=0.1, scaling="none", nesterov=True, weight_decay=5e-4),
        schedule=Schedule(
            name="step", milestones=tuple(float(round(n * epoch)) for n in (35, 70, 85)), factor=0.2
        ),
        freeze="block2",
        reads="block2",
        on_top="nin",
        rival="all",
        view=padded_view(),
    )


def _voc(
    layers: str, *, lr: float, every: int, steps: int, decay: float, view: View, fresh: bool
) -> Tuning:
    """PASCAL VOC classification: which layers are trained, how often the rate is halved."""
    return Tuning(
        steps=steps,
        batch=16,
        optimiser=Optimiser(name="sgd", lr=lr, scaling="none", weight_decay=decay),
        schedule=Schedule(
            name="step", milestones=tuple(float(n) for n in range(every, steps, every)), factor=0.5
        ),
        freeze={"fc8": "pooled", "fc68": "last", "all": None}[layers],
        fresh="last" if fresh else None,
        new_layers="normal",
        batchnorm="frozen",
        clip=10.0,
        view=view,
        crops=10,
    )


def krahenbuhl(layers: str) -> Tuning:
    """Krähenbühl et al.'s script: rate 0.001 halved every 10,000 of 80,000 steps of 16.

    ``fc8``: the new layer alone; ``fc68``: with fc6 and fc7 anew; ``all``: every layer. Its crop of
    227 pixels from a picture scaled by 0.5 to 2 is here a square of 7 to 100 % of the area, which
    is that of a picture of 500 x 375; biases learn at the common rate (there at twice it).
    """
    view = View(size=227, crop=Crop(scale=(0.07, 1.0), ratio=(1.0, 1.0)))
    return _voc(layers, lr=0.001, every=10_000, steps=80_000, decay=1e-6, view=view,
                fresh=layers == "fc68")  # fmt: skip


def deepcluster_voc(layers: str) -> Tuning:
    """DeepCluster's released code on VOC: squares of 10 to 50 % of the area, 150,000 steps.

    ``fc68``: 0.003 halved every 5,000; ``all``: 0.001 halved every 20,000, fc6 and fc7 anew.
    """
    view = View(size=224, crop=Crop(scale=(0.1, 0.5), ratio=(1.0, 1.0)))
    lr, every = (0.003, 5_000) if layers == "fc68" else (0.001, 20_000)
    return _voc(layers, lr=lr, every=every, steps=150_000, decay=1e-6, view=view, fresh=True)


def deepercluster_voc(layers: str) -> Tuning:
    """DeeperCluster's released code on VOC: crops of 8 to 100 % of the area, 150,000 steps.

    ``fc68``: 0.003 halved every 20,000, decay 1e-5; ``all``: every 10,000, decay 1e-4. fc6 and fc7
    start anew in both.
    """
    every, decay = (20_000, 1e-5) if layers == "fc68" else (10_000, 1e-4)
    return _voc(layers, lr=0.003, every=every, steps=150_000, decay=decay, view=plain_view(),
                fresh=True)  # fmt: skip


TUNINGS: dict[str, Callable[[], Tuning]] = {
    "small": small,
    "vissl": vissl,
    "simclr": simclr,
    "deepercluster": deepercluster,
    "rotnet": rotnet,
    **{f"krahenbuhl_{n}": partial(krahenbuhl, n) for n in ("fc8", "fc68", "all")},
    **{f"deepcluster_{n}": partial(deepcluster_voc, n) for n in ("fc68", "all")},
    **{f"deepercluster_{n}": partial(deepercluster_voc, n) for n in ("fc68", "all")},
}


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
