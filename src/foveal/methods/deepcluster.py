"""DeepCluster: cluster the features of all pictures, then learn to predict the clusters; repeat.

Caron, Bojanowski, Joulin, Douze, "Deep Clustering for Unsupervised Learning of Visual Features",
ECCV 2018.

Cost: one forward with gradient a picture, and one pass over all pictures each round. Failure
signs: few clusters hold most pictures (``largest``), loss at log K. Pictures are drawn evenly over
clusters, without which the network learns the sizes of clusters; the released sampler is meant to
do the same, but its ids point into another order of the pictures, so it does not.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.backbones.encoder import Encoder
from foveal.backbones.inputs import Sobel
from foveal.clustering.kmeans import kmeans
from foveal.clustering.record import cluster_log
from foveal.clustering.whiten import pca_whiten
from foveal.core import rng
from foveal.core.batch import Batch
from foveal.core.progress import Progress
from foveal.errors import FovealError
from foveal.methods.base import (
    BackboneMaker,
    DataInfo,
    FeaturePass,
    Group,
    Losses,
    Method,
    MethodOptions,
    Refreshed,
    Stream,
    trained_parameters,
)
from foveal.views.presets import center_view, plain_view
from foveal.views.spec import View


class DeepClusterOptions(MethodOptions):
    """Options of DeepCluster."""

    view: View = Field(default_factory=plain_view, description="what the network learns from")
    cluster_view: View = Field(
        default_factory=lambda: center_view(224, interpolation="bilinear"),
        description="what is clustered",
    )
    clusters: int | None = Field(
        10_000, ge=2, description="None: one for every 100 pictures, at most 10,000"
    )
    pca: int = Field(256, ge=1, description="directions kept before clustering, whitened")
    iterations: int = Field(20, ge=1, description="of k-means")
    every: float = Field(1.0, gt=0, description="epochs between two clusterings")
    sobel: bool = Field(True, description="edges instead of colours, as in the paper")
    even: bool = Field(True, description="draw every cluster equally often")


class DeepCluster(Method):
    """Alternates k-means and classification (section 3)."""

    Options = DeepClusterOptions
    title = "DeepCluster"
    paper = "arXiv 1807.05520"
    family = "similarity"
    assignments: Tensor

    def __init__(self, make: BackboneMaker, data: DataInfo, options: DeepClusterOptions) -> None:
        super().__init__(make, data, options)
        self.clusters = options.clusters or min(10_000, max(2, data.samples // 100))
        if self.clusters > data.samples:
            raise FovealError(
                f"{data.samples} pictures cannot form {self.clusters} clusters",
                hint=f"options.clusters={max(2, data.samples // 100)}",
            )
        self.inputs: nn.Module
        if options.sobel:
            self.inputs, self.trunk = nn.Sequential(data.normalise(), Sobel()), make(in_chans=2)
        else:
            self.inputs, self.trunk = nn.Sequential(data.normalise()), make()
        # Features are clustered before the head's ReLU (trunks made with last_relu=False).
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(self.trunk.dim, self.clusters))
        self.register_buffer("assignments", torch.full((data.samples,), -1, dtype=torch.int64))
        self._draw_head(0)

    def streams(self) -> dict[str, Stream]:
        """One view a picture."""
        return {"main": Stream({"view": self.options.view})}

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Logits over clusters, [B, K]."""
        features = self.trunk(self.inputs(batch["main"].images("view")))["pooled"]
        return {"logits": self.head(features)}

    def loss(self, out: dict[str, Tensor], batch: Batch, progress: Progress) -> Losses:
        """Cross-entropy with the assignments (equation 1)."""
        labels = self.assignments[batch["main"].index]
        loss = F.cross_entropy(out["logits"], labels)
        accuracy = (out["logits"].detach().argmax(1) == labels).float().mean()
        return Losses(loss, {"cluster_accuracy": accuracy})

    def encoder(self) -> Encoder:
        """The trunk behind its fixed layers."""
        return self.data.encoder(self.trunk, *self.inputs.children())

    def sample_groups(self) -> Tensor | None:
        """Clusters: each is drawn equally often (section 3.3, "Trivial parametrization")."""
        return self.assignments if self.options.even and (self.assignments >= 0).any() else None

    def parameter_groups(self) -> dict[str, list[Group]]:
        """The head is drawn anew every round and has no momentum, as in the released code."""
        head = Group(trained_parameters(self.head), momentum=0.0)
        return {"main": [Group(trained_parameters(self.trunk)), head]}

    def refresh_due(self, progress: Progress) -> bool:
        """At the start, then every ``every`` epochs."""
        passed = progress.seen / self.data.samples
        return bool(passed >= progress.refreshes * self.options.every - 1e-9)

    @torch.no_grad()
    def refresh(self, run: FeaturePass, progress: Progress) -> Refreshed:
        """Clusters all pictures anew and draws a new head."""
        features = run(
            lambda images: self.trunk(self.inputs(images))["pooled"], self.options.cluster_view
        )
        before = self.assignments.cpu().numpy().copy()
        device = self.assignments.device
        white = pca_whiten(features, self.options.pca, device=device)
        seed = rng.seed64(self.data.seed, "kmeans", progress.refreshes)
        now = kmeans(
            white, self.clusters, iterations=self.options.iterations, seed=seed, device=device
        ).assignments
        self.assignments.copy_(torch.from_numpy(now))
        self._draw_head(progress.refreshes)
        log = cluster_log(now, self.clusters, before)
        return Refreshed(trained_parameters(self.head), log, {"nmi_labels": now})

    def trivial_losses(self) -> dict[str, float]:
        """What guessing gives."""
        return {f"log {self.clusters}, what guessing the cluster gives": math.log(self.clusters)}

    def _draw_head(self, round_number: int) -> None:
        generator = torch.Generator().manual_seed(rng.seed64(self.data.seed, "head", round_number))
        linear = self.head[1]
        assert isinstance(linear, nn.Linear)
        drawn = torch.empty(linear.weight.shape).normal_(0, 0.01, generator=generator)
        with torch.no_grad():
            linear.weight.copy_(drawn)
            linear.bias.zero_()
