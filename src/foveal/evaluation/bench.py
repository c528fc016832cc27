"""One encoder and one labelled data set: features of everything a protocol compares, on demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.backbones.encoder import Encoder
from foveal.backbones.reading import device_of
from foveal.data.boxes import MarkedSource
from foveal.data.sources import Source
from foveal.engine.screen import ProgressScreen
from foveal.errors import FovealError
from foveal.evaluation.baselines import BN_PICTURES, PIXEL_SIZE, pixels_of_view, random_init
from foveal.evaluation.features import (
    Features,
    Store,
    compute_threads,
    encoder_features,
    view_features,
    weights_digest,
)
from foveal.evaluation.settings import Metric, ProbeSettings
from foveal.evaluation.tuning import Tuning
from foveal.metrics.bootstrap import LEVEL, RESAMPLES
from foveal.recipe import Labels
from foveal.views.presets import center_view, whole_view
from foveal.views.spec import View

if TYPE_CHECKING:
    from rich.console import Console

NAMED = 100  # unreadable files named in a result; embed and scan name all


@dataclass(frozen=True)
class Split:
    """Features of the training and of the test pictures, unlabelled ones left out."""

    train: Features
    test: Features


@dataclass
class Bench:
    """What a protocol works on.

    Attributes:
        encoder: What is measured.
        train, test: The data; labels count in the same classes.
        store: Where features are kept.
        seed: Of bootstrap and held-out parts.
        init_seed: Of the random initialisation.
        k: Neighbours of kNN.
        select: What few-shot SVMs choose on: ``cv`` (training pictures) or ``oracle`` (the test).
        model: What the user calls the encoder.
        labels: Which labels ``fewlabels`` may see, one entry a subset.
        tuning: How networks are fine-tuned.
        results: Where results are kept, None: nowhere.
        console: Where progress is shown; None is standard error.
        quiet: Show nothing.
        settings: Of the probes.
    """

    encoder: Encoder
    train: Source
    test: Source
    store: Store
    seed: int = 0
    init_seed: int = 0
    k: int = 20
    select: str = "cv"
    model: str = "encoder"
    settings: ProbeSettings = field(default_factory=ProbeSettings)
    labels: tuple[Labels, ...] = (Labels(share=0.01), Labels(share=0.1))
    tuning: Tuning = field(default_factory=Tuning)
    results: Path | None = None
    console: Console | None = None
    quiet: bool = True

    def screen(self) -> ProgressScreen:
        """Shows what takes long."""
        return ProgressScreen(self.console, quiet=self.quiet)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.train.classes or [])

    @property
    def metric(self) -> Metric:
        """What a probe's choices are made by, and what is reported.

        Raises:
            FovealError: One that needs one class a picture.
        """
        asked = self.settings.metric
        if asked == "auto":
            return "map_eleven_point" if self.several else "top1"
        if self.several and asked != "map_eleven_point":
            raise FovealError(
                f"metric={asked} needs one class a picture, and those of {self.train.root} may "
                "hold several",
                hint="metric=map_eleven_point",
            )
        return asked

    @cached_property
    def random_encoder(self) -> Encoder:
        """The same network at random initialisation."""
        return random_init(self.encoder, self.train, seed=self.init_seed, store=self.store)

    @cached_property
    def trained(self) -> Split:
        """Features of the encoder, centre view."""
        return self._split(self.encoder)

    @cached_property
    def untrained(self) -> Split:
        """Features of the random initialisation, centre view."""
        return self._split(self.random_encoder)

    @cached_property
    def pixels(self) -> Split:
        """The centre view itself, at most 32 pixels wide."""
        view = self.view(self.pixel_size)
        device = torch.device("cpu")
        with compute_threads(device) as threads:
            train, test = (
                view_features(
                    self.store, pixels_of_view, source, view, {"pixels": 1}, threads=threads
                )
                for source in (self.train, self.test)
            )
        return Split(self.labelled(train), self.labelled(test))

    @property
    def several(self) -> bool:
        """Whether a picture may hold several classes (or none)."""
        return isinstance(self.train, MarkedSource)

    def marks(self, source: Source, found: Features) -> NDArray[np.int8]:
        """Which classes the pictures hold, int8 [N, C]: 1 yes, 0 no, -1 not to be counted.

        Args:
            source: The training or the test part.
            found: Its features.
        """
        if isinstance(source, MarkedSource):
            return source.marks[found.rows]
        own: NDArray[np.int8] = found.labels[:, None] == np.arange(self.classes)
        return own.astype(np.int8)

    def view(self, size: int) -> View:
        """What is cut from a picture: the centre, or all where it may hold several classes."""
        return whole_view(size) if self.several else center_view(size, self.encoder.fraction)

    @property
    def pixel_size(self) -> int:
        """Side of the raw-pixel baseline."""
        return min(PIXEL_SIZE, self.encoder.size)

    @property
    def device(self) -> torch.device:
        """Where the encoder is; probes run there too."""
        return device_of(self.encoder)

    def tensor(self, values: Any) -> Tensor:
        """An array on the probes' device."""
        return torch.from_numpy(values).to(self.device)

    def views(self, encoder: Encoder, rows: Any, views: Sequence[tuple[View, Any]]) -> Tensor:
        """Features of random views [N, V, D] of some training pictures; unreadable ones go."""
        found = [
            encoder_features(self.store, encoder, self.train, view, rows=rows, view_key=key)
            for view, key in views
        ]
        return torch.stack([torch.from_numpy(np.asarray(f.x)) for f in found], 1)

    def configuration(self) -> dict[str, Any]:
        """What shapes every result."""
        e = self.encoder
        split = self.trained
        data = {
            name: {"name": source.root, "n": len(found.x), "fingerprint": source.fingerprint()}
            for name, source, found in (
                ("train", self.train, split.train),
                ("test", self.test, split.test),
            )
        }
        bad = {b.name: b for f in (split.train, split.test) for b in f.bad}
        files = [f"{b.name} ({b.reason})" for _, b in sorted(bad.items())]
        return {
            "model": self.model,
            # Those of the run, whichever of its layers is looked at.
            "weights": weights_digest(e, without=("projection.",)),
            "layer": "pooled" if e.projection is None else "embedding",
            "pooling": "the network's own",
            "dim": e.dim,
            "mode": "eval (batch norms use their running statistics)",
            "view": {"crop": self.view(e.size).crop.kind, "size": e.size,
                     "fraction": 1.0 if self.several else e.fraction,
                     "interpolation": "bicubic", "channels": e.channels},
            "augmented_passes": 0,
            "dtype": "float32",
            "classes": self.classes,
            "seed": self.seed,
            "data": data,
            "unreadable": {"train": len(split.train.bad), "test": len(split.test.bad),
                           "files": files[:NAMED]},
            "bootstrap": {"resamples": RESAMPLES, "level": LEVEL, "kind": "percentile"},
            "random_init": {"seed": self.init_seed,
                            "bn_pictures": min(BN_PICTURES, len(self.train))},
            "pixels": {"size": self.pixel_size},
        }  # fmt: skip

    def _split(self, encoder: Encoder) -> Split:
        view = self.view(encoder.size)
        train, test = (
            encoder_features(self.store, encoder, source, view)
            for source in (self.train, self.test)
        )
        return Split(self.labelled(train), self.labelled(test))

    def labelled(self, found: Features) -> Features:
        """Those of pictures with a label; all, where a picture may hold several classes."""
        known = found.labels >= 0
        if self.several or known.all():
            return found
        if not known.any():
            raise FovealError(
                "none of the pictures has a label", hint="class folders: DATA/CLASS/*.jpg"
            )
        return Features(
            found.x[known], found.labels[known], found.rows[known], found.bad, found.key
        )
