"""A trunk of named stages in a row: what our small network, the AlexNets and NIN are made of.

Legend: B images, C channels, H, W pixels, D features.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from timm.layers import LayerNorm2d
from torch import Tensor, nn

from foveal.backbones.base import End, LastStage
from foveal.errors import FovealError


class Built(NamedTuple):
    """What a family's builder returns."""

    body: nn.Module
    ends: tuple[End, ...]
    dim: int


class Chain(nn.Module):
    """Stages in order, then a top that makes the pooled vector.

    Args:
        stages: Name -> layers; every name can be asked for as an end point.
        top: The last stage's map [B, C, h, w] -> ``pooled`` [B, D].
    """

    def __init__(self, stages: Mapping[str, nn.Module], top: nn.Module) -> None:
        super().__init__()
        self.stages = nn.ModuleDict(stages)
        self.top = top

    def forward(self, x: Tensor, ends: tuple[str, ...] = ()) -> dict[str, Tensor]:
        """[B, C, H, W] -> the asked end points, and ``pooled`` [B, D]."""
        found: dict[str, Tensor] = {}
        for name, stage in self.stages.items():
            x = stage(x)
            if name in ends:
                found[name] = x
        found["pooled"] = self.pool(x)
        return found

    def until(self, x: Tensor, ends: tuple[str, ...]) -> dict[str, Tensor]:
        """See ``Backbone.until``."""
        found: dict[str, Tensor] = {}
        for name, stage in self.stages.items():
            x = stage(x)
            if name in ends:
                found[name] = x
            if len(found) == len(ends):
                break
        return found

    def last_stage(self) -> LastStage | None:
        """See ``Backbone.last_stage``."""
        names, top = list(self.stages), list(self.top.children())
        fixed = [layer for layer in top if isinstance(layer, FixedFlatten)]
        if fixed:
            # Regions are brought to the size behind the pooling, as Fast R-CNN does.
            layers = top[1:] if isinstance(top[0], nn.MaxPool2d) else top
            return LastStage(names[-1], nn.Sequential(*layers), fixed[0].cells)
        if any(isinstance(layer, nn.Linear) for layer in top):
            return None  # made for one size that is not known here
        own = names[-1].split("_unit")[0]
        first = next(i for i, name in enumerate(names) if name.split("_unit")[0] == own)
        if first == 0:
            return None
        stages = [self.stages[name] for name in names[first:]]
        return LastStage(names[first - 1], nn.Sequential(*stages, self.top))

    def pool(self, x: Tensor) -> Tensor:
        """The last stage's map [B, C, h, w] -> ``pooled`` [B, D]."""
        pooled: Tensor = self.top(x)
        return pooled


def global_average() -> nn.Sequential:
    """[B, C, h, w] -> [B, C]."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


class FixedFlatten(nn.Module):
    """Flattens the map that fully connected layers were made for; refuses any other.

    Args:
        cells: Side of the map.
        pixels: Side of the pictures it comes from, for the error.
    """

    def __init__(self, cells: int, pixels: int) -> None:
        super().__init__()
        self.cells, self.pixels = cells, pixels

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, cells, cells] -> [B, cells cells C]."""
        if x.shape[-2:] != (self.cells, self.cells):
            raise FovealError(
                f"the fully connected layers need a {self.cells}x{self.cells} map and got "
                f"{x.shape[-2]}x{x.shape[-1]}: the input is not of about "
                f"{self.pixels}x{self.pixels} pixels",
                hint="network.extra.top=false leaves them out, and any size works",
            )
        return x.flatten(1)


class GlobalMax(nn.Module):
    """[B, C, h, w] -> [B, C], the largest value of each channel."""

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return x.amax((2, 3))


def scaled(channels: int, width: float) -> int:
    """Channels at a width factor: the nearest multiple of 8, at least 8."""
    return max(8, int(channels * width / 8 + 0.5) * 8)


def norm_layer(kind: str | None, channels: int) -> nn.Module:
    """A norm over maps of ``channels``.

    Args:
        kind: ``batch`` (also None); ``group``: at most 32 groups; ``layer``: over all channels and
            cells of one picture; ``channel``: over the channels of every cell by itself.
        channels: Of the map.
    """
    if kind in (None, "batch"):
        return nn.BatchNorm2d(channels)
    if kind == "group":
        return nn.GroupNorm(math.gcd(32, channels), channels)
    if kind == "layer":
        return nn.GroupNorm(1, channels)
    if kind == "channel":
        # No cell knows of another: a patch alone and the same patch in a picture differ only by
        # what their borders see.
        norm: nn.Module = LayerNorm2d(channels, eps=1e-5)
        return norm
    raise FovealError(f"there is no norm '{kind}'", hint="norm=batch, group, layer or channel")


def he_normal(module: nn.Module) -> None:
    """Convolutions N(0, sqrt(2 / (kh * kw * channels out))), their biases 0 (He et al. 2015)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            outputs = layer.kernel_size[0] * layer.kernel_size[1] * layer.out_channels
            nn.init.normal_(layer.weight, 0.0, math.sqrt(2.0 / outputs))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def refuse(name: str, argument: str, value: Any, hint: str) -> FovealError:
    """The error for a value a family cannot honour."""
    return FovealError(f"{name} cannot be built with {argument}={value!r}", hint=hint)
