"""SimCLR's heads and its chance loss."""

import math

import pytest
from torch import nn

from foveal.backbones.registry import build_backbone
from foveal.methods.base import DataInfo
from foveal.methods.simclr import SimCLR, SimCLROptions


def _method(**options):
    return SimCLR(
        lambda in_chans=None, **changes: build_backbone("small", width=0.25, in_chans=3),
        DataInfo(samples=10, batch=4096),
        SimCLROptions(**options),
    )


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_heads_of_the_ablation(layers):
    head = _method(head_layers=layers).head
    linear = [m for m in head if isinstance(m, nn.Linear)]
    assert len(linear) == layers and all(m.bias is None for m in linear)
    if layers:
        assert linear[-1].out_features == 128
        norm = head[-1]
        assert norm.weight.requires_grad and not norm.bias.requires_grad


def test_chance():
    (value,) = _method().trivial_losses().values()
    assert value == pytest.approx(math.log(8191)) and value == pytest.approx(9.0108, abs=1e-4)
