"""One network and one data set of scenes: maps of the network, targets, and heads on them.

Legend: N pictures, C channels of the map, h, w cells, T side of the training targets.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.backbones.base import End
from foveal.backbones.encoder import Encoder
from foveal.backbones.reading import device_of
from foveal.core import rng
from foveal.core.batch import as_images
from foveal.data.scenes import Scenes
from foveal.engine.screen import ProgressScreen
from foveal.errors import FovealError
from foveal.evaluation.baselines import random_init
from foveal.evaluation.dense.feeds import Feed, FrozenFeed, TunedFeed
from foveal.evaluation.dense.head import DenseHead, drawn_head, fit_head
from foveal.evaluation.dense.settings import DenseSettings
from foveal.evaluation.dense.tasks import Task, make_task, move_target, read_target
from foveal.evaluation.features import (
    Features,
    Store,
    check_unchanged,
    compute_threads,
    frozen,
    view_features,
)
from foveal.views.spec import Crop, View
from foveal.views.table import sample

_LEAST_SIZE = 128
_LARGEST = 65504.0  # of float16


@dataclass
class DenseBench:
    """What a dense protocol works on.

    Attributes:
        encoder: What is measured.
        kind: ``segmentation``, ``depth`` or ``normals``.
        train, test: The data.
        store: Where maps, targets and sums are kept.
        settings: Of the head.
        seed: Of heads, orders and bootstrap.
        init_seed: Of the random initialisation.
        screen: Told how training goes.
    """

    encoder: Encoder
    kind: str
    train: Scenes
    test: Scenes
    store: Store
    settings: DenseSettings
    seed: int = 0
    init_seed: int = 0
    screen: ProgressScreen | None = None

    @property
    def size(self) -> int:
        """Side of what the network sees."""
        return self.settings.size or max(self.encoder.size, _LEAST_SIZE)

    @property
    def end(self) -> End:
        """The last map of the network."""
        maps = [end for end in self.encoder.ends if end.kind == "map"]
        if not maps:
            raise FovealError(
                "the network has no map that says what is where",
                hint="a convolutional network or ViT",
            )
        return maps[-1]

    def view(self, mirrored: bool = False) -> View:
        """The whole picture squashed to a square (Goyal et al. 2019), or its mirror image."""
        return View(size=self.size, crop=Crop(kind="whole"), interpolation="bicubic",
                    flip=float(mirrored))  # fmt: skip

    @cached_property
    def random_encoder(self) -> Encoder:
        """The same network at random initialisation, batch norms estimated on this view."""
        return random_init(
            self.encoder, self.train, seed=self.init_seed, store=self.store, view=self.view()
        )

    @cached_property
    def cells(self) -> int:
        """Side of the map."""
        device = device_of(self.encoder)
        with frozen(self.encoder):
            picture = torch.zeros(1, self.encoder.channels, self.size, self.size, device=device)
            found = self.encoder(picture, [self.end.name])[self.end.name]
        if found.shape[2] != found.shape[3]:
            raise FovealError(f"the map '{self.end.name}' of a square is {tuple(found.shape[2:])}")
        return int(found.shape[3])

    def maps(self, encoder: Encoder, source: Scenes, mirrored: bool = False) -> Features:
        """The last map of every picture through a frozen network, float16 [N, C h w], kept."""
        self._check_room(len(source))
        device = device_of(encoder)

        def forward(pixels: Tensor) -> Tensor:
            found = encoder(as_images(pixels.to(device)), [self.end.name])[self.end.name]
            rows: Tensor = found.float().clamp(-_LARGEST, _LARGEST).flatten(1).cpu()
            return rows

        with frozen(encoder) as digest, compute_threads(device) as threads:
            shaped_by = {"network": encoder.describe(), "weights": digest, "map": self.end.name,
                         "device": device.type}  # fmt: skip
            return view_features(
                self.store, forward, source, self.view(mirrored), shaped_by, threads=threads,
                check=lambda: check_unchanged(encoder, digest), dtype="float16",
            )  # fmt: skip

    def targets(self, mirrored: bool = False) -> NDArray[Any]:
        """Targets of all training pictures [N, T, T, ...] at half the side of the view, kept."""
        view, side = self.view(mirrored), max(1, self.size // 2)

        def make(path: Path) -> None:
            out: Any = None
            for i in range(len(self.train)):
                target = read_target(self.train, self.kind, i)
                rows = sample(view, (0, 0), np.array([i]), np.array([target.shape[:2]], np.int32))
                moved = move_target(self.kind, target, rows[0], view, side)
                if out is None:
                    shape = (len(self.train), *moved.shape)
                    out = np.lib.format.open_memmap(path, mode="w+", dtype=moved.dtype, shape=shape)
                out[i] = moved
            out.flush()

        shaped_by = {"targets": self.kind, "version": 1, "data": self.train.fingerprint(),
                     "view": view.model_dump(mode="json"), "side": side}  # fmt: skip
        return self.store.get(shaped_by, make)[0]

    @cached_property
    def task(self) -> Task:
        """What is learned, from the training targets."""
        return make_task(self.kind, self.train, self.targets(), self.settings, self.seed)

    def sums(self, encoder: Encoder) -> tuple[NDArray[np.float64], dict[str, list[str]]]:
        """What the metrics sum, through a head trained on this network; kept.

        Returns:
            [test pictures, F], nan where a picture could not be read, and the names of such
            pictures in ``train`` and ``test``.
        """
        feed: Feed = (
            TunedFeed(self, encoder) if self.settings.finetune else FrozenFeed(self, encoder)
        )

        def make(path: Path) -> dict[str, list[str]]:
            with compute_threads(device_of(encoder)):
                head = self._fitted(feed)
                with torch.no_grad():
                    found = {i: self._measure(i, head, x) for i, x in feed.test()}
            if not found:
                raise FovealError(f"none of the pictures of {self.test.root} could be read")
            out = np.full((len(self.test), len(next(iter(found.values())))), np.nan)
            for i, row in found.items():
                out[i] = row
            np.save(path, out)
            return {
                "train": [self.train.name(i) for i in sorted(feed.unread)],
                "test": [self.test.name(i) for i in range(len(self.test)) if i not in found],
            }

        kept, unread, _ = self.store.get(self._shaped_by(feed.key), make)
        return np.asarray(kept), unread

    def constant_sums(self) -> NDArray[np.float64]:
        """The same for the trivial prediction, on all test pictures."""

        def make(path: Path) -> None:
            found = []
            for i in range(len(self.test)):
                truth = read_target(self.test, self.kind, i)
                shape = (*truth.shape[:2], *self.task.constant.shape)
                found.append(self.task.sums(np.broadcast_to(self.task.constant, shape), truth))
            np.save(path, np.stack(found))

        return np.asarray(self.store.get(self._shaped_by("constant"), make)[0])

    def _fitted(self, feed: Feed) -> DenseHead:
        task, settings = self.task, self.settings
        head = drawn_head(
            self.end.channels, task.outputs, width=settings.width, cells=self.cells, seed=self.seed
        ).to(device_of(self.encoder))
        targets = [self.targets(mirrored) for mirrored in (False, True)]
        device = device_of(self.encoder)

        def batches() -> Iterator[tuple[Tensor, Tensor]]:
            for epoch in range(settings.epochs):
                key = rng.key(self.seed, "dense order", epoch)
                order = rng.permute(key, len(feed.rows), np.arange(len(feed.rows)))
                for rows, x in feed.batches(feed.rows[order], mirrored=epoch % 2 == 1):
                    yield x, torch.from_numpy(targets[epoch % 2][rows]).to(device)

        steps = settings.epochs * -(-len(feed.rows) // settings.batch)
        fit_head(head, batches(), task.loss, settings, steps, feed.parameters, screen=self.screen)
        return head

    def _measure(self, i: int, head: DenseHead, x: Tensor) -> NDArray[np.float64]:
        truth = read_target(self.test, self.kind, i)
        out = head(x, (truth.shape[0], truth.shape[1]))[0]
        return self.task.sums(self.task.predict(out), truth)

    def _shaped_by(self, what: Any) -> dict[str, Any]:
        return {
            "dense": self.kind,
            "version": 1,
            "of": what,
            "settings": self.settings.model_dump(mode="json"),
            "size": self.size,
            "seed": self.seed,
            "train": self.train.fingerprint(),
            "test": self.test.fingerprint(),
        }

    def _check_room(self, n: int) -> None:
        need = 2 * n * self.end.channels * self.cells**2
        folder = next(p for p in (self.store.folder, *self.store.folder.parents) if p.exists())
        free = shutil.disk_usage(folder).free
        if need > 0.9 * free:
            raise FovealError(
                f"the maps of {n:,} pictures need {need / 1e9:.1f} GB in {folder}, and "
                f"{free / 1e9:.1f} GB are free",
                hint=f"size={max(32, self.size // 2)} for smaller maps",
            )
