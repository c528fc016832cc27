"""Decoders: from features back to pictures, for the methods that rebuild what was taken away.

Legend: B images, C channels, h, w cells, H, W pixels, D features.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.backbones.base import Backbone, End
from foveal.errors import FovealError

_NARROWEST = 16
_JUDGE = (64, 128, 256)


def last_map(trunk: Backbone) -> End:
    """The last end point that still is a map.

    Raises:
        FovealError: The trunk has none.
    """
    maps = [end for end in trunk.ends if end.kind == "map"]
    if not maps:
        raise FovealError(
            f"{trunk.spec['name']} has no map to rebuild a picture from",
            hint="a convolutional trunk: --backbone small or resnet18",
        )
    return maps[-1]


@torch.no_grad()
def cells_along(trunk: Backbone, end: End, size: int) -> int:
    """Cells along a side of a map, for pictures of ``size`` pixels: padding decides, too."""
    was = trunk.training
    parameter = next(trunk.parameters())
    found = trunk.eval()(parameter.new_zeros(1, trunk.in_chans, size, size), (end.name,))
    trunk.train(was)
    return int(found[end.name].shape[-1])


class Decoder(nn.Module):
    """Up-convolutions that halve the channels as they double the side; the last makes pixels.

    4 x 4 of stride 2, batch norm, ReLU, as in Context encoders (section 3.2) and DCGAN.

    Args:
        channels: Of the features.
        outputs: Channels of the picture.
        size: Its side in pixels.
        stride: Pixels a cell of the map; None: the features are vectors, which a linear layer
            first lays out as a map of ``size / 8`` cells a side.
    """

    def __init__(self, channels: int, outputs: int, *, size: int, stride: int | None) -> None:
        super().__init__()
        self.size, self.cells = size, 0
        self.layout: nn.Module = nn.Identity()
        if stride is None:
            stride, self.cells = 8, max(1, size // 8)
            self.layout = nn.Linear(channels, channels * self.cells**2)
        layers: list[nn.Module] = []
        doublings = max(1, round(math.log2(stride)))
        for i in range(doublings):
            last = i == doublings - 1
            out = outputs if last else max(_NARROWEST, channels // 2)
            layers.append(nn.ConvTranspose2d(channels, out, 4, 2, 1, bias=last))
            if not last:
                layers += [nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
            channels = out
        self.up = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """[B, C, h, w] or [B, D] -> [B, outputs, size, size], unbounded."""
        if self.cells:
            features = self.layout(features).unflatten(1, (-1, self.cells, self.cells))
        x: Tensor = self.up(features)
        if x.shape[-2:] != (self.size, self.size):
            # Sides that are no multiple of the stride.
            x = F.interpolate(x, (self.size, self.size), mode="bilinear", align_corners=False)
        return x


class ChannelwiseLinear(nn.Module):
    """Every channel's cells see each other, then channels are mixed cell by cell (section 3.2).

    Args:
        channels: Of the map.
        cells: A side of the map.
    """

    def __init__(self, channels: int, cells: int) -> None:
        super().__init__()
        n = cells * cells
        self.weight = nn.Parameter(torch.randn(channels, n, n) / n**0.5)
        self.bias = nn.Parameter(torch.zeros(channels, n))
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C, h, w]."""
        flat = torch.einsum("bcn,cnm->bcm", x.flatten(2), self.weight) + self.bias
        mixed: Tensor = self.mix(F.relu(flat.view_as(x)))
        return mixed


def make_judge(channels: int) -> nn.Module:
    """Pictures to the logit of being real, [B] (DCGAN's discriminator, narrower)."""
    layers: list[nn.Module] = []
    for i, out in enumerate(_JUDGE):
        layers.append(nn.Conv2d(channels, out, 4, 2, 1, bias=i == 0))
        if i:
            layers.append(nn.BatchNorm2d(out))
        layers.append(nn.LeakyReLU(0.2, inplace=True))
        channels = out
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1), nn.Flatten(0)]
    return nn.Sequential(*layers)
