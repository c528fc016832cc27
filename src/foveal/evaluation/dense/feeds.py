"""Where the maps come from that a head learns on: computed once, or by a network that learns too.

Legend: B pictures, C channels of the map, h, w cells.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.backbones.encoder import Encoder
from foveal.backbones.reading import device_of
from foveal.core.batch import as_images
from foveal.data.loader import Table, ordered_views
from foveal.errors import FovealError
from foveal.evaluation.features import weights_digest

if TYPE_CHECKING:
    from foveal.evaluation.dense.bench import DenseBench


class FrozenFeed:
    """Maps that were computed once."""

    parameters: tuple[torch.nn.Parameter, ...] = ()

    def __init__(self, bench: DenseBench, encoder: Encoder) -> None:
        self.bench, self.device = bench, device_of(encoder)
        self.train = [bench.maps(encoder, bench.train, mirrored) for mirrored in (False, True)]
        self.tested = bench.maps(encoder, bench.test)
        self.rows, again = (found.rows for found in self.train)
        if not np.array_equal(self.rows, again):
            raise FovealError(
                f"{bench.train.root} changed while it was measured", hint="the same command again"
            )
        self.unread = set(range(len(bench.train))) - set(self.rows.tolist())
        self.key = [found.key for found in (*self.train, self.tested)]
        self.shape = (bench.end.channels, bench.cells, bench.cells)

    def batches(
        self, rows: NDArray[np.int64], *, mirrored: bool
    ) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """Rows of the source and their maps, [B, C, h, w]."""
        size = self.bench.settings.batch
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            yield some, self._tensor(self.train[mirrored].x[np.searchsorted(self.rows, some)])

    def test(self) -> Iterator[tuple[int, Tensor]]:
        """Row and map [1, C, h, w] of every test picture that could be read."""
        for i, x in zip(self.tested.rows, self.tested.x, strict=True):
            yield int(i), self._tensor(x[None])

    def _tensor(self, x: NDArray[Any]) -> Tensor:
        found = torch.from_numpy(np.asarray(x, np.float32)).reshape(-1, *self.shape)
        return found.to(self.device, memory_format=torch.channels_last)


class TunedFeed:
    """Maps of a copy of the network that is trained with the head.

    Batch norms keep their statistics: batches are small, and so is the copy's way from its start.
    """

    def __init__(self, bench: DenseBench, encoder: Encoder) -> None:
        self.bench, self.device = bench, device_of(encoder)
        self.network = copy.deepcopy(encoder).eval().requires_grad_(True)
        self.parameters = tuple(self.network.parameters())
        self.key = {"network": encoder.describe(), "weights": weights_digest(encoder)}
        self.tables = [
            Table(source, np.arange(len(source)), np.full(len(source), -1))
            for source in (bench.train, bench.test)
        ]
        self.rows = np.arange(len(bench.train))
        self.unread: set[int] = set()

    def batches(
        self, rows: NDArray[np.int64], *, mirrored: bool
    ) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """See ``FrozenFeed``; with gradient."""
        yield from self._pass(0, rows, mirrored, self.bench.settings.batch)

    def test(self) -> Iterator[tuple[int, Tensor]]:
        """See ``FrozenFeed``."""
        for some, x in self._pass(1, np.arange(len(self.bench.test)), False, 1):
            yield int(some[0]), x

    def _pass(
        self, part: int, rows: NDArray[np.int64], mirrored: bool, batch: int
    ) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        name = self.bench.end.name
        views = ordered_views(
            self.tables[part], self.bench.view(mirrored), batch=batch, threads=1, rows=rows
        )
        for some, pixels, ok in views:
            if part == 0:
                self.unread.update(some[~ok].tolist())
            if ok.any():
                images = as_images(pixels[torch.from_numpy(ok)].to(self.device))
                yield some[ok], self.network(images, [name])[name]


Feed = FrozenFeed | TunedFeed
"""Gives rows of the training part and their maps, in a given order, and the test part's maps."""
