"""Which sample stands at a position of a stream: a keyed permutation, reached at any position.

A stream is endless; every ``n`` draws are a round (an epoch). Only groups or blocks are stored.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from foveal.core import rng
from foveal.data.blocks import Blocks
from foveal.errors import FovealError


class Order:
    """The order of one stream.

    Without groups each round is a permutation of all samples. With groups every non-empty group is
    drawn equally often (DeepCluster's uniform sampling over clusters): a round holds
    ``ceil(n / live)`` draws of each live group, shuffled and cut to ``n``; draws of a group repeat
    a sample only where the group is smaller than its share.

    With blocks (``foveal.data.blocks``) a round permutes the blocks, cuts their row into windows
    and permutes the samples of each window: a reader then needs one window at a time. Where groups
    are given, too, blocks do not count.

    Args:
        n: Samples.
        seed: The run's seed.
        stream: The stream's name.
        groups: Group of each sample, int64 [n], -1 = left out; None draws all samples evenly.
        blocks: Samples that are read together, [n].
    """

    def __init__(
        self,
        n: int,
        seed: int,
        stream: str,
        groups: NDArray[np.int64] | None = None,
        blocks: Blocks | None = None,
    ) -> None:
        if n < 1:
            raise FovealError("there are no samples to draw from")
        self.n, self.seed, self.stream = n, seed, stream
        self._members: list[NDArray[np.int64]] | None = None
        self._windows = _Windows(blocks) if blocks is not None and groups is None else None
        if groups is not None:
            if len(groups) != n:
                raise ValueError(f"{len(groups)} groups for {n} samples")
            by_group = np.argsort(groups, kind="stable")
            _, starts = np.unique(groups[by_group], return_index=True)
            parts = np.split(by_group, starts[1:])
            self._members = [p.astype(np.int64) for p in parts if groups[p[0]] >= 0]
            if not self._members:
                raise FovealError("every sample was left out of its group: nothing to draw")

    def rows(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Samples at some positions of the stream, int64 [B] -> int64 [B]."""
        rounds, offsets = np.divmod(np.asarray(positions, np.int64), self.n)
        out = np.empty(len(offsets), np.int64)
        for r in np.unique(rounds):
            at = rounds == r
            out[at] = self._round(int(r), offsets[at])
        return out

    def substitute(self, position: int, attempt: int) -> int:
        """The sample used instead of one that cannot be read: the same on every rank and resume.

        With groups it is one of a group that is drawn, too.
        """
        key = rng.key(self.seed, "substitute", self.stream)
        at = np.array([position], np.int64)
        if self._members is None:
            return int(rng.integers(key, at, 1, self.n, part=attempt)[0, 0])
        group, member = rng.integers(key, at, 2, 2**62, part=attempt)[0].tolist()
        members = self._members[group % len(self._members)]
        return int(members[member % len(members)])

    def _round(self, number: int, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        key = rng.key(self.seed, "order", self.stream, number)
        if self._windows is not None:
            names = (self.seed, "window", self.stream, number)
            return self._windows.rows(key, lambda window: rng.key(*names, window), offsets)
        if self._members is None:
            return rng.permute(key, self.n, offsets)
        share = -(-self.n // len(self._members))
        slots = rng.permute(key, share * len(self._members), offsets)
        groups, draws = np.divmod(slots, share)
        out = np.empty(len(offsets), np.int64)
        for g in np.unique(groups):
            at = groups == g
            members = self._members[g]
            inner = rng.key(self.seed, "group", self.stream, number, int(g))
            if len(members) >= share:
                chosen = rng.permute(inner, len(members), draws[at])
            else:
                chosen = rng.integers(inner, draws[at], 1, len(members))[:, 0]
            out[at] = members[chosen]
        return out


class _Windows:
    """Blocks in a keyed order, samples in a keyed order within windows of them.

    Legend: n samples, B blocks, O offsets.
    """

    def __init__(self, blocks: Blocks) -> None:
        numbers, sizes = np.unique(blocks.of, return_counts=True)
        self.window = blocks.window
        self.sizes_B = sizes.astype(np.int64)
        self.starts_B = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
        # Rows of a source lie block by block already: no index array then.
        in_order = bool((np.diff(blocks.of) >= 0).all())
        self.rows_n = None if in_order else np.argsort(blocks.of, kind="stable").astype(np.int64)
        self.blocks_B = np.arange(len(numbers), dtype=np.int64)
        self._laid: tuple[rng.Key, NDArray[np.int64], NDArray[np.int64]] | None = None

    def rows(
        self, key: rng.Key, inner: Callable[[int], rng.Key], offsets: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Samples at offsets of the round with this key; ``inner`` gives its windows' keys."""
        if self._laid is None or self._laid[0] != key:
            order_B = rng.permute(key, len(self.blocks_B), self.blocks_B)
            ends_B = np.cumsum(self.sizes_B[order_B])
            self._laid = key, order_B, ends_B
        _, order_B, ends_B = self._laid
        windows_O = np.searchsorted(ends_B, offsets, side="right") // self.window
        places_O = np.empty(len(offsets), np.int64)
        for w in np.unique(windows_O):
            at = windows_O == w
            first, last = int(w) * self.window, min((int(w) + 1) * self.window, len(ends_B)) - 1
            start = int(ends_B[first - 1]) if first else 0
            length = int(ends_B[last]) - start
            places_O[at] = start + rng.permute(inner(int(w)), length, offsets[at] - start)
        slot_O = np.searchsorted(ends_B, places_O, side="right")
        block_O = order_B[slot_O]
        inside_O = places_O - (ends_B[slot_O] - self.sizes_B[block_O])
        found_O = self.starts_B[block_O] + inside_O
        return found_O if self.rows_n is None else self.rows_n[found_O]
