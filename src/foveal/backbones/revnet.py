"""``revnet50``: the reversible ResNet-50 of "Revisiting", the best network for rotation there.

Kolesnikov, Zhai, Beyer, "Revisiting self-supervised visual representation learning", CVPR 2019,
after Gomez et al. (NIPS 2017). A linear root convolution, four stages of reversible bottlenecks;
between stages cells are averaged 2x2 and zeros double the channels, so that nothing is thrown away
by a learned projection. At width 1 it is their widening factor 4: 2048 features; width 4 has 86 M
parameters. They leave the root convolution out of weight decay, foveal does not.

Legend: B images, C channels, H, W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.backbones.base import End
from foveal.backbones.chain import Built, he_normal, norm_layer, refuse, scaled
from foveal.backbones.reversible import Coupling, Reversible

BLOCKS = (3, 4, 6, 3)
CHANNELS = 256  # of the root and of the first stage


class RevNet(nn.Module):
    """Root, reversible stages with a parameter-free step between them, norm, average.

    Args:
        root: Picture to the first stage's map.
        stages: Reversible chains.
        strides: Of the averaging before each stage; the channels double there. The first is None.
        head: Norm, and ReLU unless it is left out.
    """

    def __init__(
        self,
        root: nn.Module,
        stages: Sequence[Reversible],
        strides: Sequence[int | None],
        head: nn.Module,
    ) -> None:
        super().__init__()
        self.root, self.head = root, head
        self.stages = nn.ModuleList(stages)
        self.strides = tuple(strides)

    def forward(self, x: Tensor, ends: tuple[str, ...] = ()) -> dict[str, Tensor]:
        """[B, C, H, W] -> the asked end points, and ``pooled`` [B, D]."""
        found: dict[str, Tensor] = {}
        # In half precision a block's input would not follow from its output.
        x = self.root(x)
        x = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        if "stem" in ends:
            found["stem"] = x
        for i, (stage, stride) in enumerate(zip(self.stages, self.strides, strict=True), 1):
            assert isinstance(stage, Reversible)
            if stride is not None:
                x = pool_and_double(x, stride)
            start = 0
            for stop in range(1, len(stage) + 1):
                name = f"stage{i}_unit{stop}"
                if name in ends or stop == len(stage):
                    # What is handed out is kept anyway, so the chain is cut there.
                    x = stage(x, start, stop)
                    start = stop
                if name in ends:
                    found[name] = x
            if f"stage{i}" in ends:
                found[f"stage{i}"] = x
        found["pooled"] = self.pool(x)
        return found

    def pool(self, x: Tensor) -> Tensor:
        """The last stage's map [B, C, h, w] -> ``pooled`` [B, C]."""
        pooled: Tensor = self.head(x).mean((2, 3))
        return pooled


def pool_and_double(x: Tensor, stride: int) -> Tensor:
    """[B, C, H, W] -> [B, 2 C, H / stride, W / stride]: averaged cells between zero channels."""
    if stride > 1:
        x = F.avg_pool2d(x, stride, ceil_mode=True)
    half = x.shape[1] // 2
    return F.pad(x, (0, 0, 0, 0, half, half))


def build_revnet50(
    name: str,
    *,
    in_chans: int,
    width: float,
    stem: str | None,
    norm: str | None,
    last_relu: bool | None,
    units: bool,
    blocks: Sequence[int] = BLOCKS,
    stored: bool = False,
) -> Built:
    """RevNet-50.

    Args:
        name: For errors.
        in_chans: Channels of the input.
        width: Channel multiplier: their factor k over 4.
        stem: ``image`` (also None): 7x7 of stride 2, then 3x3 max pool; ``small``: 3x3 of stride 1
            and no pool; ``patch``: 7x7 of stride 1, and a last stage that keeps its resolution.
        norm: See ``norm_layer``.
        last_relu: Whether a ReLU stands before the average; None is yes.
        units: Every block is an end point.
        blocks: Reversible blocks of the stages.
        stored: Keep all activations for backward: the same numbers, faster, more memory.
    """
    if stem not in (None, "image", "small", "patch"):
        raise refuse(name, "stem", stem, "stem=image, small or patch")
    if len(blocks) < 1 or min(blocks) < 1:
        raise refuse(name, "blocks", blocks, "numbers of blocks, e.g. [3, 4, 6, 3]")
    channels = scaled(CHANNELS, width)
    kernel, stride = (3, 1) if stem == "small" else (7, 1 if stem == "patch" else 2)
    layers: list[nn.Module] = [
        nn.Conv2d(in_chans, channels, kernel, stride, kernel // 2, bias=False)
    ]
    if stem != "small":
        layers.append(nn.MaxPool2d(3, 2, 1))
    cell = stride * (1 if stem == "small" else 2)
    ends = [End("stem", channels, cell)]
    stages, strides = [], []
    for i, depth in enumerate(blocks, 1):
        step: int | None = None
        if i > 1:
            step = 1 if stem == "patch" and i == len(blocks) else 2
            channels, cell = 2 * channels, cell * step
        strides.append(step)
        chain = [Coupling(_branch(channels // 2, norm)) for _ in range(depth)]
        stages.append(Reversible(chain, stored=stored))
        if units:
            ends += [End(f"stage{i}_unit{j}", channels, cell) for j in range(1, depth + 1)]
        ends.append(End(f"stage{i}", channels, cell))
    head = nn.Sequential(norm_layer(norm, channels))
    if last_relu is not False:
        head.append(nn.ReLU(inplace=True))
    body = RevNet(nn.Sequential(*layers), stages, strides, head)
    he_normal(body)
    return Built(body, tuple(ends), channels)


def _branch(channels: int, norm: str | None) -> nn.Sequential:
    """The pre-activation bottleneck on one half of the channels."""
    inner = channels // 4
    return nn.Sequential(
        norm_layer(norm, channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, inner, 1, bias=False),
        norm_layer(norm, inner),
        nn.ReLU(inplace=True),
        nn.Conv2d(inner, inner, 3, padding=1, bias=False),
        norm_layer(norm, inner),
        nn.ReLU(inplace=True),
        nn.Conv2d(inner, channels, 1, bias=False),
    )
