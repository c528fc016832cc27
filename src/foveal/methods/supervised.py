"""Supervised classification: the yardstick that every method without labels stands beside.

One linear layer on the pooled features and softmax cross-entropy. It is no self-supervised method
and the planner never chooses it: it says how far labels take the same network, on the same
pictures, with the same budget.

Cost: one forward a picture. Failure signs: loss at log K.
"""

from __future__ import annotations

import math

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.backbones.encoder import Encoder
from foveal.core.batch import Batch
from foveal.core.progress import Progress
from foveal.methods.base import BackboneMaker, DataInfo, Losses, Method, MethodOptions, Stream
from foveal.views.presets import plain_view
from foveal.views.spec import View


class SupervisedOptions(MethodOptions):
    """Options of supervised classification."""

    view: View = Field(default_factory=plain_view)
    smoothing: float = Field(0.0, ge=0, lt=1, description="label smoothing")


class Supervised(Method):
    """Predicts the given label of every labelled picture; unlabelled ones are not drawn."""

    Options = SupervisedOptions
    title = "supervised"
    family = "supervised"
    needs_labels = True

    def __init__(self, make: BackboneMaker, data: DataInfo, options: SupervisedOptions) -> None:
        super().__init__(make, data, options)
        self.trunk = make()
        self.normalise = data.normalise()
        self.head = nn.Linear(self.trunk.dim, data.classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def streams(self) -> dict[str, Stream]:
        """One view of every labelled picture."""
        return {"main": Stream({"view": self.options.view}, labelled=True)}

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Logits over classes, [B, K]."""
        features = self.trunk(self.normalise(batch["main"].images("view")))["pooled"]
        return {"logits": self.head(features)}

    def loss(self, out: dict[str, Tensor], batch: Batch, progress: Progress) -> Losses:
        """Mean cross-entropy with the labels."""
        labels = batch["main"].label
        loss = F.cross_entropy(out["logits"], labels, label_smoothing=self.options.smoothing)
        accuracy = (out["logits"].detach().argmax(1) == labels).float().mean()
        return Losses(loss, {"label_accuracy": accuracy})

    def encoder(self) -> Encoder:
        """The trunk."""
        return self.data.encoder(self.trunk, self.normalise)

    def classifiers(self) -> list[nn.Linear]:
        """The linear layer."""
        return [self.head]

    def trivial_losses(self) -> dict[str, float]:
        """What guessing gives."""
        k = self.data.classes
        return {f"log {k}, what guessing the class gives": math.log(max(2, k))}
