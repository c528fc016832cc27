"""DeeperCluster: tell the turn and the cluster of a picture, in two levels, on raw piles.

Caron, Bojanowski, Mairal, Joulin, "Unsupervised Pre-Training of Image Features on Non-Curated
Data", ICCV 2019. Rotation and clustering at once: a super-class is a (coarse cluster, turn), and
each has a classifier of its own over the finer clusters of its coarse one.

Cost: one forward a picture (``all_turns``: four), a pass over all every ``every`` epochs, and heads
of 4 x ``clusters`` x D numbers. Failure signs: ``turn_accuracy`` at 25 %, few clusters used.
Departure: the released workers see one coarse cluster at one angle each; here every batch mixes
angles and clusters, as one process has to, or batch norm would give the answer away.

Legend: B pictures, T turns each is shown in, N = B T, D features, k fine and m coarse clusters.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.backbones.encoder import Encoder
from foveal.backbones.inputs import Sobel
from foveal.clustering.hierarchical import two_levels
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
    Losses,
    Method,
    Refreshed,
    Stream,
    trained_parameters,
)
from foveal.methods.deepercluster_options import DeeperClusterOptions
from foveal.methods.rotation import turn_each

TURNS = 4


class DeeperCluster(Method):
    """Predicts (coarse cluster, turn), then the fine cluster within it (section 3)."""

    Options = DeeperClusterOptions
    title = "DeeperCluster"
    paper = "arXiv 1905.01278"
    family = "similarity"
    assignments: Tensor

    def __init__(self, make: BackboneMaker, data: DataInfo, options: DeeperClusterOptions) -> None:
        super().__init__(make, data, options)
        few = max(2 * options.coarse, data.samples // 100)
        self.fine = (options.clusters or few) // options.coarse
        if self.fine < 1 or self.fine * options.coarse > data.samples:
            raise FovealError(
                f"{data.samples} pictures cannot form {options.coarse} coarse and "
                f"{options.clusters} fine clusters",
                hint=f"options.clusters={few}",
            )
        self.inputs: nn.Module
        if options.sobel:
            self.inputs, self.trunk = nn.Sequential(data.normalise(), Sobel()), make(in_chans=2)
        else:
            self.inputs, self.trunk = nn.Sequential(data.normalise()), make()
        supers = TURNS * options.coarse
        # Features are clustered before the ReLU (trunks made with last_relu=False).
        self.super_head = nn.Linear(self.trunk.dim, supers)
        self.sub_weight = nn.Parameter(torch.empty(supers, self.fine, self.trunk.dim))
        self.sub_bias = nn.Parameter(torch.empty(supers, self.fine))
        start = torch.full((data.samples, 2), -1, dtype=torch.int64)
        self.register_buffer("assignments", start)
        self._draw_heads(0)

    @classmethod
    def tells_turns(cls, options: DeeperClusterOptions) -> bool:
        """It does."""
        return True

    def streams(self) -> dict[str, Stream]:
        """One view a picture."""
        return {"main": Stream({"view": self.options.view})}

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Logits of the super-class [B, T, 4 m], and of the fine cluster within the true one."""
        turns_BT, super_BT = self._turns(batch), self._super(batch)
        x_NCHW = batch["main"].images("view").repeat_interleave(turns_BT.shape[1], 0)
        turned = turn_each(x_NCHW, turns_BT.flatten())
        g_ND = F.relu(self.trunk(self.inputs(turned))["pooled"])
        found = {"super": self.super_head(g_ND), "sub": self._sub_logits(g_ND, super_BT.flatten())}
        return {name: logits.unflatten(0, super_BT.shape) for name, logits in found.items()}

    def loss(self, out: dict[str, Tensor], batch: Batch, progress: Progress) -> Losses:
        """Sum of both levels' cross-entropies (equation 4)."""
        wanted_BT = self._super(batch)
        fine = self.assignments[batch["main"].index, 1].repeat_interleave(wanted_BT.shape[1])
        wanted = wanted_BT.flatten()
        above, within = out["super"].flatten(0, 1), out["sub"].flatten(0, 1)
        loss = F.cross_entropy(above, wanted) + F.cross_entropy(within, fine)
        guess = above.detach().argmax(1)
        return Losses(
            loss,
            {
                "super_accuracy": (guess == wanted).float().mean(),
                "turn_accuracy": (guess % TURNS == wanted % TURNS).float().mean(),
                "cluster_accuracy": (within.detach().argmax(1) == fine).float().mean(),
            },
        )

    def encoder(self) -> Encoder:
        """The trunk behind its fixed layers."""
        return self.data.encoder(self.trunk, *self.inputs.children())

    def sample_groups(self) -> Tensor | None:
        """Fine clusters: each is drawn equally often."""
        return None if (self.assignments < 0).any() else self.flat()

    def flat(self) -> Tensor:
        """The fine cluster of every picture, numbered over all, [N]; below 0: none yet."""
        return self.assignments[:, 0] * self.fine + self.assignments[:, 1]

    def refresh_due(self, progress: Progress) -> bool:
        """At the start, then every ``every`` epochs."""
        passed = progress.seen / self.data.samples
        return bool(passed >= progress.refreshes * self.options.every - 1e-9)

    @torch.no_grad()
    def refresh(self, run: FeaturePass, progress: Progress) -> Refreshed:
        """Clusters all pictures anew, in two levels, and draws new heads."""
        features = run(
            lambda images: self.trunk(self.inputs(images))["pooled"], self.options.cluster_view
        )
        o, device = self.options, self.assignments.device
        white = pca_whiten(features, o.pca, floor=1e-5, device=device)
        seed = rng.seed64(self.data.seed, "clusters", progress.refreshes)
        found = two_levels(
            white, o.coarse, self.fine, iterations=o.iterations, seed=seed, device=device
        )
        before = self.flat().cpu().numpy()
        self.assignments.copy_(torch.from_numpy(found))
        self._draw_heads(progress.refreshes)
        now = self.flat().cpu().numpy()
        log = cluster_log(now, o.coarse * self.fine, before)
        redrawn = [*trained_parameters(self.super_head), self.sub_weight, self.sub_bias]
        return Refreshed(redrawn, log, {"nmi_labels": now})

    def trivial_losses(self) -> dict[str, float]:
        """What guessing gives."""
        k = TURNS * self.options.coarse
        return {
            f"log {k} + log {self.fine}, what guessing gives": math.log(k) + math.log(self.fine)
        }

    def _turns(self, batch: Batch) -> Tensor:
        """Quarter turns each picture is shown in, int64 [B, T]."""
        if self.options.all_turns:
            device = self.assignments.device
            return torch.arange(TURNS, device=device).expand(len(batch["main"]), TURNS)
        return batch["main"].integers("turn", TURNS)[:, None]

    def _super(self, batch: Batch) -> Tensor:
        """4 c + r, int64 [B, T]."""
        return TURNS * self.assignments[batch["main"].index, 0][:, None] + self._turns(batch)

    def _sub_logits(self, g_BD: Tensor, super_B: Tensor) -> Tensor:
        """Each row through the head of its super-class, [B, k / m]."""
        out = g_BD.new_zeros(len(g_BD), self.fine)
        for s in torch.unique(super_B).tolist():
            rows = (super_B == s).nonzero()[:, 0]
            logits = F.linear(g_BD[rows], self.sub_weight[s], self.sub_bias[s])
            out = out.index_copy(0, rows, logits.to(out.dtype))
        return out

    def _draw_heads(self, round_number: int) -> None:
        generator = torch.Generator().manual_seed(rng.seed64(self.data.seed, "head", round_number))
        for weight in (self.super_head.weight, self.sub_weight):
            with torch.no_grad():
                weight.copy_(torch.empty(weight.shape).normal_(0, 0.01, generator=generator))
        nn.init.zeros_(self.super_head.bias)
        nn.init.zeros_(self.sub_bias)
