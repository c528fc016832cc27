"""``vgg19_revisiting``: VGG-19 with batch norm everywhere, as "Revisiting" trains it.

Kolesnikov, Zhai, Beyer, "Revisiting self-supervised visual representation learning", CVPR 2019:
batch norm after the fully connected layers too, so no dropout; convolutions without biases. At
width 1 it is the published VGG (their widening factor 8). DeepCluster's VGG-16 is timm's
``vgg16_bn``.
"""

from __future__ import annotations

from torch import nn

from foveal.backbones.base import End
from foveal.backbones.chain import (
    Built,
    Chain,
    FixedFlatten,
    global_average,
    he_normal,
    norm_layer,
    refuse,
    scaled,
)

# (convolutions, channels) of the five stages.
STAGES = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))
FC = 4096
SHRINK = 32  # pixels of the picture to a cell of the map under the fully connected layers


def build_vgg19(
    name: str,
    *,
    in_chans: int,
    width: float,
    norm: str | None,
    last_relu: bool | None,
    top: bool = True,
    cells: int = 7,
) -> Built:
    """VGG-19 with batch norm; ``pooled`` is the second fully connected layer ("pre-logits").

    Args:
        name: For errors.
        in_chans: Channels of the input.
        width: Channel multiplier, of the fully connected layers too: their factor k over 8.
        norm: See ``norm_layer``; the fully connected layers keep batch norm.
        last_relu: Whether the last ReLU before ``pooled`` is there; None is yes.
        top: Whether the fully connected layers are there; without them the last stage is averaged.
        cells: Side of the map the first of them reads: 7 for 224 pixels, 2 for patches of 64.
    """
    if cells < 1:
        raise refuse(name, "cells", cells, "cells=7 for pictures of 224 pixels, 2 for 64")
    stages: dict[str, nn.Module] = {}
    ends = []
    channels = in_chans
    for i, (depth, out) in enumerate(STAGES):
        layers: list[nn.Module] = [nn.MaxPool2d(2)] if i else []
        out = scaled(out, width)
        for j in range(depth):
            layers += [
                nn.Conv2d(channels, out, 3, padding=1, bias=False),
                norm_layer(norm, out),
                nn.ReLU(inplace=True),
            ]
            channels = out
            if not top and last_relu is False and (i, j) == (len(STAGES) - 1, depth - 1):
                layers.pop()
        stages[f"stage{i + 1}"] = nn.Sequential(*layers)
        ends.append(End(f"stage{i + 1}", channels, 2**i))
    dim = scaled(FC, width) if top else channels
    head = global_average()
    if top:
        head = nn.Sequential(
            nn.MaxPool2d(2),
            FixedFlatten(cells, cells * SHRINK),
            nn.Linear(channels * cells * cells, dim, bias=False),
            nn.BatchNorm1d(dim),
            nn.ReLU(inplace=True),
            nn.Linear(dim, dim, bias=False),
            nn.BatchNorm1d(dim),
            *([] if last_relu is False else [nn.ReLU(inplace=True)]),
        )
    body = Chain(stages, head)
    he_normal(body)
    return Built(body, tuple(ends), dim)
