"""The networks of "Revisiting", DeepCluster's VGG and the multi-task trunk: sizes and counts."""

import pytest
import torch
from torch import nn

from foveal.backbones.encoder import Encoder
from foveal.backbones.inputs import Sobel
from foveal.backbones.registry import build_backbone
from foveal.errors import FovealError
from foveal.exporting.formats import export
from foveal.exporting.weights import save_encoder


def _count(module):
    return sum(p.numel() for p in module.parameters())


def _meta(name, **arguments):
    with torch.device("meta"):
        return build_backbone(name, **arguments)


def _sides(backbone, size, training=False):
    x = torch.empty(2, backbone.in_chans, size, size, device="meta")
    out = backbone.train(training)(x, [end.name for end in backbone.ends])
    sides = {end.name: out[end.name].shape[2] for end in backbone.ends}
    return sides, out["pooled"].shape[1]


@pytest.mark.parametrize("name", ["resnet50", "resnetv2_50", "revnet50"])
def test_widening_factors(name):
    """Factor k is width k / 4: pre-logits of 512 k values."""
    for k in (1, 4, 8, 12, 16):
        backbone = _meta(name, width=k / 4)
        assert backbone.dim == 512 * k
        root = 64 * k if name == "revnet50" else 16 * k
        assert backbone.ends[0].channels == root
        assert [e.channels for e in backbone.ends[1:]] == [64 * k, 128 * k, 256 * k, 512 * k]
    assert _sides(_meta(name), 224)[0] == {
        "stem": 56 if name == "revnet50" else 112,
        "stage1": 56, "stage2": 28, "stage3": 14, "stage4": 7,
    }  # fmt: skip


def test_revnet_parameters():
    """A public list of benchmarks counts 85.8 M at factor 16."""
    assert _count(_meta("revnet50", width=4)) == 85_765_632
    blocks = 3 * 2 * 128 * 32 + 3 * 9 * 32 * 32  # the convolutions of the first stage
    stage = _meta("revnet50").body.stages[0]
    assert sum(p.numel() for p in stage.parameters() if p.ndim == 4) == blocks


def test_revnet_steps_between_stages():
    """Cells are averaged 2x2 and stand between as many zero channels."""
    from foveal.backbones.revnet import pool_and_double

    x = torch.arange(32.0).reshape(1, 2, 4, 4)
    y = pool_and_double(x, 2)
    assert y.shape == (1, 4, 2, 2) and not y[:, [0, 3]].any()
    assert y[0, 1].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    # An odd side: the last cell averages what there is.
    assert pool_and_double(torch.ones(1, 2, 3, 3), 2)[0, 1].tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize("name", ["resnet50", "resnetv2_50", "revnet50"])
def test_patch_stems(name):
    """Root of stride 1 and stage strides (2, 2, 1), for patches of 64 pixels."""
    sides, _ = _sides(_meta(name, stem="patch"), 64)
    assert [sides[f"stage{i}"] for i in range(1, 5)] == [32, 16, 8, 8]


def test_a_network_without_its_last_relu():
    """The models marked "(-)": pre-activation networks only."""
    for name in ("resnetv2_50", "revnet50"):
        small = {"layers" if name[3] == "n" and "v2" in name else "blocks": [1, 1, 1, 1]}
        torch.manual_seed(0)
        arguments = {"width": 0.125, "stem": "small", **small}
        x = torch.rand(4, 3, 16, 16)
        assert (build_backbone(name, **arguments)(x)["pooled"] >= 0).all()
        assert (build_backbone(name, last_relu=False, **arguments)(x)["pooled"] < 0).any()
    with pytest.raises(FovealError, match="cannot be built with last_relu=False"):
        build_backbone("resnet50", last_relu=False)


def test_vgg19():
    backbone = _meta("vgg19_revisiting")
    assert [e.channels for e in backbone.ends] == [64, 128, 256, 512, 512]
    depths = [
        sum(isinstance(m, nn.Conv2d) for m in stage) for stage in backbone.body.stages.values()
    ]
    assert depths == [2, 2, 4, 4, 4]
    sides, dim = _sides(backbone, 224)
    assert list(sides.values()) == [224, 112, 56, 28, 14] and dim == 4096
    # The published network, 143,667,240 parameters with its classifier, has biases and no norm.
    layers = list(backbone.modules())
    norms = sum(_count(m) for m in layers if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d))
    biases = sum(len(m.weight) for m in layers if isinstance(m, nn.Conv2d | nn.Linear))
    assert _count(backbone) - norms + biases == 143_667_240 - 4_097_000
    assert _sides(_meta("vgg19_revisiting", width=1 / 4), 224)[1] == 1024
    assert _sides(_meta("vgg19_revisiting", cells=2), 64)[1] == 4096
    with pytest.raises(FovealError, match="of about 224x224"):
        _sides(backbone, 64)


def test_vgg16_of_deepcluster():
    """2 Sobel channels, dropout after the first of two layers of 4096, clustered before ReLU."""
    backbone = _meta("vgg16_bn", in_chans=2, drop_rate=0.5, last_relu=False)
    sides, dim = _sides(backbone, 224)
    names = [f"conv{i}" for i in range(1, 14)]
    assert list(sides) == names and dim == 4096
    assert list(sides.values()) == [224] * 2 + [112] * 2 + [56] * 3 + [28] * 3 + [14] * 3
    assert [e.channels for e in backbone.ends] == [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6
    # The published network with batch norm, less its classifier and a third of its first layer.
    assert _count(backbone) == 138_365_992 - 4_097_000 - 64 * 9
    assert backbone.body.net.pre_logits.fc1.weight[0].numel() == 25_088
    assert backbone.body.net.pre_logits.drop.p == 0.5
    # DeeperCluster pads by 2 before its Sobel filters: 226 pixels, the same 7x7 cells at the end.
    assert Sobel(padding=2)(torch.rand(1, 3, 224, 224)).shape == (1, 2, 226, 226)
    assert _sides(backbone, 226)[0]["conv13"] == 14


def test_the_trunk_of_multi_task_learning():
    """ResNet-101-v2 up to its third block, at an eighth of the resolution: 23 units alike."""
    backbone = _meta("resnetv2_101_block3", units=True)
    sides, dim = _sides(backbone, 96)
    units = [e for e in backbone.ends if e.name.startswith("stage3_unit")]
    assert len(units) == 23 and {(e.channels, e.stride) for e in units} == {(1024, 8)}
    assert {sides[e.name] for e in units} == {12} and dim == 1024
    assert {m.eps for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-5}
    assert "stage4" not in sides


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("revnet50", {"width": 0.125}),
        ("resnetv2_50", {"width": 0.125, "stem": "patch", "last_relu": False}),
        ("vgg19_revisiting", {"width": 0.125, "cells": 1}),
        ("vgg11_bn", {"top": False}),
    ],
)
def test_export_round_trip(name, arguments, tmp_path):
    """Verified inside: what was written is loaded back and compared before export returns."""
    torch.manual_seed(0)
    backbone = build_backbone(name, **arguments).eval()
    encoder = Encoder([backbone], [[]], channels=3, size=32)
    save_encoder(encoder, tmp_path / "backbone.safetensors", {})
    export(tmp_path, format="torch", out=tmp_path / "torch")
    assert (tmp_path / "torch" / "encoder.pt2").is_file()
