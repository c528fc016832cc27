"""RotNet: turn each picture by quarter turns and tell which turn it was.

Gidaris, Singh, Komodakis, "Unsupervised Representation Learning by Predicting Image Rotations",
ICLR 2018. To say how a picture was turned the network has to find the object and know how it
normally stands, so it needs pictures with an upright: it learns nothing from textures or views
from above.

Cost: four forwards a picture. Failure signs: accuracy 25 %, loss log 4 = 1.386.
The turned copies of one crop share a batch, and the learning rate is not rescaled for them.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.backbones.encoder import Encoder
from foveal.core.batch import Batch
from foveal.core.progress import Progress
from foveal.methods.base import (
    BackboneMaker,
    DataInfo,
    Losses,
    Method,
    MethodOptions,
    Stream,
)
from foveal.views.presets import plain_view
from foveal.views.spec import View


class RotationOptions(MethodOptions):
    """Options of rotation."""

    view: View = Field(default_factory=plain_view, description="cut once, then turned")
    turns: tuple[int, ...] = Field(
        (0, 90, 180, 270), description="degrees counter-clockwise, multiples of 90"
    )
    all_turns: bool = Field(
        True, description="every turn of a picture in the same batch; False: one drawn turn each"
    )

    @field_validator("turns")
    @classmethod
    def _quarter_turns(cls, turns: tuple[int, ...]) -> tuple[int, ...]:
        if len(turns) < 2 or len(set(turns)) < len(turns) or any(t not in _QUARTERS for t in turns):
            raise ValueError(f"turns are two or more of {', '.join(map(str, _QUARTERS))}")
        return turns


_QUARTERS = {0: 0, 90: 1, 180: 2, 270: 3}


class Rotation(Method):
    """Predicts the turn of a picture (section 2)."""

    Options = RotationOptions
    title = "RotNet"
    paper = "arXiv 1803.07728"
    family = "spatial"

    def __init__(self, make: BackboneMaker, data: DataInfo, options: RotationOptions) -> None:
        super().__init__(make, data, options)
        self.turns, self.all_turns = options.turns, options.all_turns
        self.trunk = make()
        self.normalise = data.normalise()
        self.head = nn.Linear(self.trunk.dim, len(self.turns))

    @classmethod
    def tells_turns(cls, options: RotationOptions) -> bool:
        """It does."""
        return True

    def streams(self) -> dict[str, Stream]:
        """One view a picture."""
        return {"main": Stream({"view": self.options.view})}

    def shown(self, batch: Batch) -> Tensor:
        """Turned copies, those of one picture side by side, [B turns, C, H, W] in [0, 1]."""
        x_BCHW = batch["main"].images("view")
        if self.all_turns:
            turned = [quarter_turns(x_BCHW, _QUARTERS[t]) for t in self.turns]
            # Copies of one picture lie side by side: the first axis stays the samples.
            x = torch.stack(turned, dim=1).flatten(0, 1)
        else:
            quarters = torch.tensor([_QUARTERS[t] for t in self.turns], device=x_BCHW.device)
            x = turn_each(x_BCHW, quarters[self._drawn(batch)])
        return x.contiguous(memory_format=torch.channels_last)

    def answers(self, features: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Logits of every turned copy, [B, turns shown, classes]."""
        return {"logits": self.head(features).unflatten(0, (len(batch["main"]), -1))}

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """See ``answers``."""
        return self.answers(self.trunk(self.normalise(self.shown(batch)))["pooled"], batch)

    def loss(self, out: dict[str, Tensor], batch: Batch, progress: Progress) -> Losses:
        """Mean cross-entropy over all turned copies (equations 1 to 3)."""
        logits = out["logits"].flatten(0, 1)
        if self.all_turns:
            labels = torch.arange(len(self.turns), device=logits.device)
            labels = labels.repeat(len(out["logits"]))
        else:
            labels = self._drawn(batch)
        loss = F.cross_entropy(logits, labels)
        accuracy = (logits.detach().argmax(1) == labels).float().mean()
        return Losses(loss, {"turn_accuracy": accuracy})

    def encoder(self) -> Encoder:
        """The trunk on upright pictures."""
        return self.data.encoder(self.trunk, self.normalise)

    def trivial_losses(self) -> dict[str, float]:
        """What guessing gives."""
        count = len(self.turns)
        return {f"log {count}, what guessing the turn gives": math.log(count)}

    def _drawn(self, batch: Batch) -> Tensor:
        """Which turn each picture is shown in where it is shown once."""
        return batch["main"].integers("turn", len(self.turns))


def quarter_turns(x: Tensor, k: int) -> Tensor:
    """``k`` quarter turns counter-clockwise of [..., H, W] (as ``numpy.rot90``): no resampling."""
    turned: Any = torch.rot90(x, k, (-2, -1))
    return turned  # type: ignore[no-any-return]


def turn_each(x_BCHW: Tensor, quarters_B: Tensor) -> Tensor:
    """Every picture turned by its own number of quarter turns, 0 to 3."""
    turned = torch.empty_like(x_BCHW)
    for k in range(4):
        rows = quarters_B == k
        turned[rows] = quarter_turns(x_BCHW[rows], k)
    return turned
