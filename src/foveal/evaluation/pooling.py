"""How a map becomes a vector of about 9,000 values, by the rules of the papers.

All but one bring a map of C channels to the whole number of cells nearest to ``sqrt(9000 / C)``
along each side: 12 x 12 of 64 channels, 6 x 6 of 256, 2 x 2 of 2048. They differ in what becomes of
the cells in between: average, maximum or interpolation, in windows that overlap or not.

Legend: B pictures, C channels, h, w cells, t tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from foveal.backbones.base import End
from foveal.errors import FovealError
from foveal.evaluation.settings import PoolRule

_Windows = dict[tuple[int, int], tuple[int, int, int]]

# (channels, cells along a side) of the papers' maps to (kernel, stride, padding).
_GOYAL: _Windows = {
    (64, 112): (10, 10, 4), (256, 56): (16, 8, 0), (512, 28): (13, 5, 0), (1024, 14): (8, 3, 0),
    (2048, 7): (6, 1, 0),  # ResNet-50 at 224 pixels
    (96, 109): (28, 9, 0), (256, 54): (24, 6, 0), (384, 26): (14, 3, 0), (256, 26): (16, 2, 0),
}  # fmt: skip
_DEEPCLUSTER: _Windows = {
    (96, 55): (6, 6, 3), (256, 27): (4, 4, 0), (384, 13): (3, 3, 1), (256, 13): (2, 2, 0),
}  # fmt: skip
_DEEPERCLUSTER: _Windows = {
    (64, 224): (18, 18, 0), (128, 112): (14, 14, 0), (256, 56): (9, 9, 0), (512, 28): (6, 6, 0),
    (512, 14): (3, 3, 0),
}  # fmt: skip
_WINDOWS = {
    "goyal": _GOYAL, "deepcluster": _DEEPCLUSTER, "sela": _DEEPCLUSTER,
    "deepercluster": _DEEPERCLUSTER,
}  # fmt: skip

SOURCES: dict[PoolRule, str] = {
    "avg": "average in windows that meet, as many as the rule of the papers gives",
    "max": "maximum in such windows (RotNet)",
    "resize": "bilinear interpolation (colorization, split-brain)",
    "revisiting": "maximum; kernel and stride ceil(sqrt(h w C / features)) (Revisiting)",
    "goyal": "average, kernels of Goyal et al. 2019",
    "deepcluster": "average, kernels of DeepCluster",
    "sela": "maximum, kernels of DeepCluster (SeLa)",
    "deepercluster": "average, kernels of DeeperCluster",
}


def side_of(channels: int, features: int = 9000) -> int:
    """Cells along a side: the whole number nearest to ``sqrt(features / channels)``."""
    return max(1, round(math.sqrt(features / channels)))


def pooler(rule: PoolRule, features: int = 9000) -> Callable[[Tensor, End], Tensor]:
    """A function of an end point's output to [B, values].

    Maps are pooled, or kept as they are where they are small enough; tokens are averaged; vectors
    stay.

    Args:
        rule: Its name, of ``SOURCES``.
        features: About so many values; the papers' kernels are made for 9,000.

    Raises:
        FovealError: (by the function) The map is none of those the paper's kernels are for.
    """
    if rule not in get_args(PoolRule):
        raise FovealError(f"there is no pooling '{rule}'", hint=", ".join(SOURCES))

    def pool(x: Tensor, end: End) -> Tensor:
        if end.kind == "tokens":
            return x.mean(1)
        if end.kind == "map":
            x = pool_map(x, rule, features)
        return x.flatten(1)

    return pool


def pool_map(x_BChw: Tensor, rule: PoolRule, features: int = 9000) -> Tensor:
    """[B, C, h, w] -> [B, C, h', w'] by a rule of ``SOURCES``."""
    channels, h, w = x_BChw.shape[1:]
    if rule in _WINDOWS:
        return _in_windows(x_BChw, rule)
    if rule == "revisiting":
        if h * w * channels <= features:
            return x_BChw
        step = math.ceil(math.sqrt(h * w * channels / features))
        return F.max_pool2d(x_BChw, min(step, h, w), step)
    side = side_of(channels, features)
    to = (min(side, h), min(side, w))
    if to == (h, w):
        return x_BChw
    if rule == "avg":
        return F.adaptive_avg_pool2d(x_BChw, to)
    if rule == "max":
        found: Tensor = F.adaptive_max_pool2d(x_BChw, to)
        return found
    return F.interpolate(x_BChw, to, mode="bilinear", align_corners=False)


def _in_windows(x_BChw: Tensor, rule: PoolRule) -> Tensor:
    channels, h, w = x_BChw.shape[1:]
    table = _WINDOWS[rule]
    if h != w or (channels, h) not in table:
        known = ", ".join(f"{c} x {s} x {s}" for c, s in table)
        raise FovealError(
            f"pool={rule} has kernels for maps of {known}, and one is {channels} x {h} x {w}",
            hint="pool=avg or pool=max, for any map; or leave this one out: ends=NAME+NAME",
        )
    kernel, stride, padding = table[channels, h]
    if rule == "sela":
        return F.max_pool2d(x_BChw, kernel, stride, padding)
    return F.avg_pool2d(x_BChw, kernel, stride, padding)


def pooled_together(
    outputs: dict[str, Tensor], ends: list[End], pool: Callable[[Tensor, End], Tensor]
) -> Tensor:
    """What all end points become, one after the other, [B, sum of values]."""
    return torch.cat([pool(outputs[end.name].float(), end) for end in ends], 1)
