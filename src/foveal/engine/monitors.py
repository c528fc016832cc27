"""Is it learning? Health of the features and losses that mean nothing was learned, in words."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foveal.backbones.encoder import Encoder
from foveal.backbones.reading import in_pieces
from foveal.core import rng
from foveal.data.loader import Table, ordered_views
from foveal.methods.base import Refreshed
from foveal.metrics.cka import linear_cka
from foveal.metrics.clustering import normalised_mutual_information
from foveal.metrics.health import feature_std, rankme
from foveal.metrics.knn import knn_accuracy
from foveal.views.presets import center_view

_HEALTH_IMAGES = 512
_PROBE_TRAIN, _PROBE_TEST = 3000, 1000
_COLLAPSED_SPREAD = 0.1  # of what evenly spread features have
_COLLAPSED_RANK = 2.0
_TRIVIAL_SHARE = 0.005
_LOSSES = 100


def refresh_log(done: Refreshed, table: Table, began: float) -> dict[str, float]:
    """What to log of a refresh that began at ``began`` (monotonic clock).

    Where there are labels, with the normalised mutual information of clusters and labels.
    """
    log = {"seconds": round(time.monotonic() - began, 2), **done.log}
    known = table.label >= 0
    for name, found in done.clusters.items():
        if known.any():
            log[name] = normalised_mutual_information(
                table.label[known], found[known], normaliser="geometric"
            )
    return log


class Monitor:
    """Looks at the features from time to time, through the deterministic centre view.

    Labels, where the folders hold any, are used in this file for two things: to log how far
    clusters are classes, and for a kNN probe on a held-out part of the *training* pictures, logged
    as "online".

    Args:
        table: The samples.
        size, fraction: The centre view.
        seed: Keys which pictures are looked at.
        threads: Loader threads.
        against_start: Also compare the features with those of the first look.
    """

    def __init__(
        self,
        table: Table,
        *,
        size: int,
        fraction: float,
        seed: int,
        threads: int,
        against_start: bool = False,
    ) -> None:
        self.table, self.threads = table, threads
        self.against_start = against_start
        self.start: Tensor | None = None
        self.view = center_view(size, fraction)
        every = np.arange(len(table))
        mixed = rng.permute(rng.key(seed, "monitor"), len(table), every)
        self.health_rows = np.sort(mixed[:_HEALTH_IMAGES])
        known = mixed[table.label[mixed] >= 0]
        self.train_rows, self.test_rows = _split(known)

    @property
    def has_probe(self) -> bool:
        """Whether there are labels enough for the online probe."""
        labels = self.table.label[self.test_rows]
        return len(self.test_rows) >= 20 and len(np.unique(labels)) >= 2

    def look(self, encoder: Encoder, owner: nn.Module) -> dict[str, float]:
        """Health figures, and ``knn`` where there are labels. Changes nothing of ``owner``."""
        was_training = owner.training
        owner.eval()
        try:
            features = self._features(encoder, self.health_rows)
            found = {
                "feature_std": feature_std(features),
                "effective_rank": rankme(features),
                "dimensions": float(features.shape[1]),
            }
            if self.against_start:
                self.start = features if self.start is None else self.start
                found["cka_to_start"] = linear_cka(self.start, features)
            if self.has_probe:
                found["knn"] = knn_accuracy(
                    self._features(encoder, self.train_rows),
                    torch.from_numpy(self.table.label[self.train_rows]),
                    self._features(encoder, self.test_rows),
                    torch.from_numpy(self.table.label[self.test_rows]),
                    k=20,
                )
        finally:
            owner.train(was_training)
        return found

    @torch.no_grad()
    def _features(self, encoder: Encoder, rows: NDArray[np.int64]) -> Tensor:
        parts = []
        for _, pixels, ok in ordered_views(
            self.table, self.view, batch=256, threads=self.threads, rows=rows
        ):
            features = in_pieces(encoder, pixels)
            features[torch.from_numpy(~ok)] = 0
            parts.append(features)
        return torch.cat(parts)


def _split(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Train and test rows of the online probe: at most a quarter is held out."""
    test = min(_PROBE_TEST, len(rows) // 4)
    return np.sort(rows[test : test + _PROBE_TRAIN]), np.sort(rows[:test])


@dataclass
class Watch:
    """Turns figures into warnings, each said once.

    Attributes:
        trivial: Loss values that mean nothing was learned, by their meaning.
    """

    trivial: dict[str, float]
    _losses: dict[int, deque[float]] = field(default_factory=dict)
    _said: set[str] = field(default_factory=set)

    def loss(
        self, value: float, trivial: dict[str, float], epoch: float, turn: int = 0
    ) -> list[str]:
        """Warnings about the loss; called at every step.

        Args:
            value: The loss.
            trivial: See the class.
            epoch: Passes done.
            turn: Which of several tasks that take turns it belongs to.
        """
        self.trivial = trivial or self.trivial
        losses = self._losses.setdefault(turn, deque(maxlen=_LOSSES))
        losses.append(value)
        if len(losses) < _LOSSES or epoch < 1:
            return []
        mean = float(np.mean(losses))
        found = []
        for meaning, level in self.trivial.items():
            if abs(mean - level) <= _TRIVIAL_SHARE * max(abs(level), 0.1):
                found.append(
                    self._once(
                        f"loss:{meaning}",
                        f"the loss has stood at {mean:.4f} for {len(losses)} steps; "
                        f"{level:.4f} is {meaning}. The usual causes: a learning rate too high "
                        "or too low, or views that leave nothing to recognise",
                    )
                )
        return [w for w in found if w]

    def health(self, found: dict[str, float]) -> list[str]:
        """Warnings about the features."""
        warnings = []
        if found["feature_std"] < _COLLAPSED_SPREAD:
            warnings.append(
                self._once(
                    "spread",
                    f"the features of different pictures are nearly the same (spread "
                    f"{found['feature_std']:.3f}; evenly spread features have 1): the network is "
                    "collapsing. Lower optimiser.lr, or take a method with negatives (simclr)",
                )
            )
        if found["effective_rank"] < _COLLAPSED_RANK:
            warnings.append(
                self._once(
                    "rank",
                    f"the features use about {found['effective_rank']:.1f} of "
                    f"{found['dimensions']:.0f} directions: the network is collapsing",
                )
            )
        return [w for w in warnings if w]

    def _once(self, name: str, text: str) -> str | None:
        if name in self._said:
            return None
        self._said.add(name)
        return text
