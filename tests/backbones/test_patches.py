"""Columns for tiles: the papers' sizes, and the ordinary network they become."""

import pytest
import torch
from torch import nn

from foveal.backbones.encoder import Encoder
from foveal.backbones.inputs import Standardise
from foveal.backbones.registry import build_backbone
from foveal.errors import FovealError


def _meta(name, **arguments):
    with torch.device("meta"):
        return build_backbone(name, **arguments)


def _sizes(backbone, size):
    x = torch.empty(2, 3, size, size, device="meta")
    names = [end.name for end in backbone.ends]
    out = backbone.eval()(x, names)
    return [out[name].shape[2] for name in names], out["pooled"].shape[1]


@pytest.mark.parametrize(
    ("tile", "maps", "cells"), [(64, [27, 13, 6, 6, 6], 3), (75, [33, 16, 8, 8, 8], 4)]
)
def test_cfn(tile, maps, cells):
    backbone = _meta("cfn", tile=tile)
    assert _sizes(backbone, tile) == (maps, 512)
    assert backbone.body.top[2].in_features == 256 * cells**2
    convs = [sum(p.numel() for p in stage.parameters()) for stage in backbone.body.stages.values()]
    assert convs == [34_944, 307_456, 885_120, 663_936, 442_624]


def test_cfn_starts_as_the_released_network():
    torch.manual_seed(0)
    backbone = build_backbone("cfn", width=0.125, fc6=64)
    first, fc6 = backbone.body.stages["conv1"][0], backbone.body.top[2]
    assert first.stride == (2, 2) and first.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert fc6.weight.std().item() == pytest.approx(0.005, rel=0.05) and (fc6.bias == 1).all()
    biases = [next(m for m in stage if isinstance(m, nn.Conv2d)).bias[0].item()
              for stage in backbone.body.stages.values()]  # fmt: skip
    assert biases == [0, 1, 0, 1, 1]


@pytest.mark.parametrize(("name", "tile"), [("cfn", 64), ("contextnet", 96)])
def test_for_pictures_it_is_an_ordinary_network_with_the_same_weights(name, tile):
    torch.manual_seed(0)
    column = build_backbone(name, width=0.125).eval()
    whole = column.for_pictures().eval()
    assert whole.spec["name"] == ("caffenet" if name == "cfn" else name)
    assert [end.stride for end in whole.ends] == [4, 8, 16, 16, 16]
    # Its description builds a network that takes its weights.
    encoder = Encoder([whole], [[Standardise()]], channels=3, size=227)
    again = Encoder.from_description(encoder.describe())
    again.load_state_dict(encoder.state_dict())
    x = torch.rand(2, 3, 227, 227)
    with torch.no_grad():
        assert torch.allclose(again.eval()(x)["pooled"], encoder(x)["pooled"], atol=1e-5)
        assert encoder(x, ["conv5"])["conv5"].shape[2:] == ((13, 13) if name == "cfn" else (14, 14))
    # Parameters are shared, and the column is as it was.
    with torch.no_grad():
        next(column.parameters()).fill_(0.5)
    assert (next(whole.parameters()) == 0.5).all()
    assert column.body.stages["conv1"][0].stride == ((2, 2) if name == "cfn" else (4, 4))
    assert column(torch.rand(2, 3, tile, tile))["pooled"].shape == (2, column.dim)


def test_others_are_for_pictures_already():
    backbone = build_backbone("small", width=0.25)
    assert backbone.for_pictures() is backbone


def test_contextnet():
    backbone = _meta("contextnet")
    assert _sizes(backbone, 96) == ([24, 12, 6, 6, 6], 4096)
    assert backbone.body.top[2].in_features == 2304
    norms = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert len(norms) == 4 and not any(n.affine for n in norms)


def test_too_small_tiles():
    with pytest.raises(FovealError, match="tile=10"):
        build_backbone("cfn", tile=10)
