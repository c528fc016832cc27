"""PIRL: say the same about a picture and about its shuffled tiles.

Misra, van der Maaten, "Self-Supervised Learning of Pretext-Invariant Representations", CVPR 2020.
Jigsaw asks which permutation it was; here the answer must not depend on it. Picture and tiles are
each compared with the picture's row in a memory bank, never with each other.

Cost: one forward of the picture and one of nine small tiles, and a bank of N x 128 numbers.
Failure signs: ``bank_accuracy`` near 1 / (1 + negatives). The default is the paper's form of the
loss; ``form="nce"`` is the released code's, with NPID's constant. Batch norm sees picture and
tiles apart. More negatives than there are pictures would only repeat them and are not drawn.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.backbones.encoder import Encoder
from foveal.core.batch import Batch
from foveal.core.progress import Progress
from foveal.losses.bank import MemoryBank
from foveal.losses.nce import Partition, info_nce_first, nce, softmax_nce
from foveal.methods.base import BackboneMaker, DataInfo, Losses, Method, MethodOptions, Stream
from foveal.methods.rotation import turn_each
from foveal.methods.tiles import TileHead, TileHeadOptions, tile_features
from foveal.views.presets import pirl_views
from foveal.views.spec import View


class PIRLOptions(MethodOptions):
    """Options of PIRL."""

    view: View = Field(default_factory=lambda: pirl_views()[0], description="the picture")
    other_view: View = Field(
        default_factory=lambda: pirl_views()[1],
        description="what is transformed: with tiles they are shuffled, without it is turned",
    )
    outputs: int = Field(128, gt=0, description="length of the embedding")
    temperature: float = Field(0.07, gt=0)
    negatives: int = Field(32_000, ge=1, description="rows drawn for each sample and branch")
    balance: float = Field(
        0.5, ge=0, le=1, description="weight of the transformed picture (lambda); 0 is NPID"
    )
    form: Literal["paper", "nce", "info_nce"] = Field("paper", description="of both losses")
    momentum: float = Field(0.5, ge=0, lt=1, description="share of the bank's old row that is kept")
    half: bool = Field(False, description="a float16 bank")

    @model_validator(mode="after")
    def _whole(self) -> PIRLOptions:
        if self.view.tiles is not None:
            raise ValueError("view is the picture as a whole; tiles belong to other_view")
        return self


class PIRL(Method):
    """Pretext-invariant representations with a memory bank (section 3)."""

    Options = PIRLOptions
    title = "PIRL"
    paper = "arXiv 1912.01991"
    family = "similarity"

    def __init__(self, make: BackboneMaker, data: DataInfo, options: PIRLOptions) -> None:
        super().__init__(make, data, options)
        self.trunk = make()
        self.normalise = data.normalise()
        self.picture_head = nn.Linear(self.trunk.dim, options.outputs)
        self.other_head: nn.Module
        if options.other_view.tiles is None:
            self.other_head = nn.Linear(self.trunk.dim, options.outputs)
        else:
            linear = TileHeadOptions(
                embedding=options.outputs, embedding_norm=False, hidden=(), dropout=0.0, std=None
            )
            tiles = options.other_view.parts - 1
            self.other_head = TileHead(self.trunk.dim, tiles, options.outputs, linear)
        self.bank = MemoryBank(
            data.samples,
            options.outputs,
            seed=data.seed,
            momentum=options.momentum,
            half=options.half,
        )
        self.negatives = min(options.negatives, data.samples)
        self.partition = Partition()

    def streams(self) -> dict[str, Stream]:
        """A picture, and what is transformed, cut independently."""
        return {"main": Stream({"view": self.options.view, "other": self.options.other_view})}

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Embeddings of the picture and of its transformed copy, [B, D] each."""
        main = batch["main"]
        picture = self.trunk(self.normalise(main.images("view")))["pooled"]
        return {"picture": self.picture_head(picture), "other": self._transformed(batch)}

    def loss(self, out: dict[str, Tensor], batch: Batch, progress: Progress) -> Losses:
        """Both comparisons with the bank's old row, weighted (equation 5)."""
        o, main = self.options, batch["main"]
        z_constant, logits = self.partition.value, {}
        for branch in ("other", "picture"):
            drawn = main.integers(f"negatives {branch}", len(self.bank), (self.negatives,))
            candidates = torch.cat([main.index[:, None], drawn], 1)
            similarity = self.bank.similarity(F.normalize(out[branch], dim=1), candidates)
            logits[branch] = similarity / o.temperature
        if o.form == "nce":
            # From the transformed branch, which the released code computes first.
            z_constant = self.partition.at(progress.step, logits["other"], len(self.bank))
        other, picture = (self._compared(logits[b], z_constant) for b in ("other", "picture"))
        log = {
            f"{branch}_accuracy": (x.detach().argmax(1) == 0).float().mean()
            for branch, x in logits.items()
        }
        return Losses(
            o.balance * other + (1 - o.balance) * picture,
            {**log, "other": other.detach(), "picture": picture.detach()},
            rows={"z": F.normalize(out["picture"].detach(), dim=1), "index": main.index},
            means={"z_constant": z_constant},
        )

    @torch.no_grad()
    def after_step(
        self, rows: dict[str, Tensor], means: dict[str, Tensor], progress: Progress
    ) -> None:
        """The picture's embedding moves its row; the transformed one never does."""
        self.bank.update(rows["index"], rows["z"])
        self.partition.keep(progress.step, means["z_constant"])

    def embedding(self) -> nn.Linear:
        """What rows of the bank are."""
        return self.picture_head

    def encoder(self) -> Encoder:
        """The trunk."""
        return self.data.encoder(self.trunk, self.normalise)

    def _transformed(self, batch: Batch) -> Tensor:
        main = batch["main"]
        x = main.images("other")
        if self.options.other_view.tiles is None:
            turned = turn_each(x, 1 + main.integers("turn", 3))
            z: Tensor = self.other_head(self.trunk(self.normalise(turned))["pooled"])
            return z
        z_BTD = tile_features(self.trunk, self.normalise, x)
        # Any order: the head must not learn to rely on it, and never has to name it.
        order_B1T = main.random("order", (z_BTD.shape[1],)).argsort(1)[:, None]
        shuffled: Tensor = self.other_head(z_BTD, order_B1T)
        return shuffled[:, 0]

    def _compared(self, logits_BM: Tensor, z_constant: Tensor) -> Tensor:
        if self.options.form == "nce":
            return nce(logits_BM, log_z=z_constant.log(), rows=len(self.bank))
        return softmax_nce(logits_BM) if self.options.form == "paper" else info_nce_first(logits_BM)
