"""Denoising: what is damaged, and what that costs."""

import numpy as np
import pytest
import torch

from foveal.backbones.registry import build_backbone
from foveal.core.batch import StreamBatch
from foveal.methods.base import DataInfo
from foveal.methods.denoising import Denoising, DenoisingOptions
from foveal.views.spec import View

SIDE = 20


def _method(**options):
    options = {"view": View(size=SIDE), **options}
    return Denoising(
        lambda in_chans=None, **changes: build_backbone("small", width=0.25, in_chans=3),
        DataInfo(samples=10, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2)),
        DenoisingOptions(**options),
    )


def _batch(n=64):
    pixels = np.random.default_rng(0).integers(1, 255, (n, SIDE, SIDE, 3), dtype=np.uint8)
    index = torch.arange(n)
    return {
        "main": StreamBatch({"view": torch.from_numpy(pixels)}, {}, index, index, index * 0 - 1)
    }


def _whole(method, batch):
    return method.normalise(batch["main"].images("view"))


def test_masked_pixels_are_the_mean_and_the_others_untouched():
    method, batch = _method(amount=0.3), _batch()
    damaged, hit = method.damaged(batch)
    whole = _whole(method, batch)
    assert hit.float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert torch.equal(damaged, torch.where(hit, 0.0, whole))
    none, hit = _method(amount=0.0).damaged(batch)
    assert torch.equal(none, whole) and not hit.any()


def test_cells_are_hit_together():
    _, hit = _method(amount=0.5, cell=8).damaged(_batch())
    corner = hit[:, 0, :8, :8].flatten(1)
    assert torch.equal(corner.all(1), corner.any(1)) and 0.3 < corner[:, 0].float().mean() < 0.7
    # 20 pixels hold two whole cells and half a one.
    assert hit.shape == (64, 1, SIDE, SIDE)


def test_salt_and_pepper():
    method, batch = _method(damage="salt_pepper", amount=0.4), _batch()
    damaged, hit = method.damaged(batch)
    x = damaged * method.normalise.std + method.normalise.mean
    extreme = ((x - x.round()).abs() < 1e-6).all(1, keepdim=True)
    assert torch.equal(extreme, hit)
    assert x.mean(1, keepdim=True)[hit].mean().item() == pytest.approx(0.5, abs=0.02)


def test_gaussian():
    method, batch = _method(damage="gaussian", amount=0.1), _batch()
    damaged, hit = method.damaged(batch)
    noise = (damaged - _whole(method, batch)) * 0.2
    assert hit.all() and noise.mean().abs() < 1e-3
    assert noise.std().item() == pytest.approx(0.1, abs=1e-3)


def test_the_same_damage_in_forward_and_loss_whatever_the_batch():
    method, batch = _method(), _batch()
    some = {"main": batch["main"].rows(8, 16)}
    assert torch.equal(method.damaged(batch)[0][8:16], method.damaged(some)[0])


@pytest.mark.parametrize("emphasis", [0.5, 1.0, 0.8])
def test_loss_by_hand(emphasis):
    method, batch = _method(emphasis=emphasis), _batch(4)
    whole, (_, hit) = _whole(method, batch), method.damaged(batch)
    rebuilt = whole + torch.where(hit, 2.0, 1.0)
    found = method.loss({"rebuilt": rebuilt}, batch, None).loss.item()
    share = hit.float().mean().item()
    wanted = 2 * (emphasis * 4 * share + (1 - emphasis) * 1 * (1 - share))
    assert found == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("code", ["pooled", "map"])
def test_rebuilt_pictures_have_their_size(code):
    method, batch = _method(code=code), _batch(2)
    assert method(batch, None)["rebuilt"].shape == (2, 3, SIDE, SIDE)
