"""Sobel filters made part of the first convolution, which then takes colour again.

Caron et al., DeeperCluster, ICCV 2019: networks that learned behind fixed Sobel filters are
fine-tuned on colour (released code). The mean of the channels, the Sobel filter and the first
convolution are linear, so one kernel of two pixels more does all three, the same for red, green
and blue. It is the same function where no padding is seen.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.backbones.encoder import Encoder
from foveal.backbones.inputs import Sobel
from foveal.errors import FovealError

COLOURS = 3


def has_sobel(encoder: Encoder) -> bool:
    """Whether a Sobel layer stands before a trunk."""
    return any(isinstance(layer, Sobel) for layers in _inputs(encoder) for layer in layers)


def without_sobel(encoder: Encoder) -> Encoder:
    """A copy that computes the same inside of the picture, without its Sobel layers.

    The weights are to be trained on: ``describe`` of the copy is that of the encoder it came from.

    Raises:
        FovealError: Something stands between Sobel and trunk, the pictures are grey, or the first
            layer is no plain convolution.
    """
    folded = copy.deepcopy(encoder)
    for trunk, layers in zip(folded.trunks, _inputs(folded), strict=True):
        if not any(isinstance(layer, Sobel) for layer in layers):
            continue
        sobel = layers[-1]
        name, conv = next(
            (n, m) for n, m in trunk.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)
        )
        if (
            not isinstance(sobel, Sobel)
            or encoder.channels != COLOURS
            or not isinstance(conv, nn.Conv2d)
            or conv.groups != 1
            or isinstance(conv.padding, str)
        ):
            raise FovealError(
                "Sobel filters cannot become part of the first convolution of this network: it "
                "takes colour, Sobel stands right before the trunk, and a plain convolution "
                "comes first",
                hint="fold_sobel=false",
            )
        new: nn.Conv2d = nn.utils.skip_init(  # type: ignore[no-untyped-call]
            nn.Conv2d,  # drawn weights would move torch's generator
            COLOURS,
            conv.out_channels,
            [k + 2 for k in conv.kernel_size],
            conv.stride,
            [p + sobel.arguments["padding"] for p in conv.padding],
            bias=conv.bias is not None,
            device=conv.weight.device,
            dtype=conv.weight.dtype,
        )
        with torch.no_grad():
            new.weight.copy_(folded_kernel(conv.weight, sobel.kernels))
            if conv.bias is not None and new.bias is not None:
                new.bias.copy_(conv.bias)
        parent, _, last = name.rpartition(".")
        setattr(trunk.get_submodule(parent), last, new)
        del layers[-1]
    return folded


def folded_kernel(weight: Tensor, kernels: Tensor) -> Tensor:
    """The kernel that does what Sobel and then ``weight`` do, [O, 3, h + 2, w + 2].

    Args:
        weight: Of the first convolution, [O, 2, h, w].
        kernels: Sobel's, [2, 1, 3, 3].
    """
    # Both are correlations; doing one after the other is the full convolution of their kernels.
    flipped = kernels.flip(2, 3).to(weight.dtype)
    one = F.conv2d(weight, flipped, padding=2, groups=2).sum(1, keepdim=True)
    return one.expand(-1, COLOURS, -1, -1) / COLOURS


def _inputs(encoder: Encoder) -> list[nn.Sequential]:
    return [layers for layers in encoder.inputs if isinstance(layers, nn.Sequential)]
