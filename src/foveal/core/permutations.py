"""Sets of permutations that lie far apart: the classes of jigsaw puzzles.

Noroozi and Favaro, "Unsupervised learning of visual representations by solving jigsaw puzzles",
ECCV 2016, section 3 and its permutation-set experiments; Goyal et al., "Scaling and benchmarking
self-supervised visual representation learning", ICCV 2019, for the size as an axis of hardness.

A set is grown greedily over all n! candidates. Every set begins with the smaller sets of the same
rule and seed, so sizes can be compared. Sets are kept in the user's cache folder.

Legend: P permutations, N tiles, K = N! candidates.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numba import njit
from numpy.typing import NDArray

from foveal.core import rng
from foveal.core.files import atomic_path, cache_home
from foveal.errors import FovealError

Rule = Literal["mean", "min", "random"]
Ties = Literal["random", "first"]

MOST_TILES = 9  # 10! candidates would need 36 MB and ten times the time; no paper has more
_FORMAT = 1  # part of the file's name: raise it when what is drawn changes


@dataclass(frozen=True)
class PermutationSet:
    """A set and how far apart its members lie.

    Attributes:
        rows: uint8 [P, N]; position i of a puzzle shows tile ``rows[p, i]``.
        mean, minimum: Hamming distance over all pairs: positions in which two of them differ.
    """

    rows: NDArray[np.uint8]
    mean: float
    minimum: int


def permutation_set(
    tiles: int,
    count: int,
    *,
    rule: Rule = "mean",
    ties: Ties = "random",
    seed: int = 0,
    cache: bool = True,
) -> PermutationSet:
    """A set of permutations, the same on every machine.

    The first is drawn; then the candidate farthest from those chosen is added, again and again.

    Args:
        tiles: N, at most 9.
        count: P, at most N!.
        rule: What "farthest" means: ``mean``, the largest average distance (Noroozi and Favaro);
            ``min``, the largest distance to the nearest (Goyal's option); ``random``, no rule.
        ties: ``random``: the first candidate and equals are drawn by key; ``first``: in
            lexicographic order from the identity, which makes near-copies (for comparison).
        seed: Keys the draws.
        cache: Whether the set may be read from and written to the cache folder.

    Raises:
        FovealError: There are not as many permutations, or too many tiles.
    """
    if rule not in get_args(Rule) or ties not in get_args(Ties):
        raise FovealError(f"rule={rule!r}, ties={ties!r}", hint="rule=mean, min or random; "
                          "ties=random or first")  # fmt: skip
    if not 2 <= tiles <= MOST_TILES:
        raise FovealError(
            f"puzzles of {tiles} tiles have no set of permutations", hint="2 to 9 tiles, e.g. 3 x 3"
        )
    if not 2 <= count <= math.factorial(tiles):
        raise FovealError(
            f"{count} permutations of {tiles} tiles: there are {math.factorial(tiles)}",
            hint="fewer permutations (2 or more), or more tiles",
        )
    name = f"{tiles}-{count}-{rule}-{ties}-{seed}-v{_FORMAT}.npy"
    path = cache_home() / "permutations" / name
    rows = _read(path, tiles, count) if cache else None
    if rows is None:
        rows = _grow(_candidates(tiles, ties, seed), count, rule)
        if cache:
            _write(path, rows)
    return PermutationSet(rows, mean_distance(rows), int(_minimum_distance(rows)))


def mean_distance(rows: NDArray[np.uint8]) -> float:
    """Mean Hamming distance over all pairs of [P, N]."""
    count, tiles = rows.shape
    # Pairs that agree in a slot are pairs of rows with the same symbol there.
    same = 0
    for slot in rows.T:
        held = np.bincount(slot, minlength=tiles).astype(np.int64)
        same += int((held * (held - 1) // 2).sum())
    return float(tiles - same / (count * (count - 1) // 2))


def _candidates(tiles: int, ties: Ties, seed: int) -> NDArray[np.uint8]:
    """All permutations uint8 [K, N], in the order in which equals are preferred."""
    total = math.factorial(tiles)
    flat = itertools.chain.from_iterable(itertools.permutations(range(tiles)))
    rows = np.fromiter(flat, np.uint8, total * tiles).reshape(total, tiles)
    if ties == "random":
        order = rng.permute(rng.key(seed, "permutations", tiles), total, np.arange(total))
        rows = rows[order]
    return rows


def _grow(rows: NDArray[np.uint8], count: int, rule: Rule) -> NDArray[np.uint8]:
    if rule == "random":
        return np.ascontiguousarray(rows[:count])
    columns = np.ascontiguousarray(rows.T)
    chosen = np.empty(count, np.int64)
    _greedy(columns, rule == "min", chosen)
    return np.ascontiguousarray(rows[chosen])


@njit(nogil=True, cache=True)
def _greedy(columns: Any, nearest: Any, chosen: Any) -> None:
    """Indices of the chosen candidates, from columns uint8 [N, K].

    Distances are kept up to date with one addition a candidate and step, in blocks that stay in
    the processor's cache over the N columns.
    """
    tiles, total = columns.shape
    block = 4096
    # What to make small: places shared with the chosen, in sum or with the nearest.
    shared = np.zeros(total, np.int32)
    taken = np.int32(2**30)
    same = np.empty(block, np.uint8)
    chosen[0] = 0
    shared[0] = taken
    for step in range(1, len(chosen)):
        last = chosen[step - 1]
        best, value = 0, np.int32(2**31 - 1)
        for begin in range(0, total, block):
            size = min(block, total - begin)
            same[:size] = 0
            for slot in range(tiles):
                symbol = columns[slot, last]
                column = columns[slot, begin : begin + size]
                for i in range(size):
                    same[i] += np.uint8(column[i] == symbol)
            part = shared[begin : begin + size]
            lowest = np.int32(2**31 - 1)
            if nearest:
                for i in range(size):
                    part[i] = max(part[i], np.int32(same[i]))
                    lowest = min(lowest, part[i])
            else:
                for i in range(size):
                    part[i] += np.int32(same[i])
                    lowest = min(lowest, part[i])
            if lowest < value:
                value = lowest
                for i in range(size):
                    if part[i] == lowest:
                        best = begin + i
                        break
        chosen[step] = best
        shared[best] = taken


@njit(nogil=True, cache=True)
def _minimum_distance(rows: Any) -> Any:
    """Smallest Hamming distance over all pairs of [P, N]."""
    count, tiles = rows.shape
    columns = np.ascontiguousarray(rows.T)
    same = np.empty(count, np.uint8)
    most = np.uint8(0)
    for a in range(count - 1):
        same[:] = 0
        for slot in range(tiles):
            symbol = columns[slot, a]
            column = columns[slot]
            for b in range(a + 1, count):
                same[b] += np.uint8(column[b] == symbol)
        for b in range(a + 1, count):
            most = max(most, same[b])
    return tiles - np.int64(most)


def _read(path: Any, tiles: int, count: int) -> NDArray[np.uint8] | None:
    """What the cache holds, if it is a set of this size; anything else is made again."""
    try:
        rows: NDArray[np.uint8] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if rows.shape != (count, tiles) or rows.dtype != np.uint8:
        return None
    whole = bool((np.sort(rows, 1) == np.arange(tiles)).all())
    return rows if whole and len(np.unique(rows, axis=0)) == count else None


def _write(path: Any, rows: NDArray[np.uint8]) -> None:
    """Keeps a set; a cache folder that cannot be written costs time, nothing else."""
    try:
        with atomic_path(path) as temporary:
            np.save(temporary, rows)
    except OSError:
        return
