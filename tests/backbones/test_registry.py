"""Every trunk keeps the contract, whatever its family."""

import json

import pytest
import torch

from foveal.backbones import registry, timm_bridge
from foveal.backbones.encoder import Encoder
from foveal.backbones.inputs import Normalise
from foveal.backbones.registry import build_backbone, list_backbones
from foveal.errors import FovealError
from foveal.exporting.weights import load_encoder, save_encoder

# name, arguments, side of the picture; small so that the whole registry is quick.
NETWORKS = [
    ("small", {}, 40),
    ("small", {"stem": "image", "width": 0.5, "norm": "layer"}, 64),
    ("small", {"output_stride": 4, "last_relu": False, "norm": "group", "width": 0.5}, 32),
    ("small", {"blocks": [1, 1, 1], "width": 0.5, "norm": "channel"}, 40),
    ("alexnet_rotnet", {"top": False, "width": 0.25}, 64),
    ("alexnet_deepcluster", {"top": False, "width": 0.25, "norm": "group"}, 64),
    ("alexnet_colour", {"groups": 1, "width": 0.125}, 64),
    ("caffenet", {"top": False, "width": 0.25}, 67),
    ("nin", {"width": 0.25}, 32),
    ("nin", {"blocks": 3, "last_relu": False, "width": 0.25}, 32),
    ("resnet18", {"width": 0.25}, 64),
    ("resnet18", {"stem": "small", "norm": "channel", "width": 0.5}, 32),
    ("resnet18", {"stem": "patch", "width": 0.25}, 64),
    ("resnet50", {"width": 0.25, "output_stride": 8}, 64),
    ("resnetv2_50", {"last_relu": False, "layers": [1, 1, 1, 1]}, 64),
    ("resnetv2_50", {"width": 0.25, "layers": [1, 2, 1, 1], "units": True}, 64),
    ("resnetv2_50", {"width": 0.25, "layers": [1, 1, 1, 1], "stem": "patch", "norm": "layer"}, 64),
    ("resnet18", {"width": 0.25, "units": True}, 64),
    ("small", {"width": 0.5, "units": True}, 40),
    ("vgg11_bn", {"top": False, "last_relu": False}, 32),
    ("vgg19_revisiting", {"width": 0.125, "cells": 2}, 64),
    ("vgg19_revisiting", {"width": 0.125, "top": False, "last_relu": False}, 64),
    ("revnet50", {"width": 0.125, "units": True}, 64),
    ("revnet50", {"width": 0.125, "stem": "patch", "blocks": [1, 1, 2, 1]}, 64),
    ("revnet50", {"width": 0.125, "stem": "small", "last_relu": False, "norm": "group"}, 32),
    ("resnet161_cpc", {"width": 0.0625, "blocks": [1, 1, 2]}, 64),
    ("convnext_atto", {}, 64),
    ("vit_tiny", {"img_size": 64, "depth": 3}, 64),
    ("mobilenetv3_small", {}, 64),
]


def _id(row):
    return row[0] + "".join(f"-{k}={v}" for k, v in row[1].items())


@pytest.mark.parametrize("row", NETWORKS, ids=_id)
@pytest.mark.parametrize("in_chans", [1, 3])
def test_a_trunk_keeps_the_contract(row, in_chans, tmp_path):
    name, arguments, size = row
    torch.manual_seed(0)
    backbone = build_backbone(name, in_chans=in_chans, **arguments)
    x = torch.rand(2, in_chans, size, size)
    names = [end.name for end in backbone.ends]
    assert len(set(names)) == len(names) > 0

    out = backbone(x, names)
    assert set(out) == {"pooled", *names}
    assert out["pooled"].shape == (2, backbone.dim)
    for end in backbone.ends:
        assert end.kind == "map" and out[end.name].shape[:2] == (2, end.channels)
        # An AlexNet has unpadded layers, so its maps are a little smaller than the stride says.
        cells = size / end.stride
        slack = 2 if "net" in name and "res" not in name and "conv" not in name else 0
        assert cells - slack <= out[end.name].shape[2] <= cells
    sum(value.square().mean() for value in out.values()).backward()
    assert all(p.grad is not None for p in backbone.parameters())

    backbone.eval()
    with torch.no_grad():
        alone, beside = backbone(x)["pooled"], backbone(x, names)["pooled"]
    torch.testing.assert_close(alone, beside)

    again = build_backbone(**json.loads(json.dumps(backbone.spec)))
    assert again.spec == backbone.spec and again.ends == backbone.ends
    encoder = Encoder(
        [backbone],
        [[Normalise([0.5] * in_chans, [0.2] * in_chans)]],
        channels=in_chans,
        size=size,
    ).eval()
    save_encoder(encoder, tmp_path / "backbone.safetensors", {"seed": 1})
    loaded = load_encoder(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(x)["pooled"], encoder(x)["pooled"])


def test_every_listed_name_is_known():
    # Building vit_base and the like for this would take a minute of a slow machine.
    for name in list_backbones():
        known = {**registry._ALIASES, **{k: v[0] for k, v in registry._PRESETS.items()}}
        assert name in registry._OWN or timm_bridge.is_model(known.get(name, name))


def test_a_last_relu_can_be_left_out():
    for name, arguments in (("small", {}), ("nin", {}), ("alexnet_rotnet", {"top": False})):
        x = torch.randn(4, 3, 64, 64)
        torch.manual_seed(0)
        last = build_backbone(name, **arguments).ends[-1].name
        assert (build_backbone(name, **arguments)(x, [last])[last] >= 0).all()
        without = build_backbone(name, last_relu=False, **arguments)
        assert (without(x, [last])[last] < 0).any()


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("smal", {}, "did you mean small"),
        ("resnet81", {}, "did you mean resnet18"),
        ("vit_tiny", {"width": 2.0}, "cannot be built with width=2.0\n.*timm's ResNets"),
        ("nin", {"block": 3}, "did you mean blocks"),
        ("nin", {"blocks": 1}, "blocks=3, 4 or 5"),
        ("nin", {"norm": "instance"}, "there is no norm 'instance'"),
        ("resnet18", {"norm": "instance"}, "there is no norm 'instance'"),
        ("caffenet", {"norm": "batch"}, "cannot be built with norm='batch'"),
        ("resnet18", {"foo": 1}, "resnet18 has no argument 'foo'"),
        ("convnext_atto", {"stem": "small"}, "stem=small is for small and timm's ResNets"),
        ("small", {"stem": "patch"}, "cannot be built with stem='patch'"),
        ("small", {"blocks": [1, 2]}, "three numbers"),
        ("small", {"output_stride": 32}, "output_stride is one of 8, 4, 2"),
        ("resnet18", {"last_relu": False}, "pre-activation ResNets"),
        ("resnet18", {"output_stride": 3}, "timm refuses resnet18"),
        ("resnet50d", {"width": 2.0}, "deep-stem"),
        ("small", {"x": object()}, "not a plain value"),
    ],
)
def test_what_cannot_be_honoured_is_refused(name, arguments, message):
    with pytest.raises(FovealError, match=f"(?s){message}"):
        build_backbone(name, **arguments)


def test_an_unknown_end_point_names_the_known():
    with pytest.raises(FovealError, match="stem, stage1"):
        build_backbone("small")(torch.rand(1, 3, 32, 32), ["layer9"])
