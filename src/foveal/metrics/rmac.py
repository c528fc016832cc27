"""R-MAC: maxima of a map over a fixed grid of overlapping regions, whitened, added up.

Tolias, Sicre and Jegou, "Particular object retrieval with integral max-pooling of CNN activations",
ICLR 2016; DeepCluster's instance retrieval takes it at three levels.

Legend: B pictures, R regions, C channels, h, w cells, N vectors, P directions kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from foveal.errors import FovealError

LEVELS = 3
_OVERLAP = 0.4  # of neighbours at the first level, where a map is longer than wide
_FLAT = 1e-9  # of the largest eigenvalue: a direction in which nothing varies


def rmac_regions(h: int, w: int, levels: int = LEVELS) -> list[tuple[int, int, int]]:
    """(top, left, side) of the regions: squares of ``2 min(h, w) / (l + 1)`` at level l.

    A square map has l x l of them at level l, 14 in all at three levels; a longer one more along
    its long side, so that neighbours overlap by about two fifths.
    """
    if min(h, w, levels) < 1:
        raise FovealError(f"{levels} levels of a map of {h} x {w} cells")
    short, long = min(h, w), max(h, w)
    more = 0
    if long > short:
        steps = range(2, 8)
        gaps = [abs(1 - (long - short) / (n - 1) / short - _OVERLAP) for n in steps]
        more = steps[gaps.index(min(gaps))] - 1
    found = []
    for level in range(1, levels + 1):
        side = max(1, 2 * short // (level + 1))
        rows = _starts(h, side, level + (more if h > w else 0))
        columns = _starts(w, side, level + (more if w > h else 0))
        found += [(top, left, side) for top in rows for left in columns]
    return found


def _starts(length: int, side: int, count: int) -> list[int]:
    """Evenly spaced, the first and the last at the borders."""
    if count == 1:
        return [(length - side) // 2]
    return [round(i * (length - side) / (count - 1)) for i in range(count)]


def region_vectors(map_BChw: Tensor, levels: int = LEVELS) -> Tensor:
    """Maximum of every region, of length 1, [B, R, C]."""
    maxima = [
        map_BChw[:, :, top : top + side, left : left + side].amax((2, 3))
        for top, left, side in rmac_regions(map_BChw.shape[2], map_BChw.shape[3], levels)
    ]
    return F.normalize(torch.stack(maxima, 1), dim=2)


@dataclass(frozen=True)
class Whitening:
    """PCA whitening learned on some vectors, for others.

    Attributes:
        mean: [C].
        projection: [C, P].
    """

    mean: Tensor
    projection: Tensor

    @classmethod
    def of(cls, x_NC: Tensor, dims: int | None = None) -> Whitening:
        """Learned on vectors; directions in which nothing varies are dropped.

        Raises:
            FovealError: All vectors are the same.
        """
        x_NC = x_NC.double()
        mean = x_NC.mean(0)
        centred = x_NC - mean
        values, vectors = torch.linalg.eigh(centred.T @ centred / len(x_NC))
        kept = values > max(_FLAT * float(values[-1]), 1e-30)
        if not kept.any():
            raise FovealError("all vectors are the same: there is nothing to whiten")
        order = torch.arange(len(values), device=values.device)[kept].flip(0)[:dims]
        return cls(mean, vectors[:, order] * values[order].rsqrt())

    def __call__(self, x: Tensor) -> Tensor:
        """[..., C] -> [..., P]."""
        return ((x.double() - self.mean) @ self.projection).to(x.dtype)


def rmac(regions_BRC: Tensor, whitening: Whitening | None = None) -> Tensor:
    """The vector of a picture, of length 1: its regions whitened, of length 1, added up, [B, P]."""
    if whitening is not None:
        regions_BRC = F.normalize(whitening(regions_BRC), dim=2)
    return F.normalize(regions_BRC.sum(1), dim=1)
