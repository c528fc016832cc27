"""Relative patch location: two patches of a picture, and where the second lies from the first.

Doersch, Gupta, Efros, "Unsupervised Visual Representation Learning by Context Prediction", ICCV
2015 (the defaults); as in Kolesnikov, Zhai, Beyer, "Revisiting Self-Supervised Visual
Representation Learning", CVPR 2019: ``recipes/relative_patch.py``, ``imagenet``. One of 8 places;
a shared trunk reads every patch alone, so parts and their layout have to be known.

Shortcuts and what closes them, each an option of the view: edges that continue (gap and jitter),
chromatic aberration (one channel kept and the others noise, or the green-magenta axis projected
away, or grey), pixelation of patches brought to a common size (shrunk and back).

Cost: nine patches a picture. Failure signs: loss log 8 = 2.079; features of all patches alike
(``contextnet`` has batch norm without scale against that).
What differs from the paper: patches are those of one 3 x 3 grid at a random scale and place, not
of all grids that fit; the loss is the mean over pairs, not their sum (the recipe's learning rate
makes up for it).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.backbones.encoder import Encoder
from foveal.backbones.inputs import Standardise
from foveal.core.batch import Batch
from foveal.core.progress import Progress
from foveal.methods.base import (
    BackboneMaker,
    DataInfo,
    Group,
    Losses,
    Method,
    MethodOptions,
    Stream,
)
from foveal.methods.tiles import (
    TileEncoding,
    TileHead,
    TileHeadOptions,
    answer_log,
    caffe_groups,
    neighbours,
    tile_features,
)
from foveal.views.presets import context_view
from foveal.views.spec import View

PLACES = 8


def _head() -> TileHeadOptions:
    return TileHeadOptions(hidden=(4096, 4096), norm="plain", dropout=0.0, std=None, bias=0.0)


class RelativePatchOptions(MethodOptions):
    """Options of relative patch location."""

    view: View = Field(default_factory=context_view, description="the patches of a picture")
    pairs: Literal["all", "centre"] = Field(
        "all",
        description="all: every ordered pair of neighbours (2015); centre: the middle patch with "
        "each of its neighbours (2019)",
    )
    standardise: Literal["rms", "all", "channel"] = Field(
        "rms",
        description="each patch by itself: its channels' means taken out, then 50 over the root "
        "mean square (2015); mean and spread over all channels (2019), or per channel (jigsaw)",
    )
    head: TileHeadOptions = Field(default_factory=_head)
    caffe_biases: bool = Field(False, description="biases learn twice as fast and do not decay")
    head_decay: float = Field(1.0, ge=0, description="factor on the weight decay of the head")
    encode: TileEncoding = Field(
        TileEncoding(), description="whole pictures, or (2019) what tiles give on average"
    )

    @model_validator(mode="after")
    def _grid(self) -> RelativePatchOptions:
        tiles = self.view.tiles
        if tiles is None or tiles.rows * tiles.columns < 2:
            raise ValueError("pairs of patches need view.tiles, a grid of two or more")
        if self.pairs == "centre" and (tiles.rows, tiles.columns) != (3, 3):
            raise ValueError("pairs=centre needs view.tiles of 3 x 3")
        return self


class RelativePatch(Method):
    """Predicts the place of a patch from another (section 3)."""

    Options = RelativePatchOptions
    title = "Relative patch location"
    paper = "arXiv 1505.05192"
    family = "spatial"
    least_view = 72
    pairs: Tensor
    places: Tensor

    def __init__(self, make: BackboneMaker, data: DataInfo, options: RelativePatchOptions) -> None:
        super().__init__(make, data, options)
        assert options.view.tiles is not None
        found = neighbours(options.view.tiles.rows, options.view.tiles.columns)
        if options.pairs == "centre":
            found = [pair for pair in found if pair[0] == 4]
        self.register_buffer("pairs", torch.tensor([pair[:2] for pair in found]), False)
        self.register_buffer("places", torch.tensor([pair[2] for pair in found]), False)
        self.trunk = make()
        self.inputs = nn.Sequential(_INPUTS[options.standardise]())
        self.head = TileHead(self.trunk.dim, 2, PLACES, options.head)

    def streams(self) -> dict[str, Stream]:
        """The patches of a picture."""
        return {"main": Stream({"view": self.options.view})}

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Logits over places of every pair, [B, pairs, 8]."""
        z_BTD = tile_features(self.trunk, self.inputs, batch["main"].images("view"))
        return {"logits": self.head(z_BTD, self.pairs.expand(len(z_BTD), -1, -1))}

    def loss(self, out: dict[str, Tensor], batch: Batch, progress: Progress) -> Losses:
        """Mean cross-entropy over all pairs."""
        logits = out["logits"].flatten(0, 1)
        labels = self.places.repeat(len(out["logits"]))
        return Losses(F.cross_entropy(logits, labels), answer_log(logits, labels, "place_accuracy"))

    def encoder(self) -> Encoder:
        """The trunk on whole pictures, or on their tiles."""
        found: Encoder = self.options.encode.of(self.data, self.trunk, self.inputs)
        return found

    def parameter_groups(self) -> dict[str, list[Group]]:
        """The head's own decay (2019)."""
        o: RelativePatchOptions = self.options
        return {
            "main": caffe_groups(
                self.trunk, self.head, biases=o.caffe_biases, head_decay=o.head_decay
            )
        }

    def trivial_losses(self) -> dict[str, float]:
        """What guessing gives."""
        return {"log 8, what guessing the place gives": math.log(PLACES)}


_INPUTS = {
    "rms": lambda: Standardise(mean="channel", std="all", gain=50.0),
    "all": lambda: Standardise(mean="all", std="all", floor=None),
    "channel": lambda: Standardise(),
}
