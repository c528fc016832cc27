"""Regions of a scene and how well descriptors find them again.

Legend: R regions of the first picture, S of the second.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from foveal.evaluation.matching.descriptors import Descriptor, distances
from foveal.evaluation.matching.regions import (
    Regions,
    find_regions,
    inside,
    overlaps,
    projected,
)
from foveal.evaluation.matching.scenes import Other, Pixels, Scene
from foveal.evaluation.matching.settings import MatchingSettings
from foveal.metrics.average_precision import average_precision
from foveal.metrics.matching import greedy_matches, nearest_matches

RIGHT = 0.5


@dataclass
class Pair:
    """Two pictures, their regions in what both show, and which of them are the same.

    Attributes:
        pixels: The second picture.
        rows: Which regions of the first picture take part, [R].
        second: Regions of the second picture.
        right: Whether a region of ``rows`` and one of ``second`` overlap enough, [R, S].
    """

    pixels: Pixels
    rows: NDArray[np.int64]
    second: Regions
    right: NDArray[np.bool_]


class Matcher:
    """One scene; its regions are found once for all descriptors."""

    def __init__(self, scene: Scene, settings: MatchingSettings) -> None:
        self.scene, self.settings = scene, settings

    @cached_property
    def first(self) -> Pixels:
        """The first picture."""
        return self.scene.first()

    @cached_property
    def regions(self) -> Regions:
        """Its regions."""
        return find_regions(self.first, self.settings.regions)

    @cached_property
    def pairs(self) -> list[Pair]:
        """The first picture with each of the others."""
        return [self._pair(other) for other in self.scene.others()]

    def _pair(self, other: Other) -> Pair:
        found = find_regions(other.pixels, self.settings.regions)
        there = projected(self.regions, other.homography)
        back = projected(found, np.linalg.inv(other.homography).astype(np.float64))
        # What only one of the pictures shows has no partner: no descriptor is at fault for it.
        rows = np.flatnonzero(inside(there, other.pixels.shape))
        second = found[np.flatnonzero(inside(back, self.first.shape))]
        return Pair(other.pixels, rows, second, overlaps(there[rows], second, RIGHT))

    def precisions(self, describe: Descriptor, names: list[str]) -> NDArray[np.float64]:
        """Average precision of every pair by every descriptor, [pairs, names].

        nan where no region of the first picture has a partner.
        """
        out = np.full((len(self.pairs), len(names)), np.nan)
        mine = describe(self.first, self.regions)
        for i, pair in enumerate(self.pairs):
            possible = int(pair.right.any(1).sum())
            if not possible:
                continue
            theirs = describe(pair.pixels, pair.second)
            for j, name in enumerate(names):
                apart = distances(mine[name][pair.rows], theirs[name])
                out[i, j] = ranked(apart, pair.right, possible, self.settings.matching)
        return out


def ranked(
    apart: NDArray[np.float64], right: NDArray[np.bool_], possible: int, matching: str
) -> float:
    """Average precision (raw) of the matches ranked by distance.

    Args:
        apart: Distances of descriptors, [R, S].
        right: Whether two regions are the same, [R, S].
        possible: Regions of the first picture that have a partner.
        matching: ``greedy`` or ``nearest``.
    """
    match = greedy_matches if matching == "greedy" else nearest_matches
    i, j = match(apart).T
    return average_precision(-apart[i, j], right[i, j], form="raw", possible=possible)
