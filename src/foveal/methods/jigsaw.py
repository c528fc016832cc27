"""Jigsaw puzzles: shuffle the tiles of a picture and tell which permutation it was.

Noroozi, Favaro, "Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles",
ECCV 2016; on any trunk and with several puzzles a picture in Kolesnikov, Zhai, Beyer, CVPR 2019;
the number of permutations as an axis of hardness in Goyal, Mahajan, Gupta, Misra, ICCV 2019.
Every tile goes through the trunk alone (the Context-Free Network), so the trunk has to describe
parts and cannot compare borders.

Shortcuts and what closes them, each an option: neighbouring edges (gap and jitter between tiles),
brightness and contrast of a region (``standardise``), chromatic aberration (shifted channels, grey
pictures, the centre of the picture).

Cost: nine small tiles a picture. Failure signs: loss log P; accuracy near 100 % within an epoch
means that a shortcut is open. The permutation is drawn anew each time a picture is seen.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.backbones.encoder import Encoder
from foveal.backbones.inputs import Standardise
from foveal.core.batch import Batch
from foveal.core.permutations import Rule, permutation_set
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
    tile_features,
)
from foveal.views.presets import jigsaw_view
from foveal.views.spec import View


class JigsawOptions(MethodOptions):
    """Options of jigsaw."""

    view: View = Field(default_factory=jigsaw_view, description="the tiles of a picture")
    standardise: Literal["channel", "all", "none"] = Field(
        "channel",
        description="each tile's own mean and spread are taken out, per channel or over all of "
        "them (2019); none: those of the data",
    )
    permutations: int = Field(1000, ge=2, description="size of the set: classes to tell apart")
    rule: Rule = Field("mean", description="how the set is chosen: see permutation_set")
    shown: int = Field(1, ge=1, description="puzzles made of one picture in a step")
    shared: bool = Field(False, description="the same permutations for all pictures of a step")
    head: TileHeadOptions = TileHeadOptions()
    caffe_biases: bool = Field(True, description="biases learn twice as fast and do not decay")
    head_decay: float = Field(1.0, ge=0, description="factor on the weight decay of the head")
    encode: TileEncoding = Field(
        TileEncoding(), description="whole pictures, or (2019) what tiles give on average"
    )

    @field_validator("view")
    @classmethod
    def _tiles(cls, view: View) -> View:
        if view.tiles is None:
            raise ValueError("a puzzle needs view.tiles")
        return view


class Jigsaw(Method):
    """Predicts the permutation of a picture's tiles (section 3)."""

    Options = JigsawOptions
    title = "Jigsaw"
    paper = "arXiv 1603.09246"
    family = "spatial"
    least_view = 72
    permutations: Tensor

    def __init__(self, make: BackboneMaker, data: DataInfo, options: JigsawOptions) -> None:
        super().__init__(make, data, options)
        tiles = options.view.parts - 1
        self.set = permutation_set(tiles, options.permutations, rule=options.rule, seed=data.seed)
        # With the weights, since the head's classes mean nothing without it.
        rows = torch.from_numpy(self.set.rows.astype("int64"))
        self.register_buffer("permutations", rows)
        self.trunk = make()
        self.inputs = tile_inputs(data, options.standardise)
        self.head = TileHead(self.trunk.dim, tiles, len(rows), options.head)

    def streams(self) -> dict[str, Stream]:
        """The tiles of a picture, in order; they are shuffled after the trunk."""
        return {"main": Stream({"view": self.options.view})}

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Logits over permutations, [B, shown, P]."""
        z_BTD = tile_features(self.trunk, self.inputs, batch["main"].images("view"))
        # Tiles pass alone, so shuffling their features is shuffling the tiles.
        return {"logits": self.head(z_BTD, self.permutations[self.drawn(batch)])}

    def loss(self, out: dict[str, Tensor], batch: Batch, progress: Progress) -> Losses:
        """Mean cross-entropy with the permutation shown."""
        logits, labels = out["logits"].flatten(0, 1), self.drawn(batch).flatten()
        return Losses(
            F.cross_entropy(logits, labels), answer_log(logits, labels, "puzzle_accuracy")
        )

    def encoder(self) -> Encoder:
        """The trunk on whole pictures, or on their tiles."""
        found: Encoder = self.options.encode.of(self.data, self.trunk, self.inputs)
        return found

    def parameter_groups(self) -> dict[str, list[Group]]:
        """Biases as the released solver has them; the head's own decay (2019)."""
        o: JigsawOptions = self.options
        return {
            "main": caffe_groups(
                self.trunk, self.head, biases=o.caffe_biases, head_decay=o.head_decay
            )
        }

    def facts(self) -> dict[str, float]:
        """The set, and how far apart its permutations lie."""
        return {
            "permutations": float(len(self.set.rows)),
            "distance_mean": self.set.mean,
            "distance_min": float(self.set.minimum),
        }

    def trivial_losses(self) -> dict[str, float]:
        """What guessing gives."""
        count = len(self.permutations)
        return {f"log {count}, what guessing the permutation gives": math.log(count)}

    def drawn(self, batch: Batch) -> Tensor:
        """Which permutations each picture is shown in, int64 [B, shown]."""
        main, count = batch["main"], len(self.permutations)
        if not self.options.shared:
            return main.integers("permutation", count, (self.options.shown,))
        # Different ones: those with the largest of one number each.
        numbers = main.shared_random("permutation", (count,))
        return numbers.topk(self.options.shown).indices.expand(len(main), -1)


def tile_inputs(data: DataInfo, standardise: Literal["channel", "all", "none"]) -> nn.Sequential:
    """The layers before the trunk, for a tile as for a whole picture."""
    if standardise == "none":
        return nn.Sequential(data.normalise())
    floor = 1 / 255 if standardise == "channel" else None
    return nn.Sequential(Standardise(mean=standardise, std=standardise, floor=floor))
