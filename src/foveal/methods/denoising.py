"""Denoising autoencoder: rebuild the picture from a damaged copy of it.

Vincent, Larochelle, Bengio, Manzagol, "Extracting and Composing Robust Features with Denoising
Autoencoders", ICML 2008, and "Stacked Denoising Autoencoders", JMLR 11, 2010; the first entry of
the generation family in the survey of Jing and Tian. What is missing can only be filled in by who
knows what pictures look like. The plain autoencoder is ``amount=0``.

Cost: one forward a picture and a decoder. Failure signs: the loss stays near 1, the spread of the
pixels, or the features are no better than raw pixels: too little damage. Differences: one
convolutional network trained at once, not a stack of layers trained one by one.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from foveal.backbones.encoder import Encoder
from foveal.core.batch import Batch
from foveal.core.progress import Progress
from foveal.methods.base import BackboneMaker, DataInfo, Losses, Method, MethodOptions, Stream
from foveal.methods.decoders import Decoder, last_map
from foveal.views.presets import plain_view
from foveal.views.spec import View


class DenoisingOptions(MethodOptions):
    """Options of the denoising autoencoder."""

    view: View = Field(default_factory=plain_view, description="what is damaged and rebuilt")
    damage: Literal["mask", "gaussian", "salt_pepper"] = Field(
        "mask", description="set to the mean, noise added, or set to black or white"
    )
    amount: float = Field(
        0.25, ge=0, le=1, description="share of the cells, or the noise's sigma of [0, 1]"
    )
    cell: int = Field(1, gt=0, description="side in pixels of what is damaged together")
    emphasis: float = Field(
        0.5, ge=0, le=1, description="weight of damaged pixels, the others 1 - emphasis (2010)"
    )
    code: Literal["map", "pooled"] = Field(
        "map", description="what the decoder sees: the last map, or the vector"
    )


class Denoising(Method):
    """Rebuilds damaged pictures (2008, section 2)."""

    Options = DenoisingOptions
    title = "Denoising autoencoder"
    paper = "JMLR 11:3371, 2010"
    family = "generation"

    def __init__(self, make: BackboneMaker, data: DataInfo, options: DenoisingOptions) -> None:
        super().__init__(make, data, options)
        self.trunk = make()
        self.normalise = data.normalise()
        size = options.view.size
        if options.code == "map":
            end = last_map(self.trunk)
            self.code = end.name
            self.decoder = Decoder(end.channels, data.channels, size=size, stride=end.stride)
        else:
            self.code = "pooled"
            self.decoder = Decoder(self.trunk.dim, data.channels, size=size, stride=None)

    def streams(self) -> dict[str, Stream]:
        """One view a picture."""
        return {"main": Stream({"view": self.options.view})}

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Rebuilt pictures [B, C, H, W], normalised."""
        damaged, _ = self.damaged(batch)
        ends = () if self.code == "pooled" else (self.code,)
        return {"rebuilt": self.decoder(self.trunk(damaged, ends)[self.code])}

    def loss(self, out: dict[str, Tensor], batch: Batch, progress: Progress) -> Losses:
        """Squared error per normalised pixel, weighted: emphasis 0.5 is the plain mean."""
        whole = self.normalise(batch["main"].images("view"))
        _, hit_B1HW = self.damaged(batch)
        error = F.mse_loss(out["rebuilt"], whole, reduction="none")
        weight = torch.where(hit_B1HW, self.options.emphasis, 1 - self.options.emphasis)
        rows = (2 * weight * error).mean((1, 2, 3))
        return Losses(rows.mean(), {"error": error.detach().mean()})

    def damaged(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Damaged pictures, normalised, and which pixels were hit, bool [B, 1, H, W]."""
        main, o = batch["main"], self.options
        x = main.images("view")
        cells = -(-x.shape[-1] // o.cell)
        if o.damage == "gaussian":
            u = main.random("noise", (x.shape[1], cells, cells)).clamp(1e-6, 1 - 1e-6)
            noise = self._spread(torch.erfinv(2 * u - 1) * 2**0.5, x)
            hit = torch.ones_like(x[:, :1], dtype=torch.bool)
            return self.normalise(x + o.amount * noise), hit
        u = self._spread(main.random("hit", (1, cells, cells)), x)
        hit = u < o.amount
        if o.damage == "mask":
            return self.normalise(x).masked_fill(hit, 0.0), hit
        # Half of what is hit becomes white, half black.
        return self.normalise(torch.where(hit, (u < o.amount / 2).to(x.dtype), x)), hit

    def encoder(self) -> Encoder:
        """The trunk, on whole pictures."""
        return self.data.encoder(self.trunk, self.normalise)

    def trivial_losses(self) -> dict[str, float]:
        """What a network gives that knows nothing of the picture."""
        return {"1, what the mean colour gives": 1.0}

    def _spread(self, cells: Tensor, like: Tensor) -> Tensor:
        """[B, C, h, w] of cells to pixels."""
        side = self.options.cell
        pixels = cells.repeat_interleave(side, 2).repeat_interleave(side, 3)
        return pixels[:, :, : like.shape[2], : like.shape[3]]
