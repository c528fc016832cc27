"""Maps without what stands behind them, and the last stage by itself."""

import pytest
import torch

from foveal.backbones.encoder import Encoder
from foveal.backbones.registry import build_backbone

NETWORKS = {
    "small": {"width": 0.25},
    "nin": {"width": 0.125},
    "resnet18": {"width": 0.125, "units": True},
    "resnetv2_50": {"width": 0.25, "layers": [1, 1, 1, 1]},
    "convnext_atto": {"depths": [1, 1, 1, 1]},
    "vgg11": {"top": False},
    "vit_tiny": {"depth": 2, "img_size": 32},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_maps_are_those_of_the_whole_network(name):
    torch.manual_seed(0)
    net = build_backbone(name, **NETWORKS[name]).eval()
    x = torch.rand(1, 3, 32, 64)
    ends = [end.name for end in net.ends if end.kind == "map"]
    asked = ends[-2::-1][:2]  # not the last, and not in order
    with torch.no_grad():
        whole, own = net(x, asked), net.until(x, asked)
    assert set(own) == set(asked)
    for end in asked:
        torch.testing.assert_close(own[end], whole[end])


@pytest.mark.parametrize("name", ["small", "nin", "resnet18", "resnetv2_50"])
def test_the_last_stage_ends_in_the_pooled_vector(name):
    torch.manual_seed(0)
    net = build_backbone(name, **NETWORKS[name]).eval()
    stage = net.last_stage()
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        whole = net(x, [stage.reads])
        torch.testing.assert_close(stage.layers(whole[stage.reads]), whole["pooled"])
    assert stage.cells is None


def test_fully_connected_layers_are_a_last_stage_and_no_condition_on_the_size():
    torch.manual_seed(0)
    net = build_backbone("alexnet_rotnet", width=0.125).eval()
    stage = net.last_stage()
    with torch.no_grad():
        found = net.until(torch.rand(1, 3, 80, 120), ["conv5"])["conv5"]
        assert stage.reads == "conv5" and stage.cells == 6
        assert stage.layers(torch.rand(3, found.shape[1], 6, 6)).shape == (3, net.dim)
    assert build_backbone("vit_tiny", depth=2, img_size=32).last_stage() is None
    assert build_backbone("small", width=0.25, units=True).last_stage().reads == "stage2"


def test_trunks_side_by_side_join_their_maps():
    torch.manual_seed(0)
    trunks = [build_backbone("small", width=0.25, in_chans=3) for _ in range(2)]
    encoder = Encoder(trunks, [[], []], channels=3, size=16).eval()
    x = torch.rand(1, 3, 16, 24)
    with torch.no_grad():
        own, whole = encoder.until(x, ["stage2"]), encoder(x, ["stage2"])
    assert set(own) == {"stage2"} and encoder.last_stage() is None
    torch.testing.assert_close(own["stage2"], whole["stage2"])
