"""Data read in blocks: row groups of tables, keyframe intervals of videos, parts of far shards.

Reading one picture of a block costs as much as reading all of it. A source that is stored so says
which rows lie together (``Blocks``), the order of a stream then stays within a few blocks at a time
(``foveal.data.order``), and what was read is kept until memory is needed (``BlockCache``).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

WINDOW_BYTES = 256_000_000  # decoded blocks that a stream draws from at a time
CACHE_BYTES = 2 * WINDOW_BYTES  # two windows: at the border between them both are in use
_MOST = 16  # blocks in a window: more of them mix no better and cost more memory

T = TypeVar("T")


@dataclass(frozen=True)
class Blocks:
    """Which rows are read together.

    A function of the data alone, never of the machine: the order of a stream depends on it.

    Attributes:
        of: Number of the block of each row, int64 [N].
        window: Blocks that a stream draws from at a time.
    """

    of: NDArray[np.int64]
    window: int

    def rows(self, rows: NDArray[np.int64]) -> Blocks:
        """The blocks of some rows."""
        return Blocks(self.of[rows], self.window)


def blocks_of(source: Any) -> Blocks | None:
    """The blocks of a source; None where any row can be read by itself."""
    found: Blocks | None = getattr(source, "blocks", None)
    return found


def together_of(source: Any) -> NDArray[np.int64]:
    """Equal for rows that belong together, frames of one video; otherwise each row by itself."""
    found: NDArray[np.int64] = getattr(source, "together", np.arange(len(source)))
    return found


def window_of(largest: int) -> int:
    """How many blocks of at most so many bytes a stream draws from at a time."""
    return int(np.clip(WINDOW_BYTES // max(1, largest), 1, _MOST))


class BlockCache(Generic[T]):
    """Blocks that were read last, up to a number of bytes; many threads may ask.

    A block that several threads want is read once. What is in use by somebody stays alive after it
    has left the cache.

    Args:
        read: A block by its key.
        size: Bytes of a block.
        limit: Bytes kept; the block read last is kept whatever its size.
    """

    def __init__(
        self, read: Callable[[Any], T], size: Callable[[T], int], limit: int = CACHE_BYTES
    ) -> None:
        self._read, self._size, self.limit = read, size, limit
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self._coming: dict[Hashable, Future[T]] = {}
        self.bytes = 0

    def get(self, key: Hashable) -> T:
        """The block of a key; what reading it raises is raised to all that wait for it."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key][0]
            coming = self._coming.get(key)
            if coming is None:
                mine = self._coming[key] = Future()
        if coming is not None:
            return coming.result()
        try:
            block = self._read(key)
        except BaseException as error:
            with self._lock:
                del self._coming[key]
            mine.set_exception(error)
            raise
        with self._lock:
            size = self._size(block)
            self._kept[key] = (block, size)
            self.bytes += size
            while self.bytes > self.limit and len(self._kept) > 1:
                self.bytes -= self._kept.popitem(last=False)[1][1]
            del self._coming[key]
        mine.set_result(block)
        return block
