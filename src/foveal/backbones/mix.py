"""A learned mix of a network's residual units in place of its last map.

Doersch and Zisserman, "Multi-task self-supervised visual learning", ICCV 2017: a task reads
``sum_m alpha_m unit_m``, and an L1 penalty makes the row ``alpha`` sparse. Units are brought to one
scale by batch norm without parameters, and ``alpha`` has length 1, so that neither can shrink at
the cost of the other.

Legend: B images, C channels, M units.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foveal.backbones.base import End
from foveal.errors import FovealError


class UnitMix(nn.Module):
    """A body whose last map is a mix of its last stage's units.

    Args:
        body: Its ``pool`` makes the vector of a map.
        units: End points that are mixed.
        last: The end point that the mix takes the place of.
        channels: Of each unit.
    """

    def __init__(self, body: nn.Module, units: list[str], last: str, channels: int) -> None:
        super().__init__()
        self.body, self.units, self.last = body, units, last
        self.alpha = nn.Parameter(torch.ones(len(units)))
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels, affine=False) for _ in units)

    def row(self) -> Tensor:
        """The mix, [M], of length 1."""
        row: Tensor = self.alpha / self.alpha.norm()
        return row

    def forward(self, x: Tensor, ends: tuple[str, ...] = ()) -> dict[str, Tensor]:
        """[B, C, H, W] -> the asked end points, and ``pooled``, which is that of the mix."""
        others = [end for end in ends if end not in (self.last, *self.units)]
        found: dict[str, Tensor] = self.body(x, (*others, *self.units))
        row = self.row()
        mixed = torch.stack(
            [r * norm(found[u]) for r, norm, u in zip(row, self.norms, self.units, strict=True)]
        ).sum(0)
        asked = {end: found[end] for end in ends if end != self.last}
        if self.last in ends:
            asked[self.last] = mixed
        return {**asked, "pooled": self.body.pool(mixed)}  # type: ignore[operator]


def mixed(name: str, body: nn.Module, ends: tuple[End, ...]) -> UnitMix:
    """A body whose last map is a mix of the units of the same size.

    Args:
        name: For errors.
        body: Of the network, built with ``units``.
        ends: Its end points.

    Raises:
        FovealError: There are not two of them.
    """
    last = ends[-1]
    same = [e for e in ends if (e.channels, e.stride) == (last.channels, last.stride)]
    units = [e.name for e in same if "_unit" in e.name]
    if len(units) < 2:
        raise FovealError(
            f"{name} has {len(units)} residual units of the size of its last map: there is "
            "nothing to mix",
            hint="a deeper last stage: network.extra.blocks=[1,1,3] for small, "
            "--backbone resnetv2_101_block3",
        )
    return UnitMix(body, units, last.name, last.channels)
