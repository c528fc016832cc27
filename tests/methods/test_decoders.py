"""Decoders: whatever the features' shape, a picture of the asked side."""

import pytest
import torch
from torch import nn

from foveal.backbones.base import Backbone, End
from foveal.backbones.registry import build_backbone
from foveal.errors import FovealError
from foveal.methods.decoders import ChannelwiseLinear, Decoder, last_map


@pytest.mark.parametrize(("stride", "size"), [(8, 40), (4, 18), (16, 227), (2, 5), (32, 64)])
def test_maps_become_pictures(stride, size):
    decoder = Decoder(24, 3, size=size, stride=stride)
    cells = -(-size // stride)
    assert decoder(torch.rand(2, 24, cells, cells)).shape == (2, 3, size, size)


@pytest.mark.parametrize("size", [4, 20, 40])
def test_vectors_become_pictures(size):
    assert Decoder(10, 1, size=size, stride=None)(torch.rand(3, 10)).shape == (3, 1, size, size)


def test_the_last_map():
    assert last_map(build_backbone("small", width=0.25)).name == "stage3"
    assert last_map(build_backbone("vit_tiny", img_size=32, patch_size=8, depth=1)).stride == 8
    vectors = Backbone(
        nn.Flatten(), ends=[End("v", 3, 0, "vector")], dim=3, in_chans=3, spec={"name": "flat"}
    )
    with pytest.raises(FovealError, match="flat has no map"):
        last_map(vectors)


def test_channelwise_linear_mixes_cells_within_a_channel():
    layer = ChannelwiseLinear(2, 2)
    assert layer.weight.shape == (2, 4, 4)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[0, 0, 3] = 2.0
        layer.mix.weight.copy_(torch.eye(2)[:, :, None, None])
        layer.mix.bias.zero_()
        out = layer(torch.ones(1, 2, 2, 2))
    assert out.tolist() == [[[[0, 0], [0, 2]], [[0, 0], [0, 0]]]]
