"""Supervised classification: the yardstick that every method without labels stands beside.

One linear layer on the pooled features and softmax cross-entropy. It is no self-supervised method
and the planner never chooses it: it says how far labels take the same network, on the same
pictures, with the same budget.

``loss=sigmoid`` is how JFT-300M was learned from (Sun, Shrivastava, Singh, Gupta, "Revisiting
unreasonable effectiveness of data in deep learning era", ICCV 2017): every class by itself, with
all that ``labels.hierarchy`` puts above it.

Cost: one forward a picture. Failure signs: loss at log K; with sigmoid, at that of the base rates.

Legend: B samples, K classes, C classes and what lies above them.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.backbones.encoder import Encoder
from foveal.core.batch import Batch
from foveal.core.progress import Progress
from foveal.errors import FovealError
from foveal.losses.multilabel import base_rate_loss, closed_upwards, multilabel_loss
from foveal.methods.base import BackboneMaker, DataInfo, Losses, Method, MethodOptions, Stream
from foveal.views.presets import plain_view
from foveal.views.spec import View


class SupervisedOptions(MethodOptions):
    """Options of supervised classification."""

    view: View = Field(default_factory=plain_view)
    loss: Literal["softmax", "sigmoid"] = Field(
        "softmax", description="classes compete, or each is by itself and brings those above it"
    )
    smoothing: float = Field(0.0, ge=0, lt=1, description="label smoothing, of softmax")
    unlabelled: Literal["left out", "negative"] = Field(
        "left out", description="sigmoid: negative draws pictures without label, as of no class"
    )

    @model_validator(mode="after")
    def _softmax_alone(self) -> SupervisedOptions:
        if self.loss == "softmax" and self.unlabelled == "negative":
            raise ValueError("unlabelled=negative needs loss=sigmoid")
        if self.loss == "sigmoid" and self.smoothing:
            raise ValueError("smoothing is for loss=softmax")
        return self


class Supervised(Method):
    """Predicts the given label of every labelled picture, and with sigmoid what lies above it."""

    Options = SupervisedOptions
    title = "supervised"
    family = "supervised"
    needs_labels = True
    positives: Tensor

    def __init__(self, make: BackboneMaker, data: DataInfo, options: SupervisedOptions) -> None:
        super().__init__(make, data, options)
        self.trunk = make()
        self.normalise = data.normalise()
        above = 0
        if options.loss == "sigmoid":
            eye = torch.eye(data.classes, dtype=torch.bool)
            positives = eye if data.positives is None else data.positives
            self.register_buffer("positives", positives, False)
            above = positives.shape[1] - data.classes
        elif data.positives is not None:
            raise FovealError(
                "labels.hierarchy makes several classes true at once, which softmax cannot say",
                hint="options.loss=sigmoid",
            )
        self.head = nn.Linear(self.trunk.dim, data.classes)
        self.above = nn.Linear(self.trunk.dim, above) if above else None
        # With sigmoid most classes are absent, one of all to begin with: that need not be learned.
        rare = -math.log(max(1, data.classes + above - 1)) if options.loss == "sigmoid" else 0.0
        for layer in filter(None, (self.head, self.above)):
            nn.init.zeros_(layer.weight)
            nn.init.constant_(layer.bias, rare)

    def streams(self) -> dict[str, Stream]:
        """One view of every labelled picture."""
        labelled = self.options.unlabelled == "left out"
        return {"main": Stream({"view": self.options.view}, labelled=labelled)}

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Logits over classes, [B, K] or [B, C]."""
        features = self.trunk(self.normalise(batch["main"].images("view")))["pooled"]
        logits = self.head(features)
        if self.above is not None:
            logits = torch.cat([logits, self.above(features)], 1)
        return {"logits": logits}

    def loss(self, out: dict[str, Tensor], batch: Batch, progress: Progress) -> Losses:
        """Mean cross-entropy with the labels, or the sum of every class's own."""
        labels, logits = batch["main"].label, out["logits"]
        if self.options.loss == "sigmoid":
            loss = multilabel_loss(logits, closed_upwards(labels, self.positives))
        else:
            loss = F.cross_entropy(logits, labels, label_smoothing=self.options.smoothing)
        accuracy = (logits.detach()[:, : self.data.classes].argmax(1) == labels).float().mean()
        return Losses(loss, {"label_accuracy": accuracy})

    def encoder(self) -> Encoder:
        """The trunk."""
        return self.data.encoder(self.trunk, self.normalise)

    def classifiers(self) -> list[nn.Linear]:
        """The linear layer."""
        return [self.head]

    def trivial_losses(self) -> dict[str, float]:
        """What guessing gives."""
        if self.options.loss == "sigmoid":
            return {"what the classes' frequencies alone give": base_rate_loss(self.positives)}
        k = self.data.classes
        return {f"log {k}, what guessing the class gives": math.log(max(2, k))}
