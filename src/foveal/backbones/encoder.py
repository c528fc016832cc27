"""What is evaluated, embedded and exported: pictures in [0, 1] to features, nothing else needed.

An encoder holds everything between a picture and its features, and describes itself in plain
values, so that a file of weights is enough to build it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from foveal.backbones.base import Backbone, End, LastStage
from foveal.backbones.inputs import build_input, describe_input
from foveal.backbones.registry import build_backbone
from foveal.errors import FovealError


class Encoder(nn.Module):
    """One trunk or several side by side, each behind its own input layers.

    Several trunks see the same picture, each its part of it (split-brain: L and ab); end points of
    the same name and the pooled vectors are joined along the channels.

    Args:
        trunks: The networks; shared with the method, not copied.
        inputs: For every trunk the layers before it, from ``foveal.backbones.inputs``.
        channels: Channels of the pictures.
        size, fraction: The centre view the features are meant for: side in pixels, share of the
            short side.
        grid: 2 or more: every picture is cut into ``grid`` x ``grid`` tiles, each
            goes through input layers and trunks alone, and ``pooled`` is what ``join`` makes of
            them; maps lie side by side again (Kolesnikov et al. 2019, for what was learned on
            tiles).
        overlap: Share of a tile's side that the next tile shows too (CPC v2: 44 of 80 pixels). In
            maps every place stands once, as the tile shows it whose centre is nearest.
        join: ``mean``, the paper's: how much of something there is; ``max``: whether it is in any
            tile.
        projection: A linear layer behind ``pooled``, whose outputs then are ``pooled`` (the
            embedding that a method compared pictures by).
    """

    def __init__(
        self,
        trunks: Sequence[Backbone],
        inputs: Sequence[Sequence[nn.Module]],
        *,
        channels: int,
        size: int,
        fraction: float = 0.875,
        grid: int = 1,
        overlap: float = 0.0,
        join: Literal["mean", "max"] = "mean",
        projection: nn.Linear | None = None,
    ) -> None:
        super().__init__()
        if len(trunks) != len(inputs):
            raise FovealError(f"{len(trunks)} trunks and input layers for {len(inputs)}")
        self.trunks = nn.ModuleList(trunks)
        self.inputs = nn.ModuleList(nn.Sequential(*layers) for layers in inputs)
        self.channels, self.size, self.fraction = channels, size, fraction
        self.grid, self.overlap, self.join = grid, overlap, join
        self.projection = projection

    @property
    def dim(self) -> int:
        """Features of ``pooled``."""
        if self.projection is not None:
            return self.projection.out_features
        return sum(trunk.dim for trunk in self._backbones())

    @property
    def ends(self) -> tuple[End, ...]:
        """End points all trunks have, channels added up."""
        first, *others = self._backbones()
        tables = [{end.name: end for end in trunk.ends} for trunk in others]
        return tuple(
            End(e.name, e.channels + sum(t[e.name].channels for t in tables), e.stride, e.kind)
            for e in first.ends
            if all(e.name in t for t in tables)
        )

    def forward(self, images: Tensor, ends: Sequence[str] = ()) -> dict[str, Tensor]:
        """Pictures [B, C, H, W] in [0, 1] -> the asked end points, and ``pooled`` [B, D]."""
        tiles = images if self.grid == 1 else cut(images, self.grid, self.overlap)
        found = self._side_by_side(
            [trunk(layers(tiles), ends) for trunk, layers in zip(self.trunks, self.inputs,
                                                                 strict=True)]
        )  # fmt: skip
        if self.grid > 1:
            found = self._joined(found, images.shape[2:])
        if self.projection is not None:
            found["pooled"] = self.projection(found["pooled"])
        return found

    def pixels_read(self, side: int) -> int:
        """Pixels the trunks see of a picture of this side: overlapping tiles show some twice."""
        return round(self.grid * side / (self.grid - (self.grid - 1) * self.overlap)) ** 2

    def until(self, images: Tensor, ends: Sequence[str]) -> dict[str, Tensor]:
        """The asked end points of whole pictures of any size, see ``Backbone.until``.

        A grid of tiles is not cut: a cell of the map is a place in the picture.
        """
        return self._side_by_side(
            [trunk.until(layers(images), ends)
             for trunk, layers in zip(self._backbones(), self.inputs, strict=True)]
        )  # fmt: skip

    def last_stage(self) -> LastStage | None:
        """See ``Backbone.last_stage``; None where there are several trunks."""
        trunks = self._backbones()
        return trunks[0].last_stage() if len(trunks) == 1 else None

    def _side_by_side(self, found: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """What the trunks gave, joined."""
        if len(found) == 1:
            return found[0]
        kinds = {end.name: end.kind for end in self.ends}
        return {n: torch.cat([f[n] for f in found], 2 if kinds.get(n) == "tokens" else 1)
                for n in found[0]}  # fmt: skip

    def _joined(self, found: dict[str, Tensor], sides: Sequence[int]) -> dict[str, Tensor]:
        """What [B grid grid, ...] tiles of pictures with these sides gave, for each picture."""
        kinds = {end.name: end.kind for end in self.ends}
        g, whole = self.grid, {}
        for name, x in found.items():
            kind = kinds.get(name, "vector")
            if kind == "map":
                x = x.reshape(-1, g, g, *x.shape[1:]).permute(0, 3, 1, 4, 2, 5)
                h, w = (
                    _seen_once(side, g, self.overlap, cells).to(x.device)
                    for side, cells in zip(sides, (x.shape[3], x.shape[5]), strict=True)
                )
                whole[name] = x.flatten(4, 5).flatten(2, 3).index_select(2, h).index_select(3, w)
            else:
                x = x.reshape(-1, g * g, *x.shape[1:])
                if kind == "tokens":
                    whole[name] = x.flatten(1, 2)
                else:
                    whole[name] = x.mean(1) if self.join == "mean" else x.amax(1)
        return whole

    def projected(self, projection: nn.Linear) -> Encoder:
        """The same trunks and input layers, shared, with this layer behind ``pooled``."""
        return Encoder(
            self._backbones(), self._layers(), channels=self.channels, size=self.size,
            fraction=self.fraction, grid=self.grid, overlap=self.overlap, join=self.join,
            projection=projection,
        ).train(self.training)  # fmt: skip

    def describe(self) -> dict[str, Any]:
        """Plain values from which ``from_description`` builds the same network, weights apart."""
        about: dict[str, Any] = {
            "channels": self.channels,
            "size": self.size,
            "fraction": self.fraction,
            "grid": self.grid,
            "overlap": self.overlap,
            "join": self.join,
            "trunks": [trunk.spec for trunk in self._backbones()],
            "inputs": [[describe_input(layer) for layer in layers] for layers in self._layers()],
        }
        # Said only where there is one, so that older files describe the same network.
        if (layer := self.projection) is not None:
            about["projection"] = [layer.out_features, layer.bias is not None]
        return about

    @classmethod
    def from_description(cls, about: dict[str, Any]) -> Encoder:
        """The network a description stands for, with freshly drawn weights."""
        drawn = cls(
            [build_backbone(**spec) for spec in about["trunks"]],
            [[build_input(layer) for layer in layers] for layers in about["inputs"]],
            channels=about["channels"],
            size=about["size"],
            fraction=about["fraction"],
            grid=about.get("grid", 1),
            overlap=about.get("overlap", 0.0),
            join=about.get("join", "mean"),
        )
        if "projection" in about:
            outputs, bias = about["projection"]
            drawn.projection = nn.Linear(drawn.dim, outputs, bias=bias)
        return drawn

    def _backbones(self) -> list[Backbone]:
        return [trunk for trunk in self.trunks if isinstance(trunk, Backbone)]

    def _layers(self) -> list[list[nn.Module]]:
        return [list(layers.children()) for layers in self.inputs]


def cut(images: Tensor, grid: int, overlap: float = 0.0) -> Tensor:
    """[B, C, H, W] -> [B grid grid, C, h, w], tiles of a picture in reading order.

    Pixels that the grid does not reach are left out, half on each side.

    Args:
        images: Pictures.
        grid: Tiles along each side.
        overlap: Share of a tile's side that the next one shows too, below 1.
    """
    x = images
    for axis in (2, 3):
        side = images.shape[axis]
        tile, step = _tiles(side, grid, overlap)
        reach = tile + (grid - 1) * step
        x = x.narrow(axis, (side - reach) // 2, reach).unfold(axis, tile, step)
    # [B, C, grid, grid, h, w]
    return x.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)


def _tiles(side: int, grid: int, overlap: float) -> tuple[int, int]:
    """Side of the tiles along ``side`` pixels, and from one to the next."""
    # The slack: 260 / 3.25 must be 80 and not 79.999.
    tile = int(side / (grid - (grid - 1) * overlap) + 1e-6)
    step = tile if grid == 1 else min(round(tile * (1 - overlap)), (side - tile) // (grid - 1))
    return tile, step


def _seen_once(side: int, grid: int, overlap: float, cells: int) -> Tensor:
    """Of all tiles' cells along an axis, those that make a map of the picture, left to right.

    Where tiles overlap, a place is taken from the tile whose centre is nearest.

    Args:
        side: Of the picture in pixels.
        grid: As for ``cut``.
        overlap: As for ``cut``.
        cells: Of the map of one tile.
    """
    tile, step = _tiles(side, grid, overlap)
    reach = tile + (grid - 1) * step
    n = round(cells * reach / tile)
    at = (torch.arange(n, dtype=torch.float64) + 0.5) * (reach / n)
    k = ((at - tile / 2) / step).round().clamp(0, grid - 1)
    return (k * cells + ((at - k * step) * (cells / tile)).floor().clamp(0, cells - 1)).long()
