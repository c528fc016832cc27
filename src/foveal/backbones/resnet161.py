"""``resnet161_cpc``: the encoder of CPC v2, a pre-activation ResNet of three wide stacks.

Hénaff et al., "Data-efficient image recognition with contrastive predictive coding", ICML 2020:
ResNet-101 v2 up to its third stack, and that stack made of 46 blocks with maps of 4096 and
bottlenecks of 512 channels. 304 million parameters. No batch norm: in it patches of a picture
would see each other. The paper does not say over which axes its layer norm goes; here over the
channels, so that pictures of any size can follow patches of one.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from foveal.backbones.base import End
from foveal.backbones.chain import (
    Built,
    Chain,
    global_average,
    he_normal,
    norm_layer,
    refuse,
    scaled,
)

WIDTHS = (256, 512, 4096)
BOTTLENECKS = (64, 128, 512)
BLOCKS = (3, 4, 46)


class Bottleneck(nn.Module):
    """Norm, ReLU and convolution three times (1x1, 3x3, 1x1) beside a shortcut (ResNet v2).

    Args:
        channels_in, bottleneck, channels_out: Of the maps.
        stride: Of the 3x3 convolution.
        norm: See ``norm_layer``.
    """

    def __init__(
        self, channels_in: int, bottleneck: int, channels_out: int, stride: int, norm: str
    ) -> None:
        super().__init__()
        self.first = nn.Sequential(norm_layer(norm, channels_in), nn.ReLU(inplace=True))
        self.rest = nn.Sequential(
            nn.Conv2d(channels_in, bottleneck, 1, bias=False),
            norm_layer(norm, bottleneck),
            nn.ReLU(inplace=True),
            nn.Conv2d(bottleneck, bottleneck, 3, stride, 1, bias=False),
            norm_layer(norm, bottleneck),
            nn.ReLU(inplace=True),
            nn.Conv2d(bottleneck, channels_out, 1, bias=False),
        )
        self.shortcut: nn.Module | None = None
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H / stride, W / stride]."""
        y = self.first(x)
        beside = x if self.shortcut is None else self.shortcut(y)
        out: Tensor = beside + self.rest(y)
        return out


def build_resnet161(
    name: str,
    *,
    in_chans: int,
    width: float,
    norm: str | None,
    blocks: Sequence[int] = BLOCKS,
) -> Built:
    """The network.

    Args:
        name: For errors.
        in_chans: Channels of the input.
        width: Channel multiplier.
        norm: See ``norm_layer``; None: ``channel``.
        blocks: Of the three stacks.
    """
    if len(blocks) != len(WIDTHS) or min(blocks) < 1:
        raise refuse(name, "blocks", blocks, "three numbers, e.g. [3, 4, 46]")
    kind = norm or "channel"
    channels = scaled(64, width)
    stem = nn.Sequential(nn.Conv2d(in_chans, channels, 7, 2, 3, bias=False), nn.MaxPool2d(3, 2, 1))
    stages: dict[str, nn.Module] = {"stem": stem}
    ends = [End("stem", channels, 4)]
    table = zip(WIDTHS, BOTTLENECKS, blocks, strict=True)
    for i, (wide, narrow, depth) in enumerate(table, 1):
        row: list[nn.Module] = []
        for j in range(depth):
            stride = 2 if j == 0 and i > 1 else 1
            row.append(
                Bottleneck(channels, scaled(narrow, width), scaled(wide, width), stride, kind)
            )
            channels = scaled(wide, width)
        stages[f"stage{i}"] = nn.Sequential(*row)
        ends.append(End(f"stage{i}", channels, 2 ** (i + 1)))
    top = nn.Sequential(norm_layer(kind, channels), nn.ReLU(inplace=True), global_average())
    body = Chain(stages, top)
    he_normal(body)
    return Built(body, tuple(ends), channels)
