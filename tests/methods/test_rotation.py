"""Rotation against RotNet's golden values."""

import math

import numpy as np
import pytest
import torch

from foveal.backbones.registry import build_backbone
from foveal.core.batch import StreamBatch
from foveal.methods.base import DataInfo
from foveal.methods.rotation import Rotation, RotationOptions, quarter_turns


def test_turns_are_counter_clockwise():
    x = torch.tensor([[1, 2], [3, 4]])
    assert quarter_turns(x, 1).tolist() == [[2, 4], [1, 3]]
    assert quarter_turns(x, 2).tolist() == [[4, 3], [2, 1]]
    assert quarter_turns(x, 3).tolist() == [[3, 1], [4, 2]]
    wide = torch.tensor([[0, 1, 2], [3, 4, 5]])
    assert quarter_turns(wide, 1).tolist() == [[2, 5], [1, 4], [0, 3]]
    assert quarter_turns(wide, 3).tolist() == [[3, 0], [4, 1], [5, 2]]
    picture = np.random.default_rng(0).random((3, 8, 8))
    for k in range(4):
        ours = quarter_turns(torch.from_numpy(picture), k).numpy()
        assert np.array_equal(ours, np.rot90(picture, k, axes=(1, 2)))


def _method(**options):
    return Rotation(
        lambda in_chans=None, **changes: build_backbone("small", width=0.25, in_chans=3),
        DataInfo(samples=10),
        RotationOptions(**options),
    )


def _batch(n=6, side=16):
    pixels = np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8)
    index = torch.arange(n)
    return {
        "main": StreamBatch({"view": torch.from_numpy(pixels)}, {}, index, index, index * 0 - 1)
    }


def test_loss_golden():
    logits = torch.tensor([[2.0, 0, 0, 0], [0, 1, 0, 0], [0.5, 0.5, 1.5, 0], [0, 0, 0, 3]])
    method = _method()
    found = method.loss({"logits": logits[None]}, _batch(1), None)
    assert found.loss.item() == pytest.approx(0.474001, abs=1e-6)
    assert found.log["turn_accuracy"] == 1
    for turn, value in enumerate((0.340753, 0.743668, 0.672377, 0.139206)):
        alone = torch.zeros(1, 4, 4)  # the other three turns cost log 4 each
        alone[0, turn] = logits[turn]
        row = 4 * method.loss({"logits": alone}, _batch(1), None).loss.item() - 3 * 1.386294
        assert row == pytest.approx(value, abs=5e-6)
    zero = method.loss({"logits": torch.zeros(2, 4, 4)}, _batch(2), None)
    assert zero.loss.item() == pytest.approx(math.log(4))
    assert method.trivial_losses() == {"log 4, what guessing the turn gives": math.log(4)}


def test_all_turns_of_a_picture_lie_side_by_side():
    method = _method().eval()
    batch = _batch(2)
    with torch.no_grad():
        logits = method(batch, None)["logits"]
        x = method.normalise(batch["main"].images("view"))
        for k in range(4):
            alone = method.head(method.trunk(quarter_turns(x, k))["pooled"])
            assert torch.allclose(logits[:, k], alone, atol=1e-5)


def test_one_drawn_turn_is_the_turn_that_is_scored():
    method = _method(all_turns=False, turns=(0, 180)).eval()
    batch = _batch(32)
    turns = batch["main"].integers("turn", 2)
    assert 4 < turns.sum() < 28
    with torch.no_grad():
        out = method(batch, None)["logits"]
        x = method.normalise(batch["main"].images("view"))
        for b in range(32):
            alone = method.trunk(quarter_turns(x[b : b + 1], 2 * int(turns[b])))["pooled"]
            assert torch.allclose(out[b, 0], method.head(alone)[0], atol=1e-5)


@pytest.mark.parametrize("turns", [(0,), (0, 45), (0, 0)])
def test_wrong_turns(turns):
    with pytest.raises(ValueError, match="turns are two or more of"):
        RotationOptions(turns=turns)
