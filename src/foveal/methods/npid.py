"""NPID: every picture is a class of its own, remembered in a bank.

Wu, Xiong, Yu, Lin, "Unsupervised Feature Learning via Non-Parametric Instance Discrimination",
CVPR 2018. The network must tell a picture, under any crop and colour, from thousands of others, of
which it only keeps what it last said about them.

Cost: one forward a picture and a bank of N x 128 numbers. Failure signs: bank accuracy stays at
1 / (1 + negatives). The paper pulls an embedding towards its last one by a proximal term
(``proximal``) and replaces the bank's row; the released code keeps half of the old row
(``momentum``) and has no such term, and that is the default here. Grey follows the colour jitter,
in the released code it comes before.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.backbones.encoder import Encoder
from foveal.core.batch import Batch
from foveal.core.progress import Progress
from foveal.losses.bank import MemoryBank
from foveal.losses.infonce import info_nce
from foveal.losses.nce import Partition, nce
from foveal.methods.base import BackboneMaker, DataInfo, Losses, Method, MethodOptions, Stream
from foveal.views.presets import npid_view
from foveal.views.spec import View


class NPIDOptions(MethodOptions):
    """Options of NPID."""

    view: View = Field(default_factory=npid_view)
    outputs: int = Field(128, gt=0, description="length of the embedding")
    temperature: float = Field(0.07, gt=0, description="0.07 on ImageNet, 0.1 on CIFAR-10")
    negatives: int = Field(
        4096, ge=0, description="rows drawn for each sample; 0: all, the exact softmax"
    )
    momentum: float = Field(0.5, ge=0, lt=1, description="share of the bank's old row that is kept")
    proximal: float = Field(0.0, ge=0, description="weight of the squared step since last time")
    half: bool = Field(False, description="a float16 bank")


class NPID(Method):
    """Instance discrimination with a memory bank and NCE (section 3)."""

    Options = NPIDOptions
    title = "NPID"
    paper = "arXiv 1805.01978"
    family = "similarity"

    def __init__(self, make: BackboneMaker, data: DataInfo, options: NPIDOptions) -> None:
        super().__init__(make, data, options)
        self.trunk = make()
        self.normalise = data.normalise()
        self.head = nn.Linear(self.trunk.dim, options.outputs)
        self.bank = MemoryBank(
            data.samples,
            options.outputs,
            seed=data.seed,
            momentum=options.momentum,
            half=options.half,
        )
        # More would only repeat the same rows.
        self.negatives = min(options.negatives, data.samples)
        self.partition = Partition()

    def streams(self) -> dict[str, Stream]:
        """One view a picture."""
        return {"main": Stream({"view": self.options.view})}

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Embeddings [B, D]."""
        return {"z": self.head(self.trunk(self.normalise(batch["main"].images("view")))["pooled"])}

    def loss(self, out: dict[str, Tensor], batch: Batch, progress: Progress) -> Losses:
        """NCE (section 3.2), or the exact softmax (equation 2)."""
        o, main = self.options, batch["main"]
        z_BD = F.normalize(out["z"], dim=1)
        own_B1 = main.index[:, None]
        z_constant = self.partition.value
        if self.negatives:
            drawn = main.integers("negatives", len(self.bank), (self.negatives,))
            logits = self.bank.similarity(z_BD, torch.cat([own_B1, drawn], 1)) / o.temperature
            z_constant = self.partition.at(progress.step, logits, len(self.bank))
            loss = nce(logits, log_z=z_constant.log(), rows=len(self.bank))
            right_B = logits.detach().argmax(1) == 0
        else:
            own_BD = self.bank.rows[main.index].to(z_BD.dtype)
            loss_B, right_B = info_nce(
                z_BD, own_BD, self.bank.rows, temperature=o.temperature, skip_QS=own_B1
            )
            loss = loss_B.mean()
        if o.proximal:
            step = z_BD - self.bank.rows[main.index].to(z_BD.dtype)
            loss = loss + o.proximal * step.square().sum(1).mean()
        return Losses(
            loss,
            {"bank_accuracy": right_B.float().mean()},
            rows={"z": z_BD.detach(), "index": main.index},
            means={"z_constant": z_constant},
        )

    @torch.no_grad()
    def after_step(
        self, rows: dict[str, Tensor], means: dict[str, Tensor], progress: Progress
    ) -> None:
        """Writes the batch into the bank, after it was compared with the old rows."""
        self.bank.update(rows["index"], rows["z"])
        self.partition.keep(progress.step, means["z_constant"])

    def embedding(self) -> nn.Linear:
        """What rows of the bank are: retrieval by 128 numbers a picture (section 4)."""
        return self.head

    def encoder(self) -> Encoder:
        """The trunk."""
        return self.data.encoder(self.trunk, self.normalise)
