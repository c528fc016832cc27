"""Split-brain autoencoder: each half of the network sees what the other half has to predict.

Zhang, Isola, Efros, "Split-Brain Autoencoders: Unsupervised Learning by Cross-Channel Prediction",
CVPR 2017. The picture is cut into lightness and colour (L and ab of Lab). One half of the network
predicts colour from lightness, the other lightness from colour; side by side they have seen the
whole picture, and neither was ever asked to copy its input. No weight and no statistic is shared.

Cost: two forwards and backwards of half as wide a network, together about half the work of the
whole one. Failure signs: the losses stay at ln 313 = 5.746 and ln 100 = 4.605, or ``ab_accuracy``
at the share of the commonest colour. Pictures without colour are refused; a single grey one is left
out of the loss of the half that predicts colour.

Where this differs from the paper: the two halves train in one run (they share no parameter, so
this changes nothing). The target of colour is soft as in "Colorful Image Colorization";
``neighbours=1`` makes it one-hot: the paper does not say. Rare colours weigh as much as others;
``uniform`` below 1 weighs them up as that paper does.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.backbones.base import Backbone
from foveal.backbones.encoder import Encoder
from foveal.backbones.hypercolumn import sample_grid
from foveal.backbones.inputs import Lab, Normalise
from foveal.core.batch import Batch
from foveal.core.progress import Progress
from foveal.losses.colour import (
    AB_BINS,
    L_BINS,
    ab_bins,
    coloured,
    lab_at,
    lightness_bin,
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


class SplitBrainOptions(MethodOptions):
    """Options of split_brain."""

    view: View = Field(
        View(size=180, crop=Crop(kind="resize_random", resize=256)),
        description="nothing that changes colours belongs here",
    )
    stride: int = Field(8, ge=1, description="every so many pixels the other half is asked for")
    loss: Literal["classification", "regression"] = Field(
        "classification", description="of 313 colours and 100 lightnesses, or of their values"
    )
    neighbours: int = Field(
        5, ge=1, le=AB_BINS, description="classification: bins of the soft target of colour"
    )
    uniform: float = Field(
        1.0,
        ge=0,
        le=1,
        description="classification: 1 weighs all colours alike, 0 by 1 / frequency, 0.5 as in "
        "colorization",
    )
    counted: int = Field(
        10_000, ge=1, description="pictures whose colours are counted for uniform below 1"
    )
    hidden: int = Field(0, ge=0, description="width of a 1x1 layer before the outputs; 0: none")


class SplitBrain(Method):
    """Predicts ab from L and L from ab by two networks of half the width (section 3)."""

    Options = SplitBrainOptions
    title = "Split-brain autoencoder"
    paper = "arXiv 1611.09842"
    family = "generation"

    bins: Tensor
    weight: Tensor

    def __init__(self, make: BackboneMaker, data: DataInfo, options: SplitBrainOptions) -> None:
        super().__init__(make, data, options)
        data.require_colour("split_brain")
        trunks = {"l": make(in_chans=1, width=0.5), "ab": make(in_chans=2, width=0.5)}
        self.end = trunks["l"].maps()[-1]
        self.halves = nn.ModuleDict(trunks)
        self.inputs = nn.ModuleDict(
            {
                "l": nn.Sequential(Lab([0]), Normalise([50.0], [1.0])),
                "ab": nn.Sequential(Lab([1, 2])),
            }
        )
        classes = options.loss == "classification"
        outputs = {"l": AB_BINS if classes else 2, "ab": L_BINS if classes else 1}
        self.heads = nn.ModuleDict(
            {k: map_head(self.end.channels, options.hidden, n) for k, n in outputs.items()}
        )
        self.register_buffer("bins", ab_bins(), persistent=False)
        self.rebalanced = classes and options.uniform < 1
        self.register_buffer("weight", torch.ones(AB_BINS), persistent=self.rebalanced)

    def streams(self) -> dict[str, Stream]:
        """One view a picture, for both halves."""
        return {"main": Stream({"view": self.options.view})}

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """What each half says of the other's channels, ``from_l`` and ``from_ab`` [B, *, h, w]."""
        images = batch["main"].images("view")
        found = {}
        for k, half in self.halves.items():
            maps = half(self.inputs[k](images), [self.end.name])
            found[f"from_{k}"] = self.heads[k](maps[self.end.name])
        return found

    def loss(self, out: dict[str, Tensor], batch: Batch, progress: Progress) -> Losses:
        """The sum of both halves' losses, means over places (equations 1 to 3)."""
        lab_BP3 = lab_at(batch["main"].images("view"), self.options.stride)
        lightness, ab = lab_BP3[..., 0], lab_BP3[..., 1:]
        size = self.options.view.size
        from_l, from_ab = (
            sample_grid(out[k], self.end.stride, (size, size), self.options.stride)
            for k in ("from_l", "from_ab")
        )
        log: dict[str, Tensor] = {}
        if self.options.loss == "classification":
            which, share = soft_code(ab, self.bins, self.options.neighbours)
            target = lightness_bin(lightness)
            of_ab = self.weight[which[..., 0]] * soft_cross_entropy(from_l, which, share)
            of_l = F.cross_entropy(from_ab.flatten(0, 1), target.flatten(), reduction="none")
            log["ab_accuracy"] = (from_l.detach().argmax(2) == which[..., 0]).float().mean()
            log["l_accuracy"] = (from_ab.detach().argmax(2) == target).float().mean()
        else:
            of_ab = 0.5 * (from_l - ab).square().sum(2)
            of_l = 0.5 * (from_ab[..., 0] - (lightness - 50)).square()
        loss_ab = (of_ab * coloured(ab)[:, None]).mean()
        loss_l = of_l.mean()
        log |= {"loss_ab": loss_ab.detach(), "loss_l": loss_l.detach()}
        return Losses(loss_ab + loss_l, log)

    def encoder(self) -> Encoder:
        """Both halves on RGB pictures, each end point's channels side by side."""
        return Encoder(
            [half for half in self.halves.values() if isinstance(half, Backbone)],
            [list(self.inputs[k].children()) for k in self.halves],
            channels=self.data.channels,
            size=self.data.size,
            fraction=self.data.fraction,
        )

    def refresh_due(self, progress: Progress) -> bool:
        """Once, before the first step, where rare colours weigh more."""
        return self.rebalanced and progress.refreshes == 0

    def refresh(self, run: FeaturePass, progress: Progress) -> Refreshed:
        """Counts the colours of a sample of the pictures and weighs the rare ones up."""
        o: SplitBrainOptions = self.options

        def colours(images: Tensor) -> Tensor:
            return lab_at(images, o.stride)[..., 1:]

        share = colour_shares(run, o.view, colours, self.bins, o.counted)
        self.weight.copy_(colour_weights(share, self.bins, o.uniform))
        return Refreshed(log={"coloured": float(share.sum())})

    def trivial_losses(self) -> dict[str, float]:
        """What a uniform guess gives."""
        if self.options.loss == "regression" or self.rebalanced:
            return {}
        level = math.log(AB_BINS) + math.log(L_BINS)
        return {
            f"what a uniform guess over {AB_BINS} colours and {L_BINS} lightnesses gives": level
        }
