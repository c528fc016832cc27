"""SeLa: labels the network gives itself, each used equally often.

Asano, Rupprecht, Vedaldi, "Self-labelling via simultaneous clustering and representation
learning", ICLR 2020. Training and labelling lower one and the same cross-entropy; the constraint
that all labels are used equally often is what keeps everything from falling into one class.

Cost: one forward a picture, and a pass over all pictures at each of the ``updates``. Failure signs:
loss at log K; ``plain_entropy`` near 0 is what the labels would be without the constraint.
Departures from the released code: labels are updated from features in evaluation mode under a
centre view, not in training mode under random views, since batches here follow the order of the
files; passed times are not made up for one after the other; all heads are updated together.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.backbones.encoder import Encoder
from foveal.clustering.sinkhorn import label_entropy, sinkhorn
from foveal.core import rng
from foveal.core.batch import Batch
from foveal.core.progress import Progress
from foveal.methods.base import (
    BackboneMaker,
    DataInfo,
    FeaturePass,
    Losses,
    Method,
    MethodOptions,
    Refreshed,
    Stream,
)
from foveal.views.presets import center_view, sela_view
from foveal.views.spec import View


class SeLaOptions(MethodOptions):
    """Options of SeLa."""

    view: View = Field(default_factory=sela_view)
    label_view: View = Field(
        default_factory=lambda: center_view(224), description="what labels are found from"
    )
    heads: int = Field(10, gt=0, description="independent labellings")
    labels: int = Field(3000, gt=1, description="labels of each head (K)")
    updates: int = Field(100, ge=0, description="relabellings over the run; 0: random labels")
    strength: float = Field(25.0, gt=0, description="lambda of the transport problem")
    tolerance: float = Field(0.1, gt=0, description="summed error at which Sinkhorn stops")


class SeLa(Method):
    """Alternates balanced self-labelling and classification (section 3)."""

    Options = SeLaOptions
    title = "SeLa"
    paper = "arXiv 1911.05371"
    family = "similarity"
    assignments: Tensor
    done: Tensor

    def __init__(self, make: BackboneMaker, data: DataInfo, options: SeLaOptions) -> None:
        super().__init__(make, data, options)
        self.trunk = make()
        self.normalise = data.normalise()
        # Never more labels than pictures: each label needs one.
        self.labels = min(options.labels, data.samples)
        self.head = nn.Linear(self.trunk.dim, options.heads * self.labels)
        self.register_buffer("assignments", self._balanced_at_random())
        self.register_buffer("done", torch.tensor(0))

    def streams(self) -> dict[str, Stream]:
        """One view a picture."""
        return {"main": Stream({"view": self.options.view})}

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Logits [B, heads, labels]."""
        features = self.trunk(self.normalise(batch["main"].images("view")))["pooled"]
        return {"logits": self.head(features).unflatten(1, (self.options.heads, self.labels))}

    def loss(self, out: dict[str, Tensor], batch: Batch, progress: Progress) -> Losses:
        """Mean over heads of the cross-entropy with their labels (equation 1)."""
        wanted_BH = self.assignments[batch["main"].index]
        logits = out["logits"].flatten(0, 1)
        loss = F.cross_entropy(logits, wanted_BH.flatten())
        right = (logits.detach().argmax(1) == wanted_BH.flatten()).float().mean()
        return Losses(loss, {"label_accuracy": right})

    def encoder(self) -> Encoder:
        """The trunk."""
        return self.data.encoder(self.trunk, self.normalise)

    def refresh_due(self, progress: Progress) -> bool:
        """At times that are dense at first and lie 2 u further apart the later it is."""
        return self._passed(progress) > int(self.done)

    @torch.no_grad()
    def refresh(self, run: FeaturePass, progress: Progress) -> Refreshed:
        """Labels all pictures anew; heads go on as they are."""
        features = run(
            lambda images: self.trunk(self.normalise(images))["pooled"], self.options.label_view
        )
        log: dict[str, float] = {}
        z = torch.from_numpy(features.x).to(self.head.weight.device)
        new, plain = torch.empty_like(self.assignments), torch.empty_like(self.assignments)
        for h in range(self.options.heads):
            rows = slice(h * self.labels, (h + 1) * self.labels)
            log_p = F.linear(z, self.head.weight[rows], self.head.bias[rows]).log_softmax(1)
            found = sinkhorn(
                log_p, strength=self.options.strength, tolerance=self.options.tolerance
            )
            new[:, h] = features.join(found.labels)
            plain[:, h] = features.join(log_p.argmax(1))
        entropy = [label_entropy(new[:, h], self.labels) for h in range(self.options.heads)]
        log["entropy"] = min(entropy)
        log["plain_entropy"] = float(
            np.mean([label_entropy(plain[:, h], self.labels) for h in range(self.options.heads)])
        )
        log["changed"] = float((new != self.assignments).double().mean())
        self.assignments.copy_(new)
        self.done.fill_(self._passed(progress))
        return Refreshed(log=log, clusters={"nmi_labels": new[:, 0].cpu().numpy()})

    def trivial_losses(self) -> dict[str, float]:
        """What guessing gives."""
        return {f"log {self.labels}, what guessing the label gives": math.log(self.labels)}

    def _passed(self, progress: Progress) -> int:
        times = update_times(progress.epochs, self.options.updates, self.data.samples)
        return int(np.searchsorted(times, progress.seen, side="right"))

    def _balanced_at_random(self) -> Tensor:
        """Label i mod K of samples in a random order, for each head; int64 [N, heads]."""
        found = []
        for h in range(self.options.heads):
            seed = rng.seed64(self.data.seed, "labels", h)
            order = torch.randperm(self.data.samples, generator=torch.Generator().manual_seed(seed))
            found.append(order % self.labels)
        return torch.stack(found, 1)


def update_times(epochs: float, updates: int, samples: int) -> np.ndarray:
    """Images seen at every relabelling: (E + 1.01) N u**2 for evenly spaced u (released code)."""
    return (epochs + 1.01) * samples * np.linspace(0, 1, updates) ** 2
