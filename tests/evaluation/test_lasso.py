from types import SimpleNamespace

import numpy as np
import pytest
import torch

from foveal.backbones.base import End
from foveal.backbones.encoder import Encoder
from foveal.backbones.registry import build_backbone
from foveal.errors import FovealError
from foveal.evaluation.lasso import fit_mix, mix_probe, mixed, units_of, with_units
from foveal.evaluation.probe import Problem
from foveal.evaluation.run import evaluate
from foveal.metrics.accuracy import topk_accuracy


def _units(n=400, seed=0):
    """Three units of four values; only the second says what the class is."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 3, 4, generator=draw)
    return x.flatten(1), x[:, 1].argmax(1)


def _arguments(**changes):
    return {"units": 3, "mixes": True, "classes": 4, "l1": 0.0, "lr": 0.1, "seed": 0, **changes}


def test_the_mix_finds_the_unit_that_knows():
    x, y = _units()
    mix = fit_mix(x, y, **_arguments())
    assert float(mix.alpha.norm()) == pytest.approx(1, abs=1e-5)
    assert mix.alpha.abs().argmax() == 1
    sparse = fit_mix(x, y, **_arguments(l1=0.1))
    # |alpha|_1 is 1 for a single unit and sqrt(M) for an even mix.
    assert 1 - 1e-5 <= float(sparse.alpha.abs().sum()) < float(mix.alpha.abs().sum()) < 3**0.5
    last = fit_mix(x, y, **_arguments(mixes=False))
    assert last.alpha.tolist() == [0, 0, 1]
    assert topk_accuracy(mix.scores(x), y) > topk_accuracy(last.scores(x), y) + 0.3


def test_a_mix_is_a_sum_of_units():
    x = torch.arange(12.0).view(1, 12)
    torch.testing.assert_close(mixed(x, torch.tensor([1.0, 0, 2])), x[:, :4] + 2 * x[:, 8:])


def test_the_probe_chooses_without_the_test_pictures_and_says_how():
    x, y = _units()
    scores, about = mix_probe(Problem(x[:300], y[:300], x[300:], 4), units=3, mixes=True)
    assert topk_accuracy(scores, y[300:]) > 0.7
    assert len(about["alpha"]) == 3 and about["l1"] in about["l1_grid"]
    _, again = mix_probe(Problem(x[:300], y[:300], -x[300:], 4), units=3, mixes=True)
    assert again == about


def test_units_of_networks():
    def encoder(name, **options):
        return Encoder([build_backbone(name, **options)], [[]], channels=3, size=32)

    small = encoder("small", width=0.25).eval()
    shown = with_units(small)
    assert [end.name for end in units_of(shown)] == ["stage2_unit1", "stage2_unit2"]
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(shown(x)["pooled"], small(x)["pooled"])
    # No residual units: neighbours of one size.
    rotnet = encoder("alexnet_rotnet", top=False, width=0.25)
    assert [end.name for end in units_of(with_units(rotnet))] == ["conv4", "conv5"]
    with pytest.raises(FovealError, match="no two units"):
        units_of(SimpleNamespace(ends=(End("stage1", 8, 2), End("stage2", 16, 4))))


def test_the_protocol_puts_the_mix_beside_the_last_unit(tmp_path):
    draw = np.random.default_rng(0)
    labels = np.arange(60) % 3
    x = draw.normal(110, 30, (60, 16, 16, 3)) + 40 * np.eye(3)[labels][:, None, None]
    np.savez(tmp_path / "data.npz", images=x.clip(0, 255).astype(np.uint8), labels=labels)
    encoder = Encoder([build_backbone("small", width=0.25)], [[]], channels=3, size=16)
    before = {name: v.clone() for name, v in encoder.state_dict().items()}
    found = evaluate(encoder, tmp_path / "data.npz", protocols=["lasso"])
    assert [r.metric for r in found] == ["top1 mix", "top1 last unit"]
    assert found[0].configuration["layer"] == "stage2_unit1 + stage2_unit2"
    assert found[1].configuration["chosen"]["trained"]["alpha"] == [0, 1]
    assert set(found[0].baselines) == {"random_init", "pixels"}
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, before[name])
