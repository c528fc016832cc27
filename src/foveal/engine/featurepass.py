"""The pass over all samples that refreshes of pseudo-labels need."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foveal.core import ranks, rng
from foveal.core.batch import as_images
from foveal.data.loader import BadFiles, Table, ordered_views
from foveal.errors import FovealError
from foveal.views.spec import View


class DiskFeaturePass:
    """``foveal.methods.base.FeaturePass``: batches in row order, cut between ranks, kept on disk.

    Args:
        method: Whose modules are switched to the asked mode meanwhile.
        table: The samples.
        device: Where the network is.
        batch: Samples per forward.
        threads: Loader threads.
        seed: Keys the views.
        autocast: Makes the context forwards run in.
        bad: Where unreadable files are noted; their rows are zeros.
    """

    def __init__(
        self,
        method: nn.Module,
        table: Table,
        *,
        device: torch.device,
        batch: int,
        threads: int,
        seed: int,
        autocast: Callable[[], Any],
        bad: BadFiles,
    ) -> None:
        self.method, self.table, self.device = method, table, device
        self.batch, self.threads, self.seed = batch, threads, seed
        self.autocast, self.bad = autocast, bad
        self._folder = tempfile.TemporaryDirectory(prefix="foveal-features-")
        self._passes = 0

    @torch.no_grad()
    def __call__(
        self,
        fn: Callable[[Tensor], Tensor],
        view: View,
        *,
        mode: Literal["eval", "train"] = "eval",
        update_bn: bool = False,
        count: int | None = None,
    ) -> NDArray[np.float32]:
        """See ``FeaturePass``."""
        if update_bn and mode != "train":
            raise FovealError("batch-norm statistics only move in mode 'train'")
        self._passes += 1
        was_training = self.method.training
        buffers = None if update_bn else [b.clone() for b in self.method.buffers()]
        self.method.train(mode == "train")
        out: NDArray[np.float32] | None = None
        samples = self._rows(count)
        per_rank = -(-self.batch // ranks.world_size())
        start = 0
        try:
            for part in self._forward(fn, view, samples, per_rank):
                features = ranks.gather_rows(part)[: len(samples) - start]
                if out is None:
                    out = self._file(len(samples), features.shape[1])
                out[start : start + len(features)] = features.cpu().numpy()
                start += len(features)
        finally:
            self.method.train(was_training)
            if buffers is not None:
                for b, before in zip(self.method.buffers(), buffers, strict=True):
                    b.copy_(before)
        if out is None:
            raise FovealError("there are no samples to compute features of")
        return out

    def close(self) -> None:
        """Deletes the files."""
        self._folder.cleanup()

    def _rows(self, count: int | None) -> NDArray[np.int64]:
        every = np.arange(len(self.table))
        if count is None or count >= len(every):
            return every
        return np.sort(rng.permute(rng.key(self.seed, "sample"), len(every), every[:count]))

    def _forward(
        self, fn: Callable[[Tensor], Tensor], view: View, samples: NDArray[np.int64], per_rank: int
    ) -> Iterator[Tensor]:
        """Features of this rank's part of every batch; the last sample fills up the last batch."""
        world = ranks.world_size()
        steps = -(-len(samples) // (per_rank * world))
        at = np.arange(steps * world * per_rank).reshape(steps, world, per_rank)
        mine = np.minimum(at[:, ranks.rank()], len(samples) - 1)
        for _, pixels, ok in ordered_views(
            self.table,
            view,
            batch=per_rank,
            threads=self.threads,
            key=rng.key(self.seed, "refresh"),
            bad=self.bad,
            rows=samples[mine.ravel()],
        ):
            with self.autocast():
                features = fn(as_images(pixels.to(self.device))).float()
            features[torch.from_numpy(~ok).to(self.device)] = 0
            yield features

    def _file(self, rows: int, width: int) -> NDArray[np.float32]:
        path = Path(self._folder.name) / f"{self._passes}.npy"
        return np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, width))
