"""One network and one data set with boxes: a detector on it, and what it finds.

Legend: N pictures, M objects and D detections of one, K detections in all, C channels, H, W pixels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.backbones.encoder import Encoder
from foveal.backbones.reading import device_of
from foveal.core import rng
from foveal.core.batch import as_images
from foveal.data.boxes import Boxes
from foveal.data.scenes import Annotated
from foveal.engine.screen import ProgressScreen
from foveal.errors import BadImage, FovealError
from foveal.evaluation.baselines import random_init
from foveal.evaluation.detection.detector import Detector, Target, build_detector
from foveal.evaluation.detection.settings import DetectionSettings
from foveal.evaluation.features import Store, compute_threads, weights_digest
from foveal.evaluation.fit import by_steps, fit
from foveal.metrics.detection import Found
from foveal.views.presets import whole_view

_MEASURED = 64  # pictures whose short sides say the size
_LARGEST = 800


@dataclass
class DetectionBench:
    """What the protocol works on.

    Attributes:
        encoder: What is measured.
        train, test: The data.
        store: Where detections are kept.
        settings: Of the detector.
        seed: Of new layers, orders and bootstrap.
        init_seed: Of the random initialisation.
        screen: Told how training goes.
    """

    encoder: Encoder
    train: Annotated
    test: Annotated
    store: Store
    settings: DetectionSettings
    seed: int = 0
    init_seed: int = 0
    screen: ProgressScreen | None = None

    @cached_property
    def size(self) -> int:
        """Short side of what the network sees: the median of the data's, at most 800."""
        if self.settings.size:
            return self.settings.size
        key = rng.key(self.seed, "detection size")
        some = rng.permute(key, len(self.train), np.arange(min(_MEASURED, len(self.train))))
        sides = [min(x.shape[1:]) for _, x in _pictures(self.train, some, 1) if x is not None]
        if not sides:
            raise FovealError(f"none of {len(some)} pictures of {self.train.root} could be read")
        return int(min(_LARGEST, np.median(sides)))

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """Training pictures with an object to learn from; difficult ones and crowds are none."""
        rows = [i for i in range(len(self.train)) if len(countable(self.train.boxes(i)).label)]
        if not rows:
            raise FovealError(f"{self.train.root} holds no object to learn from", hint="boxes")
        return np.array(rows)

    @cached_property
    def truth(self) -> list[Boxes]:
        """Objects of all test pictures."""
        found = [self.test.boxes(i) for i in range(len(self.test))]
        if not any(len(countable(boxes).label) for boxes in found):
            raise FovealError(f"{self.test.root} holds no object to find", hint="boxes")
        return found

    @cached_property
    def steps(self) -> int:
        """Of training."""
        s = self.settings
        return s.steps or max(1, round(s.epochs * len(self.rows) / s.batch))

    @cached_property
    def random_encoder(self) -> Encoder:
        """The same network at random initialisation, batch norms estimated on squashed pictures."""
        return random_init(
            self.encoder, self.train, seed=self.init_seed, store=self.store,
            view=whole_view(self.size),
        )  # fmt: skip

    def found(self, encoder: Encoder) -> tuple[list[Found | None], dict[str, Any]]:
        """What a detector trained on this network finds in the test pictures; kept.

        Returns:
            None for pictures that could not be read; and what is to be told of it: the head, the
            last loss, names of unreadable pictures in ``train`` and ``test``.
        """

        def make(path: Path) -> dict[str, Any]:
            with compute_threads(device_of(encoder)) as threads:
                detector, about = self._fitted(encoder, threads)
                found = self._tested(detector, threads)
            rows = [
                np.column_stack([np.full(len(f.label), i), f.label, f.score, f.corners])
                for i, f in enumerate(found)
                if f is not None
            ]
            if not rows:
                raise FovealError(f"none of the pictures of {self.test.root} could be read")
            np.save(path, np.concatenate(rows))
            missing = [i for i, f in enumerate(found) if f is None]
            return {**about, "unread": missing, "test": [self.test.name(i) for i in missing]}

        rows, notes, _ = self.store.get(self._shaped_by(encoder), make)
        by_picture = np.split(rows, np.searchsorted(rows[:, 0], np.arange(1, len(self.test))))
        found: list[Found | None] = [
            Found(x[:, 3:], x[:, 1].astype(np.int64), x[:, 2]) for x in by_picture
        ]
        for i in notes["unread"]:
            found[i] = None
        return found, notes

    def _fitted(self, encoder: Encoder, threads: int) -> tuple[Detector, dict[str, Any]]:
        s = self.settings
        detector = build_detector(
            encoder, s, classes=len(self.train.things), size=self.size, seed=self.seed
        ).train()
        unread: set[int] = set()
        last = fit(
            self._losses(detector, unread, threads), detector.groups(), s.optimiser,
            by_steps(s.optimiser, s.schedule, self.steps), self.steps,
            clip=s.clip, screen=self.screen, batch=s.batch,
        )  # fmt: skip
        names = [self.train.name(i) for i in sorted(unread)]
        return detector.eval(), {"head": detector.head, "last_loss": round(last, 4), "train": names}

    def _losses(self, detector: Detector, unread: set[int], threads: int) -> Iterator[Tensor]:
        """One for every step, drawn by the seed and the step alone."""
        device = device_of(detector)
        cuda = [device] if device.type == "cuda" else []
        batch: list[tuple[Tensor, Target]] = []
        step = 0
        for i, pixels, mirrored in self._stream(unread, threads):
            batch.append(_example(pixels, self.train.boxes(i), mirrored, device))
            if len(batch) < self.settings.batch:
                continue
            # torchvision draws regions and sizes from torch's generator.
            with torch.random.fork_rng(devices=cuda):
                torch.manual_seed(rng.seed64(self.seed, "detection", step))
                losses = detector([x for x, _ in batch], [t for _, t in batch])
            assert isinstance(losses, dict)
            yield torch.stack(list(losses.values())).sum()
            batch, step = [], step + 1
            if step == self.steps:
                return

    def _stream(self, unread: set[int], threads: int) -> Iterator[tuple[int, Tensor, bool]]:
        """Training pictures pass after pass, each time mirrored or not."""
        n, epoch = len(self.rows), 0
        while len(unread) < n:
            order = rng.permute(rng.key(self.seed, "detection order", epoch), n, np.arange(n))
            mirror = rng.bits(rng.key(self.seed, "detection mirror", epoch), order, 1)[:, 0] & 1
            flips = iter(mirror)
            for i, pixels in _pictures(self.train, self.rows[order], threads):
                mirrored = bool(next(flips))
                if pixels is None:
                    unread.add(i)
                else:
                    yield i, pixels, mirrored
            epoch += 1
        raise FovealError(f"none of the pictures of {self.train.root} could be read")

    @torch.no_grad()
    def _tested(self, detector: Detector, threads: int) -> list[Found | None]:
        device = device_of(detector)
        found: list[Found | None] = [None] * len(self.test)
        waiting: list[tuple[int, Tensor]] = []
        for i, pixels in _pictures(self.test, np.arange(len(self.test)), threads):
            if pixels is not None:
                waiting.append((i, pixels.to(device)))
            if len(waiting) == self.settings.batch or (waiting and i == len(self.test) - 1):
                outputs = detector([x for _, x in waiting])
                for (row, _), output in zip(waiting, outputs, strict=True):
                    found[row] = _found(output)
                waiting = []
        return found

    def _shaped_by(self, encoder: Encoder) -> dict[str, Any]:
        return {
            "detection": 1,
            "network": encoder.describe(),
            "weights": weights_digest(encoder),
            "device": device_of(encoder).type,
            "settings": self.settings.model_dump(mode="json"),
            "size": self.size,
            "seed": self.seed,
            "train": self.train.fingerprint(),
            "test": self.test.fingerprint(),
        }


def countable(boxes: Boxes) -> Boxes:
    """Objects with an area that are not difficult."""
    sides = boxes.corners[:, 2:] - boxes.corners[:, :2]
    keep = ~boxes.difficult & (sides > 0).all(1)
    return Boxes(boxes.corners[keep], boxes.label[keep], boxes.difficult[keep], boxes.area[keep])


def _example(
    pixels: Tensor, boxes: Boxes, mirrored: bool, device: torch.device
) -> tuple[Tensor, Target]:
    """A picture [C, H, W] and its objects, both mirrored or not."""
    some = countable(boxes)
    corners = some.corners.copy()
    if mirrored:
        pixels = pixels.flip(2)
        corners[:, [0, 2]] = pixels.shape[2] - corners[:, [2, 0]]
    return pixels.to(device), {
        "boxes": torch.from_numpy(corners).float().to(device),
        "labels": torch.from_numpy(some.label + 1).to(device),
    }


def _found(output: dict[str, Tensor]) -> Found:
    return Found(
        output["boxes"].double().cpu().numpy(),
        output["labels"].cpu().numpy() - 1,
        output["scores"].double().cpu().numpy(),
    )


def _pictures(
    source: Annotated, rows: NDArray[np.int64], threads: int
) -> Iterator[tuple[int, Tensor | None]]:
    """Pictures [C, H, W] in [0, 1] at their own size in order, read ahead; None: unreadable."""

    def read(i: int) -> Tensor | None:
        try:
            pixels: NDArray[Any] = source.read(i)
        except BadImage:
            return None
        if pixels.dtype == np.uint16:
            pixels = pixels.astype(np.float32) / 65535
        return as_images(torch.from_numpy(np.ascontiguousarray(pixels)))

    ahead: deque[tuple[int, Future[Tensor | None]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for i in rows:
                ahead.append((int(i), pool.submit(read, int(i))))
                if len(ahead) > 2 * threads:
                    row, future = ahead.popleft()
                    yield row, future.result()
            for row, future in ahead:
                yield row, future.result()
        finally:
            for _, future in ahead:
                future.cancel()
