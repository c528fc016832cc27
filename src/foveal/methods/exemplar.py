"""Exemplar-CNN: every seed patch is a class of its own, its members are transformed copies of it.

Dosovitskiy, Fischer, Springenberg, Riedmiller, Brox, "Discriminative Unsupervised Feature Learning
with Exemplar Convolutional Neural Networks", NIPS 2014 and TPAMI 38(9), 2016. Telling patches
apart while ignoring the transformations makes features that are both.

Cost: ``copies`` forwards a seed; one decode of ``classes`` pictures before training; a classifier
as large as there are classes. Failure signs: loss at log N; more classes than the network can tell
apart (the paper: accuracy falls beyond some 8,000), since patches of flat or repeated content
collide. Differences: copies are drawn anew every time instead of K = 100 to 150 per seed made
beforehand (gain saturates there); the data's mean per channel is subtracted, not that of every
position of the patches; colliding classes are not merged by clustering.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.backbones.encoder import Encoder
from foveal.core.batch import Batch
from foveal.core.progress import Progress
from foveal.data.seeds import seed_patches
from foveal.data.sources import Source
from foveal.methods.base import (
    BackboneMaker,
    DataInfo,
    Losses,
    Method,
    MethodOptions,
    Samples,
    Stream,
)
from foveal.views.presets import exemplar_view
from foveal.views.spec import View


class ExemplarOptions(MethodOptions):
    """Options of Exemplar-CNN."""

    view: View = Field(default_factory=exemplar_view, description="the warps and colours of a seed")
    classes: int = Field(
        8000, ge=2, description="seed patches at most; 16,000 and 32,000 in larger nets"
    )
    per_picture: int = Field(
        1, ge=1, description="seed patches of one picture at most: those of one resemble each other"
    )
    scale: tuple[float, float] = Field(
        (1 / 3, 2 / 3), description="side of a seed as a share of the picture's short side"
    )
    copies: int = Field(1, ge=1, description="transformed copies of a seed in one batch")
    dropout: float = Field(0.5, ge=0, lt=1, description="of the features, before the classifier")

    @field_validator("scale")
    @classmethod
    def _range(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if not 0 < scale[0] <= scale[1] <= 1:
            raise ValueError("scale is (min, max) with 0 < min <= max <= 1")
        return scale


class Exemplar(Method):
    """Classifies transformed patches by their seed (section 3)."""

    Options = ExemplarOptions
    title = "Exemplar-CNN"
    paper = "arXiv 1406.6909"
    family = "similarity"

    def __init__(self, make: BackboneMaker, data: DataInfo, options: ExemplarOptions) -> None:
        super().__init__(make, data, options)
        self.names = [f"copy{i}" for i in range(options.copies)]
        self.trunk = make()
        self.normalise = data.normalise()
        self.dropout = nn.Dropout(options.dropout)
        self.head = nn.Linear(self.trunk.dim, data.samples)

    def samples(self, source: Source) -> Samples:
        """The seeds: row = class."""
        o = self.options
        count = min(o.classes, o.per_picture * len(source))
        image, box = seed_patches(source, count, scale=o.scale, seed=self.data.seed)
        return Samples(image, box)

    def streams(self) -> dict[str, Stream]:
        """Copies of every seed, each with its own draws."""
        return {"main": Stream(dict.fromkeys(self.names, self.options.view))}

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Logits over the seeds, [B, copies, N]."""
        main = batch["main"]
        x = torch.stack([main.images(name) for name in self.names], dim=1).flatten(0, 1)
        x = self.normalise(x).contiguous(memory_format=torch.channels_last)
        logits = self.head(self.dropout(self.trunk(x)["pooled"]))
        return {"logits": logits.unflatten(0, (len(main), -1))}

    def loss(self, out: dict[str, Tensor], batch: Batch, progress: Progress) -> Losses:
        """Mean cross-entropy over all copies (equation 2)."""
        logits = out["logits"]
        seed = batch["main"].index
        each = seed.repeat_interleave(self.options.copies)
        loss = F.cross_entropy(logits.flatten(0, 1), each)
        log = {"seed_accuracy": (logits.detach().flatten(0, 1).argmax(1) == each).float().mean()}
        if self.options.copies > 1:
            log["invariance"] = invariance(logits.detach())
        return Losses(loss, log)

    def encoder(self) -> Encoder:
        """The trunk, everything but the classifier."""
        return self.data.encoder(self.trunk, self.normalise)

    def trivial_losses(self) -> dict[str, float]:
        """What guessing gives."""
        n = self.data.samples
        return {f"log {n:,}, what guessing the seed gives": math.log(n)}


def invariance(logits_BTN: Tensor) -> Tensor:
    """What the loss holds beyond that of each seed's mean features: >= 0 (section 3.3).

    ``mean over T of log sum exp(h(T x)) - log sum exp(mean h)``, mean over seeds; 0 where the
    logits of all copies agree up to a constant. The rest of the loss, the cross-entropy of the
    mean logits, tells seeds apart.
    """
    of_mean = logits_BTN.mean(1).logsumexp(1)
    return (logits_BTN.logsumexp(2).mean(1) - of_mean).mean()
