"""``alexnet_colour``: the fully convolutional AlexNet that colours pictures.

Zhang, Isola, Efros, "Colorful Image Colorization", ECCV 2016 (its AlexNet for feature learning),
and, cut in half along the channels, their "Split-Brain Autoencoders", CVPR 2017. It keeps its 12x12
cells of a 180x180 picture to the end: the last pooling has stride 1, and the 6x6 layer that was
fc6 is dilated instead. Batch norm without learnt scale after every layer, no local response norm.
"""

from __future__ import annotations

from torch import nn

from foveal.backbones.base import End
from foveal.backbones.chain import Built, Chain, global_average, he_normal, norm_layer, scaled

FC = 4096
# Channels, kernel, stride, padding, dilation, in two groups as published, stride of the pooling
# (3x3) before it.
_LAYERS = {
    "conv1": (96, 11, 4, 5, 1, False, None),
    "conv2": (256, 5, 1, 2, 1, True, 2),
    "conv3": (384, 3, 1, 1, 1, False, 2),
    "conv4": (384, 3, 1, 1, 1, True, None),
    "conv5": (256, 3, 1, 1, 1, True, None),
    "fc6": (FC, 6, 1, 5, 2, False, 1),
    "fc7": (FC, 1, 1, 0, 1, False, None),
}


def build_alexnet_colour(
    name: str,
    *,
    in_chans: int,
    width: float,
    norm: str | None,
    last_relu: bool | None,
    groups: int = 2,
    top: bool = True,
) -> Built:
    """Zhang et al.'s AlexNet; ``pooled`` is the mean of its last map.

    Args:
        name: For errors.
        in_chans: Channels of the input.
        width: Channel multiplier of all layers, fc6 and fc7 too.
        norm: ``batch`` (also None), ``group`` or ``layer``, after every layer.
        last_relu: Whether the last ReLU before ``pooled`` is there; None is yes.
        groups: Of conv2, conv4 and conv5; 1 in a half of a split brain.
        top: Whether fc6 and fc7 are there, as the maps they are.
    """
    stages: dict[str, nn.Module] = {}
    ends = []
    channels, cell = in_chans, 1
    layers = {k: v for k, v in _LAYERS.items() if top or k.startswith("conv")}
    for stage, (outs, kernel, stride, padding, dilation, grouped, pool) in layers.items():
        outs = scaled(outs, width)
        parts: list[nn.Module] = [] if pool is None else [nn.MaxPool2d(3, pool, 1)]
        parts += [
            nn.Conv2d(channels, outs, kernel, stride, padding, dilation, groups if grouped else 1),
            nn.BatchNorm2d(outs, affine=False)
            if norm in (None, "batch")
            else norm_layer(norm, outs),
        ]
        if stage != list(layers)[-1] or last_relu is not False:
            parts.append(nn.ReLU(inplace=True))
        channels, cell = outs, cell * stride * (pool or 1)
        stages[stage] = nn.Sequential(*parts)
        ends.append(End(stage, channels, cell))
    body = Chain(stages, global_average())
    he_normal(body)
    return Built(body, tuple(ends), channels)
