"""Colorization: see the lightness of a picture, say the colour of its places.

Zhang, Isola, Efros, "Colorful Image Colorization", ECCV 2016. To know the colour of a place the
network has to know what stands there, and the colours come with every picture. Colour is one of
313 classes, since a regression would answer with the dull mean of all that is possible; rare
colours weigh more. ``colorization_proxy`` is Larsson et al.'s form of the idea.

Cost: one forward and backward a picture, and 313 logits a place. Failure signs: the loss stays at
ln 313 = 5.746, or the same brown everywhere. Pictures without colour are refused; single grey ones
are left out of the loss.

Where this differs from the paper: frequencies of colours are those of the pictures at hand (a
sample is looked at once, before the first step), not ImageNet's. The soft code takes the paper's 5
neighbours; the released code takes 10. The loss is a mean over places where Caffe's was a sum.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from foveal.backbones.encoder import Encoder
from foveal.backbones.hypercolumn import sample_grid
from foveal.backbones.inputs import Lab, Normalise
from foveal.core.batch import Batch
from foveal.core.colour import lab_to_rgb
from foveal.core.progress import Progress
from foveal.losses.colour import (
    AB_BINS,
    ab_bins,
    annealed_mean,
    coloured,
    lab_at,
    soft_code,
    soft_cross_entropy,
)
from foveal.methods.base import (
    BackboneMaker,
    DataInfo,
    FeaturePass,
    Losses,
    Method,
    MethodOptions,
    Refreshed,
    Stream,
)
from foveal.methods.heads import map_head
from foveal.methods.palette import colour_shares, colour_weights
from foveal.views.spec import Crop, View


class ColorizationOptions(MethodOptions):
    """Options of colorization."""

    view: View = Field(
        View(size=180, crop=Crop(kind="resize_random", resize=256)),
        description="nothing that changes colours belongs here",
    )
    stride: int = Field(8, ge=1, description="every so many pixels the colour is asked for")
    neighbours: int = Field(
        5, ge=1, le=AB_BINS, description="bins of the soft target: K, the hardness of the task"
    )
    uniform: float = Field(
        0.5, ge=0, le=1, description="rebalancing: 1 weighs all colours alike, 0 by 1 / frequency"
    )
    counted: int = Field(10_000, ge=1, description="pictures whose colours are counted")
    hidden: int = Field(0, ge=0, description="width of a 1x1 layer before the logits; 0: none")


class Colorization(Method):
    """Classifies the colour of places (section 2)."""

    Options = ColorizationOptions
    title = "Colorization"
    paper = "arXiv 1603.08511"
    family = "generation"

    bins: Tensor
    weight: Tensor
    guess: Tensor

    def __init__(self, make: BackboneMaker, data: DataInfo, options: ColorizationOptions) -> None:
        super().__init__(make, data, options)
        data.require_colour("colorization")
        self.trunk = make(in_chans=1)
        self.end = self.trunk.maps()[-1]
        self.lightness, self.centre = Lab([0]), Normalise([50.0], [1.0])
        self.head = map_head(self.end.channels, options.hidden, AB_BINS)
        self.register_buffer("bins", ab_bins(), persistent=False)
        self.register_buffer("weight", torch.ones(AB_BINS))
        self.register_buffer("guess", torch.tensor(math.log(AB_BINS)))

    def streams(self) -> dict[str, Stream]:
        """One view a picture."""
        return {"main": Stream({"view": self.options.view})}

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Logits of every cell of the last map, [B, Q, h, w]."""
        return {"logits": self._logits(batch["main"].images("view"))}

    def loss(self, out: dict[str, Tensor], batch: Batch, progress: Progress) -> Losses:
        """Rebalanced cross-entropy with the soft target at every ``stride``-th pixel (eq. 2)."""
        ab_BP2 = self._colours(batch["main"].images("view"))
        which, share = soft_code(ab_BP2, self.bins, self.options.neighbours)
        size = self.options.view.size
        logits_BPQ = sample_grid(out["logits"], self.end.stride, (size, size), self.options.stride)
        loss_BP = soft_cross_entropy(logits_BPQ, which, share)
        counts_B1 = coloured(ab_BP2)[:, None].float()
        loss = (self.weight[which[..., 0]] * counts_B1 * loss_BP).mean()
        hit = (logits_BPQ.detach().argmax(2) == which[..., 0]).float().mean()
        return Losses(loss, {"colour_accuracy": hit, "coloured": counts_B1.mean()})

    def encoder(self) -> Encoder:
        """The trunk on the lightness of RGB pictures."""
        return self.data.encoder(self.trunk, self.lightness, self.centre)

    def refresh_due(self, progress: Progress) -> bool:
        """Once, before the first step."""
        return progress.refreshes == 0

    def refresh(self, run: FeaturePass, progress: Progress) -> Refreshed:
        """Counts the colours of a sample of the pictures and weighs the rare ones up."""
        o: ColorizationOptions = self.options
        share = colour_shares(run, o.view, self._colours, self.bins, o.counted)
        self.weight.copy_(colour_weights(share, self.bins, o.uniform))
        self.guess.copy_(math.log(AB_BINS) * (share * self.weight).sum())
        used = float((share > 0).sum())
        return Refreshed(log={"colours_seen": used, "coloured": float(share.sum())})

    def trivial_losses(self) -> dict[str, float]:
        """What a uniform guess gives."""
        return {f"what a uniform guess over {AB_BINS} colours gives": float(self.guess)}

    @torch.no_grad()
    def colourise(self, images: Tensor) -> Tensor:
        """Pictures [B, 3, H, W] with the colours the network gives their lightness, in [0, 1]."""
        b, _, h, w = images.shape
        ab_Bhw2 = annealed_mean(self._logits(images).movedim(1, -1).float(), self.bins)
        ab_BP2 = sample_grid(ab_Bhw2.movedim(-1, 1), self.end.stride, (h, w), 1)
        ab = ab_BP2.transpose(1, 2).reshape(b, 2, h, w)
        return lab_to_rgb(torch.cat([self.lightness(images), ab], dim=1)).clamp(0, 1)

    def _logits(self, images: Tensor) -> Tensor:
        found = self.trunk(self.centre(self.lightness(images)), [self.end.name])
        logits: Tensor = self.head(found[self.end.name])
        return logits

    def _colours(self, images: Tensor) -> Tensor:
        """The a and b of every ``stride``-th pixel, [B, P, 2]."""
        return lab_at(images, self.options.stride)[..., 1:]
