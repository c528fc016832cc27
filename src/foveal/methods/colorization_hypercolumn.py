"""Colorization by hypercolumns: see the grey of a picture, say hue and chroma at random points.

Larsson, Maire, Shakhnarovich, "Colorization as a Proxy Task for Visual Understanding", CVPR 2017;
the form is that of their "Learning Representations for Automatic Colorization", ECCV 2016. What
every layer knows of a point is stacked (its hypercolumn), so that low layers are taught where edges
lie and high ones what things are. Hue and chroma are histograms of 32 bins each; hue counts by the
chroma there, since a grey point has no hue.

Cost: one forward and backward a picture, and a layer of ``hidden`` units at each point: with many
points more than the trunk. Failure signs: ``chroma_loss`` stays at ln 32 = 3.466, or the hue is
right no more often than the commonest hue. Pictures without colour are refused.

Where this differs from the paper: the trunk has one grey input channel (the released code repeats
it three times), batch norm stays (it is folded into the weights there), and on ``alexnet_colour``
fc6 and fc7 are read at stride 16, not 32.
"""

from __future__ import annotations

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from foveal.backbones.encoder import Encoder
from foveal.backbones.hypercolumn import grid_points, hypercolumns
from foveal.backbones.inputs import Grey, Normalise
from foveal.core.batch import Batch
from foveal.core.colour import from_hue_chroma, grey_mean, hue_chroma
from foveal.core.progress import Progress
from foveal.losses.colour import (
    HUE_BINS,
    chroma_median,
    hue_chroma_losses,
    hue_mean,
    level,
)
from foveal.methods.base import (
    BackboneMaker,
    DataInfo,
    Losses,
    Method,
    MethodOptions,
    Stream,
)
from foveal.methods.heads import draw_linear
from foveal.views.spec import Crop, View

_GREY_MEAN = 114.154 / 255  # of ImageNet, in the released code


class HypercolumnOptions(MethodOptions):
    """Options of colorization_hypercolumn."""

    view: View = Field(
        View(size=227, crop=Crop(kind="pad_random", pad=0)),
        description="nothing that changes colours belongs here",
    )
    points: int = Field(256, ge=1, description="random points of each picture")
    border: int = Field(32, ge=0, description="pixels along the border without points")
    layers: int | None = Field(
        None, ge=1, description="how many of the last maps are stacked with the picture; None: all"
    )
    hidden: int = Field(1024, ge=1, description="units between hypercolumn and histograms")
    dropout: float = Field(0.5, ge=0, lt=1, description="of these units")
    hue_weight: float = Field(5.0, ge=0, description="of hue, times the chroma of the point")
    head_decay: float = Field(1e-6, ge=0, description="of half the squared weights of the head")

    @model_validator(mode="after")
    def _room_for_points(self) -> HypercolumnOptions:
        if 2 * self.border >= self.view.size:
            raise ValueError(
                f"border={self.border} leaves no room for points in views of {self.view.size} px"
            )
        return self


class ColorizationHypercolumn(Method):
    """Classifies hue and chroma at points, from all layers (section 3)."""

    Options = HypercolumnOptions
    title = "Colorization (hypercolumns)"
    paper = "arXiv 1703.04044"
    family = "generation"

    def __init__(self, make: BackboneMaker, data: DataInfo, options: HypercolumnOptions) -> None:
        super().__init__(make, data, options)
        data.require_colour("colorization_hypercolumn")
        self.trunk = make(in_chans=1)
        self.grey, self.centre = Grey(), Normalise([_GREY_MEAN], [1.0])
        self.ends = self.trunk.maps()[-(options.layers or 0) :]
        stacked = 1 + sum(end.channels for end in self.ends)
        self.head = nn.Sequential(
            nn.Linear(stacked, options.hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(options.dropout),
            nn.Linear(options.hidden, 2 * HUE_BINS),
        )
        draw_linear(self.head)

    def streams(self) -> dict[str, Stream]:
        """One view a picture."""
        return {"main": Stream({"view": self.options.view})}

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Logits of hue and chroma at the points, [B, P, bins] each; the head's squared weights."""
        images = batch["main"].images("view")
        hue, chroma = self._histograms(images, self._points(batch))
        squares = sum(m.weight.square().sum() for m in self.head if isinstance(m, nn.Linear))
        assert isinstance(squares, Tensor)
        return {"hue": hue, "chroma": chroma, "squares": squares.expand(len(images))}

    def loss(self, out: dict[str, Tensor], batch: Batch, progress: Progress) -> Losses:
        """``CE(chroma) + 5 * chroma * CE(hue)``, the mean over all points (section 3.1)."""
        where = self._points(batch).long()
        pixels = batch["main"].images("view").permute(0, 2, 3, 1)
        rows = torch.arange(len(pixels), device=pixels.device)[:, None]
        colour_BP3 = pixels[rows, where[..., 0], where[..., 1]]
        hue, chroma = hue_chroma(colour_BP3.transpose(1, 2)[..., None])
        hue, chroma = hue[..., 0], chroma[..., 0]
        of_hue, of_chroma = hue_chroma_losses(out["hue"], out["chroma"], hue, chroma)
        loss = (of_chroma + self.options.hue_weight * chroma * of_hue).mean()
        decay = 0.5 * self.options.head_decay * out["squares"].mean()
        right = (out["hue"].detach().argmax(2) == level(hue)).float()
        log = {
            "chroma_loss": of_chroma.detach().mean(),
            "hue_accuracy": (right * chroma).sum() / chroma.sum().clamp_min(1e-6),
        }
        return Losses(loss + decay, log)

    def encoder(self) -> Encoder:
        """The trunk on the grey of RGB pictures."""
        return self.data.encoder(self.trunk, self.grey, self.centre)

    @torch.no_grad()
    def colourise(self, images: Tensor) -> Tensor:
        """Pictures [B, 3, H, W] with the colours the network gives their grey, in [0, 1]."""
        b, _, h, w = images.shape
        points = grid_points((h, w), 1, images.device).expand(b, -1, -1)
        logits = self._histograms(images, points)
        hue, chroma = (
            read(x.float()).view(b, h, w)
            for read, x in zip((hue_mean, chroma_median), logits, strict=True)
        )
        return from_hue_chroma(grey_mean(images)[:, 0], hue, chroma).clamp(0, 1)

    def _histograms(self, images: Tensor, points_BP2: Tensor) -> tuple[Tensor, Tensor]:
        x = self.centre(self.grey(images))
        maps = self.trunk(x, [end.name for end in self.ends])
        column = hypercolumns(
            [x, *(maps[end.name] for end in self.ends)],
            [1, *(end.stride for end in self.ends)],
            points_BP2,
        )
        logits: Tensor = self.head(column)
        return logits[..., :HUE_BINS], logits[..., HUE_BINS:]

    def _points(self, batch: Batch) -> Tensor:
        """Whole pixels (row, column), [B, P, 2], at least ``border`` from the border."""
        options = self.options
        reach = options.view.size - 2 * options.border
        drawn = batch["main"].random("points", (options.points, 2))
        found: Tensor = options.border + (drawn * reach).floor()
        return found
