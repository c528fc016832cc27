"""Watching objects move: tell from one still frame what would move.

Pathak, Girshick, Dollár, Darrell, Hariharan, "Learning Features by Watching Objects Move", CVPR
2017. ``foveal data motion`` segments videos by motion; the network predicts these masks from
single frames. To say what would move it has to know objects; the noise of the masks does not
repeat, and averages out.

Cost: one forward a frame. Failure signs: loss at log 2, or overlap not above that of a centred
blob (frames are cropped around the object, so a blob in the middle scores well by itself).
Differences: no training code was published. The loss is the mean over the valid pixels of each
picture, then over pictures, so that it does not depend on ranks. Region and jitter of the crops are
stated as one square around the object, of which random squares are taken.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.backbones.encoder import Encoder
from foveal.core.batch import Batch
from foveal.core.progress import Progress
from foveal.data.masked import MaskedSource, SoftMask, spread_over_shots, squares_around
from foveal.data.sources import Source
from foveal.errors import FovealError
from foveal.methods.base import (
    BackboneMaker,
    DataInfo,
    Losses,
    Method,
    MethodOptions,
    Samples,
    Stream,
)
from foveal.views.spec import Crop, View


def object_view(size: int = 227) -> View:
    """A random square of a sample's region: side by a quarter octave either way, anywhere in it."""
    return View(size=size, crop=Crop(scale=(0.4, 0.8), ratio=(1.0, 1.0)))


class MotionSegmentsOptions(MethodOptions):
    """Options of the segmenter."""

    view: View = Field(default_factory=object_view, description="cut from the sample's region")
    region: float = Field(
        2.3, ge=1, description="side of the region as a multiple of the blob's longer side"
    )
    target: int = Field(56, ge=2, description="side of the mask that is predicted, in pixels")
    grid: int = Field(56, ge=2, description="side of the logits, then brought to `target`")
    end: str | None = Field(
        None, description="end point that is read; None: the last map; pooled: the vector"
    )
    reduce: int = Field(128, ge=1, description="channels of the 1x1 convolution on a map")
    bottleneck: int | None = Field(512, ge=1, description="linear layer before the logits")
    foreground: float = Field(0.7, gt=0, le=1, description="soft votes above: object")
    background: float = Field(
        0.4, ge=0, lt=1, description="soft votes below: not; what is between has no loss"
    )
    least: float = Field(0.02, ge=0, le=1, description="share of the frame: smaller masks are left "
                         "out")  # fmt: skip
    most: float = Field(0.7, ge=0, le=1, description="larger masks are left out")
    border: float = Field(0.25, ge=0, le=1, description="masks on more of the border are left out")
    per_shot: int | None = Field(
        10, ge=1, description="frames of a shot, spread evenly; None: all of them"
    )


class MotionSegments(Method):
    """Predicts the motion mask of a still frame (section 4)."""

    Options = MotionSegmentsOptions
    title = "Watching objects move"
    paper = "arXiv 1612.06370"
    family = "free labels"
    needs_masks = True

    def __init__(self, make: BackboneMaker, data: DataInfo, options: MotionSegmentsOptions) -> None:
        super().__init__(make, data, options)
        self.trunk = make()
        self.normalise = data.normalise()
        maps = [end.name for end in self.trunk.ends if end.kind == "map"]
        self.end = options.end or (maps[-1] if maps else "pooled")
        self.reduce: nn.Module = nn.Identity()
        size = self.trunk.dim
        if self.end != "pooled":
            channels = next(e.channels for e in self.trunk.ends if e.name == self.end)
            self.reduce = nn.Sequential(nn.Conv2d(channels, options.reduce, 1), nn.ReLU())
            size = options.reduce * self._cells(options.view.size, data.channels)
        last = options.bottleneck or size
        self.bottleneck = nn.Linear(size, last) if options.bottleneck else nn.Identity()
        self.head = nn.Linear(last, options.grid**2)

    def _cells(self, side: int, channels: int) -> int:
        """Positions of the map that is read."""
        self.trunk.eval()
        with torch.no_grad():
            found = self.trunk(torch.zeros(1, channels, side, side), (self.end,))[self.end]
        self.trunk.train()
        return int(found.shape[2] * found.shape[3])

    def samples(self, source: Source) -> Samples:
        """Frames whose mask is of use, each with the region around its largest blob."""
        if not isinstance(source, MaskedSource):
            raise FovealError(
                f"motion_segments learns from frames with masks, and {source.root} has none here",
                hint="foveal data motion VIDEO OUT, then foveal pretrain OUT, with cache.tier=none",
            )
        o = self.options
        useful = (source.foreground >= o.least) & (source.foreground <= o.most)
        rows = np.flatnonzero(useful & (source.border <= o.border))
        if o.per_shot is not None:
            rows = spread_over_shots(rows, source.shot[rows], o.per_shot)
        if not len(rows):
            raise FovealError(
                f"no mask of {source.root} covers {o.least:.0%} to {o.most:.0%} of its frame",
                hint="options.least=0.01, or look at the masks",
            )
        box = squares_around(source.box[rows], source.size[rows], o.region)
        return Samples(rows, box, {"mask": SoftMask(source, "view", o.target)})

    def streams(self) -> dict[str, Stream]:
        """One view a frame; the mask moves with it."""
        return {"main": Stream({"view": self.options.view})}

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Logits [B, target, target]."""
        ends = () if self.end == "pooled" else (self.end,)
        found = self.trunk(self.normalise(batch["main"].images("view")), ends)[self.end]
        logits = self.head(self.bottleneck(self.reduce(found).flatten(1)))
        logits = logits.unflatten(1, (1, self.options.grid, self.options.grid))
        if self.options.grid != self.options.target:
            side = (self.options.target, self.options.target)
            logits = F.interpolate(logits, side, mode="bilinear", align_corners=False)
        return {"logits": logits[:, 0]}

    def loss(self, out: dict[str, Tensor], batch: Batch, progress: Progress) -> Losses:
        """Logistic loss per pixel; doubtful pixels have none."""
        o, soft, logits = self.options, batch["main"].targets["mask"], out["logits"]
        loss = trimap_loss(logits, soft, o.foreground, o.background).mean()
        said, is_object = logits.detach() > 0, soft > o.foreground
        valid = is_object | (soft < o.background)
        both = (said & is_object & valid).sum((1, 2))
        either = ((said | is_object) & valid).sum((1, 2))
        return Losses(loss, {"overlap": (both / either.clamp(min=1)).mean()})

    def encoder(self) -> Encoder:
        """The trunk."""
        return self.data.encoder(self.trunk, self.normalise)

    def trivial_losses(self) -> dict[str, float]:
        """What saying nothing costs."""
        return {"log 2, what being undecided everywhere costs": math.log(2)}


def trimap_loss(logits: Tensor, soft: Tensor, foreground: float, background: float) -> Tensor:
    """[B, ...] -> [B]: mean logistic loss over the valid pixels of each sample; 0 without any."""
    logits, soft = logits.flatten(1).float(), soft.flatten(1)
    is_object = soft > foreground
    valid = is_object | (soft < background)
    each = F.binary_cross_entropy_with_logits(logits, is_object.float(), reduction="none")
    return (each * valid).sum(1) / valid.sum(1).clamp(min=1)
