"""BYOL: predict what a slow copy of the network says about another view. No negatives.

Grill, Strub, Altché, Tallec, Richemond et al., "Bootstrap Your Own Latent: A New Approach to
Self-Supervised Learning", NeurIPS 2020. Robust to small batches and to missing colour.

Cost: two forwards with gradient and two without a picture. Failure signs: a loss near 0 in the
first epoch and features that hardly differ: collapse. The predictor together with the slow target
prevents it. The target starts as a copy of the network (the released code draws another one, and
says that it makes no difference); its batch norm uses the batch's statistics, as there.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from pydantic import Field
from torch import Tensor

from foveal.backbones.encoder import Encoder
from foveal.core.batch import Batch
from foveal.core.ema import ema_update
from foveal.core.progress import Progress
from foveal.core.schedules import momentum_to_one
from foveal.losses.cosine import direction_loss
from foveal.methods.base import (
    BackboneMaker,
    DataInfo,
    Group,
    Losses,
    Method,
    MethodOptions,
    Stream,
    trained_parameters,
)
from foveal.methods.heads import mlp
from foveal.views.presets import byol_views
from foveal.views.spec import View


class BYOLOptions(MethodOptions):
    """Options of BYOL."""

    view_a: View = Field(default_factory=lambda: byol_views()[0], description="T, always blurred")
    view_b: View = Field(default_factory=lambda: byol_views()[1], description="T', solarised")
    tau: float = Field(0.996, ge=0, le=1, description="decay of the target at the start")
    tau_schedule: bool = Field(True, description="tau rises to 1 by half a cosine")
    hidden: int = Field(4096, gt=0, description="hidden units of projector and predictor")
    outputs: int = Field(256, gt=0)
    predictor: bool = Field(True, description="False collapses: the paper's ablation")
    predictor_lr: float = Field(1.0, gt=0, description="factor on the predictor's learning rate")


class BYOL(Method):
    """Regresses the projections of an averaged copy of itself (section 3)."""

    Options = BYOLOptions
    title = "BYOL"
    paper = "arXiv 2006.07733"
    family = "similarity"

    def __init__(self, make: BackboneMaker, data: DataInfo, options: BYOLOptions) -> None:
        super().__init__(make, data, options)
        o = options
        self.normalise = data.normalise()
        self.trunk = make()
        self.projector = mlp(self.trunk.dim, o.hidden, o.outputs, output_bias=False)
        self.predictor = mlp(
            o.outputs, o.hidden, o.outputs, layers=2 if o.predictor else 0, output_bias=False
        )
        self.target_trunk = deepcopy(self.trunk).requires_grad_(False)
        self.target_projector = deepcopy(self.projector).requires_grad_(False)

    def streams(self) -> dict[str, Stream]:
        """Two views of different distributions."""
        return {"main": Stream({"a": self.options.view_a, "b": self.options.view_b})}

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Predictions ``p`` and target projections ``z`` of both views, [B, D] each."""
        views = {name: self.normalise(batch["main"].images(name)) for name in ("a", "b")}
        out = {}
        for name, x in views.items():
            out[f"p_{name}"] = self.predictor(self.projector(self.trunk(x)["pooled"]))
        with torch.no_grad():
            for name, x in views.items():
                out[f"z_{name}"] = self.target_projector(self.target_trunk(x)["pooled"])
        return out

    def loss(self, out: dict[str, Tensor], batch: Batch, progress: Progress) -> Losses:
        """Both directions added, mean over the batch: 0 to 8 (equation 2 and "symmetrize")."""
        rows = direction_loss(out["p_a"], out["z_b"]) + direction_loss(out["p_b"], out["z_a"])
        return Losses(rows.mean(), {"target_decay": rows.new_tensor(self._tau(progress))})

    def encoder(self) -> Encoder:
        """The online trunk."""
        return self.data.encoder(self.trunk, self.normalise)

    def after_step(
        self, rows: dict[str, Tensor], means: dict[str, Tensor], progress: Progress
    ) -> None:
        """The target moves towards the new weights; its batch-norm statistics are its own."""
        online = [*self.trunk.parameters(), *self.projector.parameters()]
        target = [*self.target_trunk.parameters(), *self.target_projector.parameters()]
        ema_update(target, online, self._tau(progress))

    def parameter_groups(self) -> dict[str, list[Group]]:
        """The predictor may learn faster."""
        online = [*trained_parameters(self.trunk), *trained_parameters(self.projector)]
        groups = [Group(online)]
        if self.options.predictor:
            predictor = trained_parameters(self.predictor)
            groups.append(Group(predictor, lr=self.options.predictor_lr))
        return {"main": groups}

    def trivial_losses(self) -> dict[str, float]:
        """What a network gives that says the same about every picture."""
        return {"what a collapsed network gives": 0.0}

    def _tau(self, progress: Progress) -> float:
        if not self.options.tau_schedule:
            return float(self.options.tau)
        return momentum_to_one(progress.step, progress.steps, base=self.options.tau)
