"""Counting: what is in a picture is what is in its four quarters together.

Noroozi, Pirsiavash, Favaro, "Representation Learning by Learning to Count", ICCV 2017. The network
counts, in units nobody names: the counts of the four tiles of a picture must add up to those of the
picture scaled down to the size of a tile, and must differ from those of another picture.

Cost: five forwards at half the view's side a picture: a quarter more than one of the whole view.
Failure signs: the loss stays at the margin: all counts are 0, or equal. Differences: the other
picture is the next one of the global batch; the network is any trunk, with one linear layer and a
ReLU in place of AlexNet's last layers.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.backbones.encoder import Encoder
from foveal.core import ranks
from foveal.core.batch import Batch
from foveal.core.progress import Progress
from foveal.methods.base import BackboneMaker, DataInfo, Losses, Method, MethodOptions, Stream
from foveal.methods.heads import draw_linear
from foveal.views.presets import plain_view
from foveal.views.spec import View

Scaling = Literal["area", "bilinear", "bicubic"]


class CountingOptions(MethodOptions):
    """Options of counting."""

    view: View = Field(
        default_factory=lambda: plain_view().model_copy(update={"grey": 0.67}),
        description="cut in quarters, and scaled to half its side",
    )
    counts: int = Field(1000, gt=0, description="how many things are counted")
    margin: float = Field(10.0, gt=0, description="of the squared distance to the other picture")
    scaling: tuple[Scaling, ...] = Field(
        ("area", "bilinear", "bicubic"),
        min_length=1,
        description="ways of scaling, drawn evenly: one alone leaves traces to be recognised",
    )

    @field_validator("view")
    @classmethod
    def _halves(cls, view: View) -> View:
        if view.tiles is not None:
            raise ValueError("the quarters are cut by the method: view.tiles is not for it")
        return view


class Counting(Method):
    """Counts of the parts add up to those of the whole (section 3)."""

    Options = CountingOptions
    title = "Counting"
    paper = "arXiv 1708.06734"
    family = "spatial"
    couples_samples = True

    def __init__(self, make: BackboneMaker, data: DataInfo, options: CountingOptions) -> None:
        super().__init__(make, data, options)
        self.trunk = make()
        self.normalise = data.normalise()
        self.head = nn.Linear(self.trunk.dim, options.counts)
        # Counts start small beside the margin: four quarters and a whole differ by most of them.
        draw_linear(self.head, std=0.001)

    def streams(self) -> dict[str, Stream]:
        """One view a picture."""
        return {"main": Stream({"view": self.options.view})}

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Counts of the whole, [B, D], and the sum of those of the quarters, [B, D]."""
        x = batch["main"].images("view")
        side = x.shape[-1] // 2
        parts = [x[:, :, y : y + side, z : z + side] for y in (0, side) for z in (0, side)]
        pictures = torch.stack([self._scaled(x, batch), *parts], dim=1).flatten(0, 1)
        pictures = self.normalise(pictures).contiguous(memory_format=torch.channels_last)
        counts = F.relu(self.head(self.trunk(pictures)["pooled"]))
        counts = counts.reshape(len(x), 5, -1)
        return {"whole": counts[:, 0], "parts": counts[:, 1:].sum(1)}

    def loss(self, out: dict[str, Tensor], batch: Batch, progress: Progress) -> Losses:
        """Contrastive loss (equation 5)."""
        whole, parts = out["whole"], out["parts"]
        following = torch.arange(len(whole), device=whole.device) + ranks.first_row(len(whole)) + 1
        wholes = ranks.gather(whole)
        other = wholes[following % len(wholes)]
        same_B = (whole - parts).square().sum(1)
        differ_B = F.relu(self.options.margin - (other - parts).square().sum(1))
        log = {"same": same_B.detach().mean(), "differ": differ_B.detach().mean()}
        return Losses((same_B + differ_B).mean(), log)

    def encoder(self) -> Encoder:
        """The trunk, on whole pictures."""
        return self.data.encoder(self.trunk, self.normalise)

    def trivial_losses(self) -> dict[str, float]:
        """What a network gives that counts nothing."""
        return {"the margin, what counting nothing gives": float(self.options.margin)}

    def _scaled(self, x: Tensor, batch: Batch) -> Tensor:
        """[B, C, H, W] to half the side, each picture in a drawn way."""
        side = x.shape[-1] // 2
        x = x[:, :, : 2 * side, : 2 * side]
        ways = self.options.scaling
        drawn = batch["main"].integers("scaling", len(ways))
        out = x.new_empty((*x.shape[:2], side, side))
        for i, way in enumerate(ways):
            some = drawn == i
            if way == "area":
                out[some] = F.avg_pool2d(x[some], 2)
            else:
                out[some] = F.interpolate(
                    x[some], (side, side), mode=way, align_corners=False, antialias=True
                ).clamp(0, 1)
        return out
