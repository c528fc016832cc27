"""SimCLR: pick the other view of a picture among all other views of the batch.

Chen, Kornblith, Norouzi, Hinton, "A Simple Framework for Contrastive Learning of Visual
Representations", ICML 2020. Strong crops and colour, a head that is thrown away, large batches.

Cost: two forwards a picture. Failure signs: the loss stays at log(2B - 1), partner accuracy near
1 / (2B - 1). The released code sums the losses of the two views, twice the paper's equation 1,
which is what stands here; brightness multiplies, as in version 2 of the code (``jitter.additive``
is version 1).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from foveal.backbones.encoder import Encoder
from foveal.core.batch import Batch
from foveal.core.progress import Progress
from foveal.losses.infonce import nt_xent
from foveal.methods.base import (
    BackboneMaker,
    DataInfo,
    Losses,
    Method,
    MethodOptions,
    Stream,
)
from foveal.methods.heads import draw_linear, mlp
from foveal.views.presets import simclr_view
from foveal.views.spec import View


class SimCLROptions(MethodOptions):
    """Options of SimCLR."""

    view: View = Field(default_factory=simclr_view, description="drawn twice for each picture")
    temperature: float = Field(0.1, gt=0, description="0.1 on ImageNet, 0.5 on CIFAR-10")
    head_layers: int = Field(
        2, ge=0, le=4, description="linear layers of the head; 1 is linear, 0 is none"
    )
    head_hidden: int | None = Field(None, gt=0, description="None: as wide as the features")
    head_outputs: int = Field(128, gt=0)
    head_norm: Literal["batch", "layer"] = Field(
        "batch", description="layer: for GradCache, with network.norm=group"
    )
    normalise: bool = Field(True, description="compare directions, not vectors")


class SimCLR(Method):
    """Contrasts two views of every picture with all others (section 2)."""

    Options = SimCLROptions
    title = "SimCLR"
    paper = "arXiv 2002.05709"
    family = "similarity"
    couples_samples = True

    def __init__(self, make: BackboneMaker, data: DataInfo, options: SimCLROptions) -> None:
        super().__init__(make, data, options)
        self.trunk = make()
        self.normalise = data.normalise()
        self.head = mlp(
            self.trunk.dim,
            options.head_hidden or self.trunk.dim,
            options.head_outputs,
            layers=options.head_layers,
            hidden_bias=False,
            output_bias=False,
            output_norm=True,
            norm=options.head_norm,
        )
        draw_linear(self.head)

    def streams(self) -> dict[str, Stream]:
        """Two views of one distribution."""
        return {"main": Stream({"a": self.options.view, "b": self.options.view})}

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Projections of both views, [B, D] each; batch norm sees the two together."""
        main = batch["main"]
        x = torch.cat([main.images("a"), main.images("b")])
        a_BD, b_BD = self.head(self.trunk(self.normalise(x))["pooled"]).chunk(2)
        return {"a": a_BD, "b": b_BD}

    def loss(self, out: dict[str, Tensor], batch: Batch, progress: Progress) -> Losses:
        """NT-Xent (equation 1)."""
        o = self.options
        loss, correct = nt_xent(
            out["a"], out["b"], temperature=o.temperature, normalise=o.normalise
        )
        return Losses(loss, {"partner_accuracy": correct})

    def encoder(self) -> Encoder:
        """The trunk: the head's output transfers worse (section 4.2)."""
        return self.data.encoder(self.trunk, self.normalise)

    def trivial_losses(self) -> dict[str, float]:
        """What guessing gives."""
        others = 2 * self.data.batch - 1
        return {f"log {others}, what guessing the partner gives": math.log(max(1, others))}
