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
from foveal.core.rows import Rows, disk_array
from foveal.data.loader import BadFiles, Table, ordered_views
from foveal.errors import FovealError
from foveal.views.spec import View


class DiskFeaturePass:
    """``foveal.methods.base.FeaturePass``: every rank computes and keeps its part of each batch.

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
        self._temporary = tempfile.TemporaryDirectory(prefix="foveal-features-")
        self.folder = Path(self._temporary.name)

    @torch.no_grad()
    def __call__(
        self,
        fn: Callable[[Tensor], Tensor],
        view: View,
        *,
        mode: Literal["eval", "train"] = "eval",
        update_bn: bool = False,
        count: int | None = None,
    ) -> Rows:
        """See ``FeaturePass``."""
        if update_bn and mode != "train":
            raise FovealError("batch-norm statistics only move in mode 'train'")
        was_training = self.method.training
        buffers = None if update_bn else [b.clone() for b in self.method.buffers()]
        self.method.train(mode == "train")
        out: NDArray[np.float32] | None = None
        samples = self._rows(count)
        if not len(samples):
            raise FovealError("there are no samples to compute features of")
        at = self._places(len(samples))
        mine = at[at < len(samples)]
        start = 0
        try:
            # The last sample fills up the last batch, so that all ranks do the same.
            for features in self._forward(fn, view, samples[np.minimum(at, len(samples) - 1)]):
                if out is None:
                    out = disk_array(self.folder, len(mine), features.shape[1])
                kept = features[: len(mine) - start]
                out[start : start + len(kept)] = kept.cpu().numpy()
                start += len(kept)
        finally:
            self.method.train(was_training)
            if buffers is not None:
                for b, before in zip(self.method.buffers(), buffers, strict=True):
                    b.copy_(before)
        assert out is not None
        return Rows(out, mine, len(samples), ranks.world_size() > 1, folder=self.folder)

    def close(self) -> None:
        """Deletes the files."""
        self._temporary.cleanup()

    def _rows(self, count: int | None) -> NDArray[np.int64]:
        every = np.arange(len(self.table))
        if count is None or count >= len(every):
            return every
        return np.sort(rng.permute(rng.key(self.seed, "sample"), len(every), every[:count]))

    def _places(self, count: int) -> NDArray[np.int64]:
        """What this rank computes: its part of every batch, as places among all samples."""
        world = ranks.world_size()
        per_rank = -(-self.batch // world)
        steps = -(-count // (per_rank * world))
        places = np.arange(steps * world * per_rank).reshape(steps, world, per_rank)
        return places[:, ranks.rank()].ravel()

    def _forward(
        self, fn: Callable[[Tensor], Tensor], view: View, samples: NDArray[np.int64]
    ) -> Iterator[Tensor]:
        for _, pixels, ok in ordered_views(
            self.table,
            view,
            batch=-(-self.batch // ranks.world_size()),
            threads=self.threads,
            key=rng.key(self.seed, "refresh"),
            bad=self.bad,
            rows=samples,
        ):
            with self.autocast():
                features = fn(as_images(pixels.to(self.device))).float()
            features[torch.from_numpy(~ok).to(self.device)] = 0
            yield features
