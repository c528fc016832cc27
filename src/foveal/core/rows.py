"""Features of many samples, each rank keeping its own: on disk or in memory, read in blocks.

Nothing here is ever joined but numbers of one a row. Legend: N rows over all ranks, R of this rank,
D features.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.core import ranks

_BLOCK_BYTES = 1 << 25


@dataclass(frozen=True)
class Rows:
    """This rank's rows.

    Attributes:
        x: float32 [R, D], an array or a memory map; more rows where ``pick`` is given.
        at: Number of each row among all ranks' rows, int64 [R], rising.
        total: Rows of all ranks, N.
        shared: Other ranks hold the other rows: sums are over ranks, and all of them must ask.
        pick: Which rows of ``x`` these are, int64 [R]; None: all.
        folder: Where rows made of these are kept; None: in memory.
    """

    x: NDArray[np.float32]
    at: NDArray[np.int64]
    total: int
    shared: bool = False
    pick: NDArray[np.int64] | None = None
    folder: Path | None = None

    def __len__(self) -> int:
        return len(self.at)

    @property
    def width(self) -> int:
        """D."""
        return int(self.x.shape[1])

    def read(self, part: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        """Some of this rank's rows, by their place here."""
        return self.x[part if self.pick is None else self.pick[part]]

    def blocks(self, most: int | None = None) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """All of this rank's rows in order, ``most`` at a time (None: 32 MB of them)."""
        most = most or max(1, _BLOCK_BYTES // (4 * max(1, self.width)))
        for start in range(0, len(self), most):
            part = slice(start, min(start + most, len(self)))
            yield part, self.read(part)

    def take(self, numbers: NDArray[np.int64]) -> Rows:
        """The rows of some numbers, rising and the same on every rank, numbered anew from 0."""
        mine = np.flatnonzero(np.isin(self.at, numbers))
        return replace(
            self,
            at=np.searchsorted(numbers, self.at[mine]),
            total=len(numbers),
            pick=mine if self.pick is None else self.pick[mine],
        )

    def map(self, fn: Callable[[Tensor], Tensor]) -> Rows:
        """What ``fn`` makes of blocks of rows, [R, D] -> [R, E], kept where these are kept."""
        width = fn(torch.empty(0, self.width)).shape[1]
        out = self._space(width)
        for part, block in self.blocks():
            out[part] = fn(as_tensor(block)).cpu().numpy()
        return replace(self, x=out, pick=None)

    def sum(self, x: Tensor) -> Tensor:
        """Sum over the ranks that hold rows."""
        return ranks.sum_over_ranks(x) if self.shared else x

    def largest(self, x: Tensor) -> Tensor:
        """Maximum over the ranks that hold rows."""
        return ranks.max_over_ranks(x) if self.shared else x

    def join(self, x: Tensor) -> Tensor:
        """A whole number for every row of every rank, on each of them: int64 [R] -> [N]."""
        out = torch.zeros(self.total, dtype=torch.int64, device=x.device)
        out[torch.from_numpy(self.at).to(x.device)] = x.long()
        return self.sum(out)

    def _space(self, width: int) -> NDArray[np.float32]:
        if self.folder is None:
            return np.empty((len(self), width), np.float32)
        return disk_array(self.folder, len(self), width)


def whole(x: NDArray[np.float32] | Rows) -> Rows:
    """An array as rows that are all in this process; rows as they are."""
    return x if isinstance(x, Rows) else Rows(x, np.arange(len(x)), len(x))


def disk_array(folder: Path, rows: int, width: int) -> NDArray[np.float32]:
    """A new float32 array of zeros in a file of its own, mapped into memory."""
    if rows == 0:
        return np.empty((0, width), np.float32)  # no map without bytes
    handle, path = tempfile.mkstemp(suffix=".npy", dir=folder)
    os.close(handle)
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, width))


def as_tensor(block: NDArray[np.float32]) -> Tensor:
    """A block as a float32 tensor of its own: what was read may be read-only."""
    return torch.from_numpy(np.array(block, np.float32))
