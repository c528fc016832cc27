"""Which sample stands at a position of a stream: a keyed permutation, reached at any position.

A stream is endless; every ``n`` draws are a round (an epoch). Nothing is stored but the groups.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from foveal.core import rng
from foveal.errors import FovealError


class Order:
    """The order of one stream.

    Without groups each round is a permutation of all samples. With groups every non-empty group is
    drawn equally often (DeepCluster's uniform sampling over clusters): a round holds
    ``ceil(n / live)`` draws of each live group, shuffled and cut to ``n``; draws of a group repeat
    a sample only where the group is smaller than its share.

    Args:
        n: Samples.
        seed: The run's seed.
        stream: The stream's name.
        groups: Group of each sample, int64 [n], -1 = left out; None draws all samples evenly.
    """

    def __init__(
        self, n: int, seed: int, stream: str, groups: NDArray[np.int64] | None = None
    ) -> None:
        if n < 1:
            raise FovealError("there are no samples to draw from")
        self.n, self.seed, self.stream = n, seed, stream
        self._members: list[NDArray[np.int64]] | None = None
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
