import pytest
import torch

from foveal.backbones.depth import module_depths, parameter_depths
from foveal.backbones.encoder import Encoder
from foveal.backbones.inputs import Normalise
from foveal.backbones.registry import build_backbone


def _encoder(*specs, size=32, channels=3):
    trunks = [build_backbone(**spec) for spec in specs]
    layers = [[Normalise([0.5] * channels, [0.25] * channels)] for _ in specs]
    return Encoder(trunks, layers, channels=channels, size=size)


def test_parameters_of_the_small_network_lie_at_their_stage():
    encoder = _encoder({"name": "small", "in_chans": 3, "width": 0.25})
    names = [end.name for end in encoder.ends]
    depths = parameter_depths(encoder)
    assert set(depths) == {name for name, _ in encoder.named_parameters()}
    for name, depth in depths.items():
        assert f".stages.{names[depth]}." in name


@pytest.mark.parametrize(
    ("specs", "size"),
    [
        ([{"name": "resnet18", "in_chans": 3, "width": 0.25}], 32),
        ([{"name": "vit_tiny", "in_chans": 3}], 32),
        ([{"name": "revnet50", "in_chans": 3, "width": 0.0625}], 32),
        ([{"name": "small", "in_chans": 3, "width": 0.25}] * 2, 16),
    ],
)
def test_depths_rise_with_the_end_points_of_every_family(specs, size):
    encoder = _encoder(*specs, size=size)
    ends = [end.name for end in encoder.ends]
    depths = parameter_depths(encoder)
    assert set(depths.values()) >= set(range(len(ends)))
    # What lies at a depth moves that end point and none before it.
    last = [p for n, p in encoder.named_parameters() if depths[n] >= len(ends) - 1]
    picture = torch.full((1, 3, size, size), 0.3)
    with torch.no_grad():
        before = encoder.eval()(picture, ends)
        for p in last:
            p.add_(0.1)
        after = encoder(picture, ends)
    assert all(torch.equal(before[n], after[n]) for n in ends[:-1])
    assert not torch.equal(before[ends[-1]], after[ends[-1]])


def test_the_encoder_is_left_as_it_was():
    encoder = _encoder({"name": "small", "in_chans": 3, "width": 0.25}).train()
    frozen = next(encoder.parameters()).requires_grad_(False)
    state = {k: v.clone() for k, v in encoder.state_dict().items()}
    parameter_depths(encoder)
    assert encoder.training and not frozen.requires_grad
    assert all(torch.equal(v, state[k]) for k, v in encoder.state_dict().items())
    assert all(p.grad is None for p in encoder.parameters())


def test_modules_without_parameters_lie_where_the_layer_before_them_does():
    encoder = _encoder({"name": "small", "in_chans": 3, "width": 0.25})
    norm = next(m for m in encoder.modules() if isinstance(m, torch.nn.BatchNorm2d))
    norm.weight = norm.bias = None
    depths, places = parameter_depths(encoder), module_depths(encoder)
    for name, depth in depths.items():
        assert places[name.rpartition(".")[0]] == depth
    plain = next(n for n, m in encoder.named_modules() if m is norm)
    assert places[plain] == 0
    assert "" not in places and "trunks.0" not in places
