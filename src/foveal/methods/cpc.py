"""CPC v2: tell from the rows of a picture seen so far which patch comes some rows further down.

Hénaff, Srinivas, De Fauw, Razavi, Doersch, Eslami, van den Oord, "Data-efficient image recognition
with contrastive predictive coding", ICML 2020. A picture is cut into overlapping patches; each is
coloured and warped by draws of its own and encoded alone. A network that sees no row below a place
sums up what is above it, and predicts the patch ``offsets`` rows down, which has to be told from
all other patches of the picture and of its group of pictures. The same for the map turned by 90,
180 and 270 degrees.

Cost: 6 x 6 patches of 80 px are 4.6 views of 224 px a picture, forward and backward. Failure signs:
the loss stays at log(36 group); patch accuracy near 100 % in the first epoch: offsets whose patches
overlap the context, or a batch norm through which patches see each other.

Where it departs: elastic deformation, the colour-histogram change, sample pairing and cutout are
left out, and AutoAugment's brightness, contrast and colour with them, as Inception's distortion
changes them anyway. The four directions' losses are averaged, not summed.

Legend: B samples, T patches, H, W rows and columns of the grid, D features, P predicted values,
K offsets, R directions.
"""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Literal

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from foveal.backbones.encoder import Encoder
from foveal.core.batch import Batch
from foveal.core.ema import copy_buffers, ema_update
from foveal.core.progress import Progress
from foveal.losses.infonce import patch_nce
from foveal.methods.base import BackboneMaker, DataInfo, Losses, Method, MethodOptions, Stream
from foveal.methods.row_context import RowContext
from foveal.methods.tiles import tile_features
from foveal.views.presets import cpc_view
from foveal.views.spec import View


class CPCOptions(MethodOptions):
    """Options of CPC v2."""

    view: View = Field(default_factory=cpc_view, description="its tiles are the patches")
    norm: Literal["channel", "layer", "group", "batch"] | None = Field(
        "channel", description="of the trunk; batch lets patches see each other; None: network.norm"
    )
    offsets: tuple[int, ...] = Field(
        (3,), min_length=1, description="rows ahead; nearer ones overlap what was seen"
    )
    directions: Literal[1, 2, 4] = Field(4, description="down; and up; and to both sides")
    blocks: int = Field(5, ge=1, description="of the context network: rows that it looks up")
    hidden: int = Field(256, gt=0, description="channels inside these blocks")
    outputs: int = Field(64, gt=0, description="values that are predicted")
    scale: float = Field(0.1, gt=0, description="of the predictions")
    group: int | None = Field(
        16,
        gt=0,
        description="consecutive pictures whose patches are told apart: what a worker of the paper "
        "holds; None: the whole batch",
    )
    average: float = Field(
        0.9999, ge=0, lt=1, description="decay of the averaged weights handed over; 0: the last"
    )
    encode: Literal["patches", "picture"] = Field(
        "patches", description="pictures patch by patch, or whole"
    )
    join: Literal["mean", "max"] = Field(
        "mean", description="what is made of the patches' features; the paper's is the mean"
    )
    grid: int | None = Field(
        None, ge=1, description="patches along a side that are read; None: those of the view"
    )

    @field_validator("offsets")
    @classmethod
    def _ahead(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if min(value) < 1 or len(set(value)) < len(value):
            raise ValueError("offsets are different numbers of rows, 1 or more")
        return value

    @model_validator(mode="after")
    def _square(self) -> CPCOptions:
        tiles = self.view.tiles
        if tiles is None or tiles.rows != tiles.columns or tiles.jitter:
            raise ValueError("patches need view.tiles, as many rows as columns, without jitter")
        if max(self.offsets) >= tiles.rows:
            raise ValueError(f"offsets={self.offsets} reach out of {tiles.rows} rows of patches")
        return self


class Direction(nn.Module):
    """What one direction learns: its context, the targets and a prediction for every offset."""

    def __init__(self, features: int, options: CPCOptions) -> None:
        super().__init__()
        o = options
        self.context = RowContext(features, o.hidden, o.blocks)
        self.target = nn.Conv2d(features, o.outputs, 1)
        self.predict = nn.Conv2d(features, o.outputs * len(o.offsets), 1)

    def forward(self, z_BDHW: Tensor) -> tuple[Tensor, Tensor]:
        """Targets [B, P, H, W] and predictions [B, K P, H, W] of a map whose rows go this way."""
        return self.target(z_BDHW), self.predict(self.context(z_BDHW))


class CPC(Method):
    """Predicts patches from the rows before them (section 2 and the appendix)."""

    Options = CPCOptions
    title = "CPC v2"
    paper = "arXiv 1905.09272"
    family = "similarity"
    couples_samples = True
    least_view = 48

    def __init__(self, make: BackboneMaker, data: DataInfo, options: CPCOptions) -> None:
        super().__init__(make, data, options)
        o = options
        self.trunk = make() if o.norm is None else make(norm=o.norm)
        self.normalise = data.normalise()
        self.directions = nn.ModuleList(Direction(self.trunk.dim, o) for _ in range(o.directions))
        self.averaged = deepcopy(self.trunk).requires_grad_(False) if o.average else None

    def streams(self) -> dict[str, Stream]:
        """The patches of a picture."""
        return {"main": Stream({"view": self.options.view})}

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """``targets`` [B, R, P, H, W] and ``predictions`` [B, R, K P, H, W]."""
        side = self.options.view.tiles.rows
        z_BTD = tile_features(self.trunk, self.normalise, batch["main"].images("view"))
        z_BDHW = z_BTD.transpose(1, 2).reshape(len(z_BTD), -1, side, side)
        found = [
            direction(torch.rot90(z_BDHW, turns, (2, 3)))
            for direction, turns in zip(self.directions, self._turns(), strict=True)
        ]
        targets, predictions = zip(*found, strict=True)
        return {"targets": torch.stack(targets, 1), "predictions": torch.stack(predictions, 1)}

    def loss(self, out: dict[str, Tensor], batch: Batch, progress: Progress) -> Losses:
        """InfoNCE over the patches of every group, mean over directions and offsets."""
        o = self.options
        shape = (*out["targets"].shape[:2], len(o.offsets), *out["targets"].shape[2:])
        ahead = out["predictions"].reshape(shape)
        found = [
            patch_nce(ahead[:, r, k], out["targets"][:, r], offset, scale=o.scale, group=o.group)
            for r in range(o.directions)
            for k, offset in enumerate(o.offsets)
        ]
        losses, accuracies = (torch.stack(column) for column in zip(*found, strict=True))
        return Losses(losses.mean(), {"patch_accuracy": accuracies.mean()})

    def encoder(self) -> Encoder:
        """The averaged trunk on the grid of patches it learned from, or on whole pictures."""
        trunk = self.trunk if self.averaged is None else self.averaged
        if self.options.encode == "picture":
            return self.data.encoder(trunk.for_pictures(), self.normalise)
        tiles = self.options.view.tiles
        overlap = max(0.0, 1 - tiles.stride / tiles.size)
        return self.data.encoder(
            trunk,
            self.normalise,
            grid=self.options.grid or tiles.rows,
            overlap=overlap,
            join=self.options.join,
        )

    def after_step(
        self, rows: dict[str, Tensor], means: dict[str, Tensor], progress: Progress
    ) -> None:
        """The averaged weights follow; a batch norm's statistics are copied."""
        if self.averaged is not None:
            own = self.trunk.parameters()
            ema_update(self.averaged.parameters(), own, self.options.average)
            copy_buffers(self.averaged, self.trunk)

    def trivial_losses(self) -> dict[str, float]:
        """What guessing gives."""
        pictures = min(self.options.group or self.data.batch, self.data.batch)
        places = max(2, pictures * self.options.view.tiles.rows**2)
        return {f"log {places}, what guessing the patch gives": math.log(places)}

    def _turns(self) -> tuple[int, ...]:
        """Quarter turns that bring each direction to the top."""
        return {1: (0,), 2: (0, 2), 4: (0, 1, 2, 3)}[self.options.directions]
