"""Golden parameter counts and map sizes of the papers' own networks."""

import pytest
import torch
from torch import nn

from foveal.backbones.chain import norm_layer
from foveal.backbones.inputs import Sobel
from foveal.backbones.registry import build_backbone
from foveal.errors import FovealError


def _count(module):
    return sum(p.numel() for p in module.parameters())


def _meta(name, **arguments):
    with torch.device("meta"):
        return build_backbone(name, **arguments)


def _sizes(backbone, size):
    x = torch.empty(2, backbone.in_chans, size, size, device="meta")
    names = [end.name for end in backbone.ends]
    out = backbone.eval()(x, names)
    return [out[name].shape[2] for name in names], out["pooled"].shape[1]


def test_rotnet_alexnet():
    backbone = _meta("alexnet_rotnet")
    convs = [_count(stage) for stage in backbone.body.stages.values()]
    assert convs == [23_424, 307_776, 664_704, 885_504, 590_592]
    assert sum(convs) == 2_472_000
    assert _count(backbone) + _count(nn.Linear(4096, 4)) == 57_030_724
    assert _sizes(backbone, 224) == ([55, 27, 13, 13, 13], 4096)
    assert [end.stride for end in backbone.ends] == [4, 8, 16, 16, 16]


def test_deepcluster_alexnet():
    backbone = _meta("alexnet_deepcluster", in_chans=2)
    assert [end.channels for end in backbone.ends] == [96, 256, 384, 384, 256]
    # Weights and biases, batch-norm scales and shifts, two fully connected layers.
    convs = 2 * 96 * 121 + 96 * 256 * 25 + (256 * 384 + 384 * 384 + 384 * 256) * 9
    small = 3 * (96 + 256 + 384 + 384 + 256)
    assert _count(backbone) == convs + small + (9216 + 1) * 4096 + (4096 + 1) * 4096
    assert _sizes(backbone, 224) == ([55, 27, 13, 13, 13], 4096)
    assert sum(isinstance(m, nn.Dropout) for m in backbone.modules()) == 2


def test_deepcluster_alexnet_starts_as_the_paper_says():
    torch.manual_seed(0)
    backbone = build_backbone("alexnet_deepcluster", in_chans=2, last_relu=False, width=0.125)
    out = backbone(Sobel()(torch.rand(2, 3, 224, 224)), ["conv5"])
    assert (out["pooled"] < 0).any() and (out["conv5"] >= 0).all()
    for layer in backbone.modules():
        if isinstance(layer, nn.Conv2d):
            expected = (2 / (layer.kernel_size[0] ** 2 * layer.out_channels)) ** 0.5
            assert layer.weight.std().item() == pytest.approx(expected, rel=0.15)
            assert not layer.bias.any()
        if isinstance(layer, nn.Linear):
            assert layer.weight.std().item() == pytest.approx(0.01, rel=0.01)
            assert not layer.bias.any()
    with pytest.raises(FovealError, match="top=false"):
        backbone(torch.rand(2, 2, 96, 96))


def test_caffenet():
    backbone = _meta("caffenet")
    assert _count(backbone) + _count(nn.Linear(4096, 1000)) == 60_965_224
    assert _sizes(backbone, 227) == ([55, 27, 13, 13, 13], 4096)
    assert _sizes(backbone, 224)[1] == 4096


def test_alexnet_colour():
    """Split-brain's halves and the grouped whole; biases count, batch norm has no parameters."""
    sizes = {1: [5_856], 2: [11_664]}
    for in_chans, total in ((1, 14_569_824), (2, 14_575_632)):
        half = _meta("alexnet_colour", in_chans=in_chans, width=0.5, groups=1)
        found = [_count(stage) for stage in half.body.stages.values()]
        rest = [153_728, 221_376, 331_968, 221_312, 9_439_232, 4_196_352]
        assert found == sizes[in_chans] + rest and _count(half) == total
        assert sum(found[:5]) == {1: 934_240, 2: 940_048}[in_chans]
        assert _sizes(half, 180) == ([45, 23, 12, 12, 12, 12, 12], 2048)
    whole = _meta("alexnet_colour")
    convs = [_count(stage) for stage in whole.body.stages.values()][:5]
    assert convs == [34_944, 307_456, 885_120, 663_936, 442_624]
    assert _count(whole) == 56_868_224
    assert [end.stride for end in whole.ends] == [4, 8, 16, 16, 16, 16, 16]
    assert _sizes(_meta("alexnet_colour", top=False), 180) == ([45, 23, 12, 12, 12], 256)
    # What Larsson et al. stack at a point: the picture and all layers of AlexNet.
    grey = _meta("alexnet_colour", in_chans=1)
    assert 1 + sum(end.channels for end in grey.ends) == 9569


def test_golden_halves_of_split_brain():
    """Together half the weights of a dense network of the whole width, in every merged layer."""
    whole = _meta("alexnet_colour", groups=1)
    halves = [_meta("alexnet_colour", in_chans=c, width=0.5, groups=1) for c in (1, 2)]
    assert sum(_count(half) for half in halves) == 29_145_456
    for stage in ("conv1", "conv3", "fc6", "fc7"):
        dense, *parts = (
            sum(p.numel() for p in net.body.stages[stage].parameters() if p.ndim == 4)
            for net in (whole, *halves)
        )
        assert 2 * sum(parts) == dense
    # At 180 pixels the two poolings keep 23 and 12 cells.
    pooled = []
    for half in halves[:1]:
        for stage in ("conv2", "conv3"):
            half.body.stages[stage][0].register_forward_hook(
                lambda m, x, out: pooled.append(out.shape[2])
            )
        half.eval()(torch.empty(1, 1, 180, 180, device="meta"))
    assert pooled == [23, 12]


def test_nin():
    head = _count(nn.Linear(192, 4))
    backbone = _meta("nin")
    blocks = [_count(stage) for stage in backbone.body.stages.values()]
    assert blocks == [61_376, 535_680, 406_656, 406_656] and head == 772
    assert _count(backbone) + head == 1_411_140
    assert _count(_meta("nin", blocks=3)) + _count(nn.Linear(192, 10)) == 1_005_642
    assert _count(_meta("nin", blocks=5)) + head == 1_817_796
    assert _sizes(backbone, 32) == ([16, 8, 8, 8], 192)
    assert [end.channels for end in backbone.ends] == [96, 192, 192, 192]


def test_small():
    backbone = _meta("small")
    assert 1e6 < _count(backbone) < 2e6
    assert _sizes(backbone, 40) == ([20, 20, 10, 5], 256)
    assert _sizes(_meta("small", output_stride=4), 40) == ([20, 20, 10, 10], 256)
    # Width multiplies the channels, so nearly squares in the parameters.
    assert _count(_meta("small", width=2)) == pytest.approx(4 * _count(backbone), rel=0.01)


def test_resnets_by_width():
    """A width factor scales every layer, the stem too (SimCLR: 24, 94 and 375 million)."""
    sizes = [_count(_meta("resnet50", width=w)) for w in (1, 2, 4)]
    assert [round(s / 1e6) for s in sizes] == [24, 94, 375]
    # Without a projection where the channels agree, as at width 1.
    assert "downsample" not in dict(_meta("resnet18", width=2).body.net.layer1[0].named_children())
    assert _meta("resnet18", width=0.25).body.net.conv1.out_channels == 16


def test_channel_norm():
    """Layer norm of (1, 2, 3, 6), of every cell by itself."""
    x = torch.tensor([1.0, 2, 3, 6]).reshape(1, 4, 1, 1).expand(2, 4, 3, 5) * torch.ones(3, 5)
    found = norm_layer("channel", 4)(x)
    expected = torch.tensor([-1.069043, -0.534522, 0, 1.603565]).reshape(1, 4, 1, 1)
    assert torch.allclose(found, expected.expand_as(found), atol=1e-6)
    changed = x.clone()
    changed[0, :, 1, 2] = torch.randn(4)
    moved = (norm_layer("channel", 4)(changed) != found).any(1)
    assert moved.nonzero().tolist() == [[0, 1, 2]]
