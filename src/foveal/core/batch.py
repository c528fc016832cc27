"""What a method sees of the data: batches of views, each with what made it.

Legend: B samples of this rank, T tiles, H, W pixels, C channels, P parts, K columns.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.core import rng


@dataclass(frozen=True)
class StreamBatch:
    """One rank's part of one stream's batch.

    Attributes:
        views: By name, uint8 [B, H, W, C]; tiled views [B, T, H, W, C]. Of pictures of 16 bits
            float32 in [0, 1].
        table: By view name, the rows that made it, float32 [B, P, K] (``foveal.views.table``).
        index: Row of the sample table, int64 [B].
        position: Position in the stream, int64 [B]; always on the CPU, where draws are keyed by it.
        label: int64 [B], -1 unknown. For evaluation, and for methods that say they use labels.
        targets: By name, whatever ``Method.samples`` attached to the rows.
        seed: The run's seed.
        stream: The stream's name.
        step: The optimiser step.
    """

    views: dict[str, Tensor]
    table: dict[str, Tensor]
    index: Tensor
    position: Tensor
    label: Tensor
    targets: dict[str, Tensor] = field(default_factory=dict)
    seed: int = 0
    stream: str = "main"
    step: int = 0

    def __len__(self) -> int:
        return len(self.index)

    @property
    def device(self) -> torch.device:
        """Where the views are."""
        return self.index.device

    def images(self, view: str) -> Tensor:
        """A view as float32 in [0, 1], [B, C, H, W] (tiles [B, T, C, H, W]), channels last."""
        return as_images(self.views[view])

    def random(self, name: str, shape: tuple[int, ...] = ()) -> Tensor:
        """Uniform numbers [B, *shape] keyed by (seed, stream, position, name)."""
        n = int(np.prod(shape, dtype=np.int64)) if shape else 1
        k = rng.key(self.seed, "method", self.stream, name)
        draws = _below_one(rng.uniform(k, self.position.numpy(), n))
        return torch.from_numpy(draws).reshape(len(self), *shape).to(self.device)

    def integers(self, name: str, high: int, shape: tuple[int, ...] = ()) -> Tensor:
        """Integers in [0, high), int64 [B, *shape], keyed as ``random``."""
        n = int(np.prod(shape, dtype=np.int64)) if shape else 1
        k = rng.key(self.seed, "method", self.stream, name)
        draws = rng.integers(k, self.position.numpy(), n, high)
        return torch.from_numpy(draws).reshape(len(self), *shape).to(self.device)

    def shared_random(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Uniform numbers [*shape] keyed by (seed, step, name): the same on every rank."""
        n = int(np.prod(shape, dtype=np.int64)) if shape else 1
        k = rng.key(self.seed, "shared", self.stream, name)
        draws = _below_one(rng.uniform(k, np.array([self.step]), n))
        return torch.from_numpy(draws).reshape(shape).to(self.device)

    def shared_normal(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Standard normal numbers [*shape], float32, keyed as ``shared_random``."""
        n = int(np.prod(shape, dtype=np.int64)) if shape else 1
        k = rng.key(self.seed, "shared", self.stream, name)
        draws = rng.normal(k, np.array([self.step]), n).astype(np.float32)
        return torch.from_numpy(draws).reshape(shape).to(self.device)

    def to(self, device: torch.device) -> StreamBatch:
        """The same batch on another device."""

        def move(x: Tensor) -> Tensor:
            return x.to(device, non_blocking=True)

        return replace(
            self,
            views={k: move(v) for k, v in self.views.items()},
            table={k: move(v) for k, v in self.table.items()},
            index=move(self.index),
            label=move(self.label),
            targets={k: move(v) for k, v in self.targets.items()},
        )

    def rows(self, start: int, stop: int) -> StreamBatch:
        """Some consecutive samples of it: a micro-batch."""
        return replace(
            self,
            views={k: v[start:stop] for k, v in self.views.items()},
            table={k: v[start:stop] for k, v in self.table.items()},
            index=self.index[start:stop],
            position=self.position[start:stop],
            label=self.label[start:stop],
            targets={k: v[start:stop] for k, v in self.targets.items()},
        )


def _below_one(draws: NDArray[np.float64]) -> NDArray[np.float32]:
    """float32 numbers in [0, 1): rounding must not turn 1 - 2**-32 into 1."""
    return np.minimum(draws.astype(np.float32), np.float32(1 - 2**-24))


Batch: TypeAlias = dict[str, StreamBatch]
"""The streams due at a step, by name."""


def as_images(pixels: Tensor) -> Tensor:
    """Pixels [..., H, W, C] -> float32 [..., C, H, W] in [0, 1]; the memory stays channels last.

    uint8 is divided by 255; float32 is in [0, 1] already, and the result is a view of it.
    """
    if pixels.dtype == torch.uint8:
        pixels = pixels.to(torch.float32).mul_(1 / 255)
    return pixels.movedim(-1, -3)


def split(batch: Batch, parts: int) -> list[Batch]:
    """Cuts every stream into ``parts`` equal micro-batches of consecutive samples."""
    if parts == 1:
        return [batch]
    cut = {name: len(b) // parts for name, b in batch.items()}
    return [
        {name: b.rows(i * cut[name], (i + 1) * cut[name]) for name, b in batch.items()}
        for i in range(parts)
    ]
