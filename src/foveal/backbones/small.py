"""``small``: a residual network for a CPU, about 1.1 M parameters at width 1.

Three stages of basic blocks (He et al., "Deep residual learning for image recognition", CVPR 2016)
with 1, 2 and 1 blocks. Few channels at high resolution and many at low resolution: on a CPU the
early maps are bound by memory, the late ones by arithmetic, so multiply-adds are cheap late.
Measured side by side (float32, channels_last, oneDNN, 2 threads, batch 512 of 40x40, forward and
backward), images/s relative to this network: 48/96/192 with one block a stage 1.1, 64/128/256 with
one block a stage 0.7, 48/96/192 with two blocks a stage 0.6, bottleneck blocks 0.35.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from foveal.backbones.base import End
from foveal.backbones.chain import (
    Built,
    Chain,
    GlobalMax,
    global_average,
    he_normal,
    norm_layer,
    refuse,
    scaled,
)

STEM = 32
WIDTHS = (32, 96, 256)
BLOCKS = (1, 2, 1)
# Strides and dilations of the three stages, by stride of the last map relative to the stem's.
_STRIDES = {4: ((1, 2, 2), (1, 1, 1)), 2: ((1, 2, 1), (1, 1, 2)), 1: ((1, 1, 1), (1, 2, 4))}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, ReLU after the sum.

    Args:
        channels_in, channels_out: Of the maps.
        stride, dilation: Of the first convolution; the second has the same dilation.
        norm: See ``norm_layer``.
        last_relu: Whether the ReLU after the sum is there.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        norm: str | None = None,
        last_relu: bool = True,
    ) -> None:
        super().__init__()
        around = {"padding": dilation, "dilation": dilation}
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, bias=False, **around)  # type: ignore[arg-type]
        self.norm1 = norm_layer(norm, channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, bias=False, **around)  # type: ignore[arg-type]
        self.norm2 = norm_layer(norm, channels_out)
        self.relu = nn.ReLU(inplace=True)
        self.last = nn.ReLU(inplace=True) if last_relu else nn.Identity()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False),
                norm_layer(norm, channels_out),
            )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H / stride, W / stride]."""
        y = self.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        out: Tensor = self.last(y + self.shortcut(x))
        return out


def build_small(
    name: str,
    *,
    in_chans: int,
    width: float,
    stem: str | None,
    norm: str | None,
    output_stride: int | None,
    last_relu: bool | None,
    units: bool,
    blocks: Sequence[int] = BLOCKS,
    pool: str = "max",
) -> Built:
    """The small network.

    Args:
        name: For errors.
        in_chans: Channels of the input.
        width: Channel multiplier.
        stem: ``small`` (also None): 3x3 convolution of stride 2, for pictures of 32 to 96 pixels;
            ``image``: a 3x3 max pool of stride 2 follows, for larger ones.
        norm: See ``norm_layer``.
        output_stride: Input pixels per cell of the last map: 8 (None), 4 or 2 with stem ``small``,
            16, 8 or 4 with ``image``; smaller than the largest dilates the late convolutions.
        last_relu: Whether a ReLU stands before the pooling; None is yes.
        units: Every block is an end point.
        blocks: Basic blocks of the three stages; (1, 1, 1) is about 1.35 times as fast.
        pool: What makes ``pooled`` of the last map: ``max``, whether something is anywhere in the
            picture, or ``avg``, how much of it there is. What is looked for is often small in the
            picture, and an average is then mostly background: kNN of the same rotation network on
            Doom objects was 23.1 % with max and 14.9 % with avg (random: 14.9 and 14.2 %).
    """
    if pool not in ("max", "avg"):
        raise refuse(name, "pool", pool, "max or avg")
    if len(blocks) != len(WIDTHS) or min(blocks) < 1:
        raise refuse(name, "blocks", blocks, "three numbers, e.g. [1, 2, 1]")
    if stem not in (None, "small", "image"):
        raise refuse(name, "stem", stem, "stem=small or image; a ViT or ResNet has 'patch'")
    root = 4 if stem == "image" else 2
    last = 4 if output_stride is None else output_stride / root
    if last not in _STRIDES:
        possible = ", ".join(str(root * s) for s in _STRIDES)
        raise refuse(name, "output_stride", output_stride, f"output_stride is one of {possible}")
    strides, dilations = _STRIDES[int(last)]
    channels = scaled(STEM, width)
    layers: list[nn.Module] = [
        nn.Conv2d(in_chans, channels, 3, 2, 1, bias=False),
        norm_layer(norm, channels),
        nn.ReLU(inplace=True),
    ]
    ends = [End("stem", channels, root)]
    stages: dict[str, nn.Module] = {}
    if stem == "image":
        layers.append(nn.MaxPool2d(3, 2, 1))
    stages["stem"] = nn.Sequential(*layers)
    cell = root
    for i, (out, depth) in enumerate(zip(WIDTHS, blocks, strict=True)):
        row = []
        for j in range(depth):
            very_last = i == len(WIDTHS) - 1 and j == depth - 1
            row.append(
                BasicBlock(
                    channels,
                    scaled(out, width),
                    stride=strides[i] if j == 0 else 1,
                    dilation=dilations[i],
                    norm=norm,
                    last_relu=last_relu is not False or not very_last,
                )
            )
            channels = scaled(out, width)
        cell *= strides[i]
        if units:
            for j, block in enumerate(row, 1):
                stages[f"stage{i + 1}_unit{j}"] = block
                ends.append(End(f"stage{i + 1}_unit{j}", channels, cell))
            row = []
        stages[f"stage{i + 1}"] = nn.Sequential(*row)
        ends.append(End(f"stage{i + 1}", channels, cell))
    body = Chain(stages, GlobalMax() if pool == "max" else global_average())
    he_normal(body)
    return Built(body, tuple(ends), channels)
