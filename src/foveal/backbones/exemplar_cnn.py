"""The networks of Exemplar-CNN (Dosovitskiy et al., TPAMI 2016, section 4.1).

``NcF``: N filters of F x F, ReLU; a 2 x 2 max pool after each of the first two; ``Nf``: fully
connected, ReLU. Parameters without the classifier, unpadded, for patches of 32 pixels:

* ``exemplar_small``: 64c5-64c5-128f, 312,256
* ``exemplar_medium``: 64c5-128c5-256c5-512f, 1,160,832
* ``exemplar_large``: 92c5-256c5-512c5-1024f, 4,398,672
* ``exemplar_matching``: 64c7s2-128c5-256c5-512f, first stride 2, for patches of 64 pixels

The fully connected layer is a convolution over the map that a patch leaves, so larger pictures
work, as in the paper's evaluation: ``pooled`` is the maximum over all places of a patch. Dropout
and classifier are the method's.
"""

from __future__ import annotations

from torch import nn

from foveal.backbones.base import End
from foveal.backbones.chain import Built, Chain, GlobalMax, he_normal

# (Filters, side, stride) of the convolutions; cells a side of the map that a patch leaves, without
# padding; units of the fully connected layer.
_SHAPES: dict[str, tuple[tuple[tuple[int, int, int], ...], int, int]] = {
    "exemplar_small": (((64, 5, 1), (64, 5, 1)), 5, 128),
    "exemplar_medium": (((64, 5, 1), (128, 5, 1), (256, 5, 1)), 1, 512),
    "exemplar_large": (((92, 5, 1), (256, 5, 1), (512, 5, 1)), 1, 1024),
    "exemplar_matching": (((64, 7, 2), (128, 5, 1), (256, 5, 1)), 1, 512),
}
NAMES = tuple(_SHAPES)
_PADDED_CELLS = 8


def build_exemplar_cnn(name: str, *, in_chans: int, padded: bool = False) -> Built:
    """One of the four.

    Args:
        name: Which.
        in_chans: Channels of the input.
        padded: Half a filter of zeros around every map; the paper does not say. The
            fully connected layer then sees 8 x 8 cells instead of 5 x 5 or one.
    """
    convolutions, cells, units = _SHAPES[name]
    stages: dict[str, nn.Module] = {}
    ends = []
    channels, cell = in_chans, 1
    for i, (filters, side, stride) in enumerate(convolutions):
        padding = side // 2 if padded else 0
        layers: list[nn.Module] = [
            nn.Conv2d(channels, filters, side, stride, padding),
            nn.ReLU(inplace=True),
        ]
        if i < 2:
            layers.append(nn.MaxPool2d(2))
        channels, cell = filters, cell * stride * (2 if i < 2 else 1)
        stages[f"conv{i + 1}"] = nn.Sequential(*layers)
        ends.append(End(f"conv{i + 1}", channels, cell))
    side = _PADDED_CELLS if padded else cells
    stages["fc"] = nn.Sequential(nn.Conv2d(channels, units, side), nn.ReLU(inplace=True))
    ends.append(End("fc", units, cell))
    body = Chain(stages, GlobalMax())
    he_normal(body)
    return Built(body, tuple(ends), units)
