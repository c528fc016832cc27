"""AlexNets that read one tile or patch at a time, and become an ordinary one for whole pictures.

* ``cfn``: a column of the Context-Free Network of Noroozi and Favaro, ECCV 2016 (section 3.1 and
  its released network): CaffeNet with conv1 at stride 2, and fc6 as ``pooled``. Nine columns with
  fc6 of 512 on 75-px tiles, fc7 and a head of 1000 have 27,407,208 parameters. For whole pictures
  conv1 goes back to stride 4 (section 4), which makes it ``caffenet`` without its top.
* ``contextnet``: a column of Doersch et al., ICCV 2015, as refactored by its first author: batch
  norm without scale and shift from conv3 on, so that no layer can be silenced (fc6 collapses
  without it), for patches of 96 px.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import nn

from foveal.backbones.alexnet import FC, caffe_convolutions, normal_linear
from foveal.backbones.base import Backbone, End
from foveal.backbones.chain import Built, Chain, global_average, refuse, scaled


class TileChain(Chain):
    """A chain whose top was made for tiles of one size.

    Args:
        stages, top: See ``Chain``.
        whole: Of this chain and its backbone's description makes the backbone for pictures.
    """

    def __init__(
        self, stages: dict[str, nn.Module], top: nn.Module, whole: Callable[..., Backbone]
    ) -> None:
        super().__init__(stages, top)
        self._whole = whole

    def for_pictures(self, backbone: Backbone) -> Backbone:
        """See ``Backbone.for_pictures``; parameters are shared."""
        return self._whole(dict(self.stages.items()), backbone)


def build_cfn(
    name: str,
    *,
    in_chans: int,
    width: float,
    tile: int = 64,
    fc6: int = 512,
) -> Built:
    """One column of the Context-Free Network.

    Args:
        name: For errors.
        in_chans: Channels of the input.
        width: Channel multiplier of the convolutions.
        tile: Side of a tile in pixels; 64, or 75 in the paper's first text.
        fc6: Features of a tile; 512 in the paper, 1024 in the released network.
    """
    stages, ends = caffe_convolutions(in_chans, width, stride=2)
    cells = _cells((tile - 11) // 2 + 1) if tile >= 11 else 0
    if cells < 1:
        raise refuse(name, "tile", tile, "tiles of about 64 pixels, at least 19")
    top = nn.Sequential(
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Flatten(),
        nn.Linear(ends[-1].channels * cells**2, fc6),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
    )
    normal_linear(top, std=0.005, bias=1.0)
    return Built(TileChain(stages, top, _cfn_for_pictures), ends, fc6)


def build_contextnet(
    name: str,
    *,
    in_chans: int,
    width: float,
    tile: int = 96,
    top: bool = True,
) -> Built:
    """One column of Doersch et al. 2015.

    Args:
        name: For errors.
        in_chans: Channels of the input.
        width: Channel multiplier of the convolutions.
        tile: Side of a patch in pixels.
        top: Whether fc6 is there (patches); otherwise conv5 is averaged (pictures of any size).
    """
    widths = [scaled(c, width) for c in (96, 256, 384, 384, 256)]
    table = [(11, 4, 5), (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1)]
    stages: dict[str, nn.Module] = {}
    ends = []
    channels, cell = in_chans, 1
    for i, (kernel, step, padding) in enumerate(table):
        layers: list[nn.Module] = []
        if i in (1, 2):
            layers += [nn.MaxPool2d(3, 2, ceil_mode=True), nn.LocalResponseNorm(5, alpha=1e-4)]
            cell *= 2
        layers.append(nn.Conv2d(channels, widths[i], kernel, step, padding))
        if i >= 2:
            layers.append(nn.BatchNorm2d(widths[i], affine=False))
        layers.append(nn.ReLU(inplace=True))
        channels, cell = widths[i], cell * step
        stages[f"conv{i + 1}"] = nn.Sequential(*layers)
        ends.append(End(f"conv{i + 1}", channels, cell))
    cells = _cells((tile + 10 - 11) // 4 + 1)
    if top and cells < 1:
        raise refuse(name, "tile", tile, "patches of about 96 pixels, at least 25")
    head = global_average()
    if top:
        head = nn.Sequential(
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Flatten(),
            nn.Linear(channels * cells**2, FC),
            nn.BatchNorm1d(FC, affine=False),
            nn.ReLU(inplace=True),
        )
    body = TileChain(stages, head, _contextnet_for_pictures) if top else Chain(stages, head)
    for layer in body.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return Built(body, tuple(ends), FC if top else channels)


def _cells(side: int) -> int:
    """Side of pool5 of a map of conv1 with this side: three poolings of 3 by 2 that round up."""
    for _ in range(3):
        side = -(-(side - 3) // 2) + 1
    return side


def _cfn_for_pictures(stages: dict[str, nn.Module], backbone: Backbone) -> Backbone:
    first: Any = stages["conv1"]
    # A shallow copy shares the parameters and has a stride of its own.
    conv = copy.copy(first[0])
    conv.stride = (4, 4)
    stages = {**stages, "conv1": nn.Sequential(conv, *first[1:])}
    ends = [End(end.name, end.channels, 2 * end.stride) for end in backbone.ends]
    spec = {k: v for k, v in backbone.spec.items() if k not in ("tile", "fc6")}
    return Backbone(
        Chain(stages, global_average()),
        ends=ends,
        dim=ends[-1].channels,
        in_chans=backbone.in_chans,
        spec={**spec, "name": "caffenet", "top": False},
    )


def _contextnet_for_pictures(stages: dict[str, nn.Module], backbone: Backbone) -> Backbone:
    spec = {k: v for k, v in backbone.spec.items() if k != "tile"}
    return Backbone(
        Chain(stages, global_average()),
        ends=backbone.ends,
        dim=backbone.ends[-1].channels,
        in_chans=backbone.in_chans,
        spec={**spec, "top": False},
    )
