"""Exemplar by triplets: views of one picture are nearer to each other than to other pictures.

The form without a classifier of Dosovitskiy's task (see ``exemplar``), which scales to any number
of pictures: Doersch, Zisserman, "Multi-task Self-Supervised Visual Learning", ICCV 2017, and
Kolesnikov, Zhai, Beyer, "Revisiting Self-Supervised Visual Representation Learning", CVPR 2019,
whose values the defaults are. Doersch & Zisserman take two patches a picture, the cosine distance,
every negative of the batch, the warps and colours of Exemplar-CNN (``exemplar_triplet/patches``).

Cost: ``copies`` forwards a picture. Failure signs: the loss stays at the margin however long, and
``active`` at 1: all embeddings are equal. Differences: the released code of Kolesnikov et al.
normalises every dimension over the batch (``normalise="columns"``), here every embedding; it trains
on standardised pictures and tests on pictures scaled to [-1, 1], here both are standardised.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from foveal.backbones.encoder import Encoder
from foveal.backbones.inputs import Standardise
from foveal.core.batch import Batch
from foveal.core.progress import Progress
from foveal.losses.triplet import Distance, Mining, Normalise, triplet_loss
from foveal.methods.base import BackboneMaker, DataInfo, Losses, Method, MethodOptions, Stream
from foveal.methods.heads import mlp
from foveal.views.presets import inception_view
from foveal.views.spec import View


class ExemplarTripletOptions(MethodOptions):
    """Options of the triplet form."""

    view: View = Field(default_factory=lambda: inception_view(grey=0.66))
    copies: int = Field(8, ge=2, description="views of a picture in one batch")
    margin: float = Field(0.5, ge=0)
    soft: bool = Field(False, description="log(1 + exp(x)) in place of max(0, x)")
    distance: Distance = Field("squared", description="squared Euclidean, its root, or 1 - cos")
    mining: Mining = Field(
        "semi_hard", description="one negative a pair, all of the batch, or one triplet an anchor"
    )
    normalise: Normalise = Field("rows", description="columns: the released code's quirk")
    head_layers: int = Field(1, ge=1, le=4, description="linear layers of the head")
    head_hidden: int = Field(1024, gt=0, description="units between them")
    head_outputs: int = Field(1000, gt=0)
    standardise: bool = Field(
        True, description="each picture by its own mean and spread; False: by the data's"
    )


class ExemplarTriplet(Method):
    """Triplets of views within the batch (Kolesnikov et al., section 3.1)."""

    Options = ExemplarTripletOptions
    title = "Exemplar, triplets"
    paper = "arXiv 1901.09005"
    family = "similarity"
    couples_samples = True

    def __init__(
        self, make: BackboneMaker, data: DataInfo, options: ExemplarTripletOptions
    ) -> None:
        super().__init__(make, data, options)
        o = options
        self.names = [f"copy{i}" for i in range(o.copies)]
        self.trunk = make()
        self.input = Standardise("all", "all", None) if o.standardise else data.normalise()
        self.head = mlp(self.trunk.dim, o.head_hidden, o.head_outputs, layers=o.head_layers)

    def streams(self) -> dict[str, Stream]:
        """Views of one distribution, each with its own draws."""
        return {"main": Stream(dict.fromkeys(self.names, self.options.view))}

    def shown(self, batch: Batch) -> Tensor:
        """The views, those of one picture side by side, [B copies, C, H, W] in [0, 1]."""
        views = [batch["main"].images(name) for name in self.names]
        x = torch.stack(views, dim=1).flatten(0, 1)
        return x.contiguous(memory_format=torch.channels_last)

    def answers(self, features: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Embeddings [B, copies, D]."""
        return {"z": self.head(features).unflatten(0, (len(batch["main"]), -1))}

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """See ``answers``; batch norm sees all views together."""
        return self.answers(self.trunk(self.input(self.shown(batch)))["pooled"], batch)

    def loss(self, out: dict[str, Tensor], batch: Batch, progress: Progress) -> Losses:
        """Mean over the triplets of the batch."""
        o = self.options
        loss, active = triplet_loss(
            out["z"].flatten(0, 1),
            batch["main"].index.repeat_interleave(o.copies),
            margin=o.margin,
            distance=o.distance,
            mining=o.mining,
            normalise=o.normalise,
            soft=o.soft,
        )
        return Losses(loss, {"active": active})

    def encoder(self) -> Encoder:
        """The trunk: pre-logits (Kolesnikov et al., section 4)."""
        return self.data.encoder(self.trunk, self.input)

    def trivial_losses(self) -> dict[str, float]:
        """What a network gives that says the same about every picture."""
        margin = float(self.options.margin)
        if self.options.soft:
            return {"what equal embeddings give": math.log1p(math.exp(margin))}
        return {"the margin, what equal embeddings give": margin}
