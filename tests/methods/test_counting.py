"""Counting: parts, scaling, and the contrastive loss by hand."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from foveal.backbones.registry import build_backbone
from foveal.core.batch import StreamBatch
from foveal.methods.base import DataInfo
from foveal.methods.counting import Counting, CountingOptions
from foveal.views.spec import Tiles, View


def _method(**options):
    return Counting(
        lambda in_chans=None, **changes: build_backbone("small", width=0.25, in_chans=3),
        DataInfo(samples=10),
        CountingOptions(**options),
    )


def _batch(n=4, side=32):
    pixels = np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8)
    index = torch.arange(n)
    return {
        "main": StreamBatch({"view": torch.from_numpy(pixels)}, {}, index, index, index * 0 - 1)
    }


def test_loss_by_hand():
    """Two pictures, margin 10: same 1 and 4; to the other picture 9 (costs 1) and 16 (costs 0)."""
    whole = torch.tensor([[1.0, 0.0], [3.0, 0.0]])
    parts = torch.tensor([[0.0, 0.0], [5.0, 0.0]])
    found = _method().loss({"whole": whole, "parts": parts}, _batch(2), None)
    assert found.log["same"].item() == pytest.approx((1 + 4) / 2)
    assert found.log["differ"].item() == pytest.approx((1 + 0) / 2)
    assert found.loss.item() == pytest.approx((1 + 4 + 1) / 2)


def test_counting_nothing_costs_the_margin():
    zero = torch.zeros(3, 5)
    method = _method(margin=7.0)
    assert method.loss({"whole": zero, "parts": zero}, _batch(3), None).loss == 7
    assert list(method.trivial_losses().values()) == [7.0]


def test_counts_are_those_of_the_quarters_and_of_the_scaled_picture():
    method, batch = _method(counts=6, scaling=("area",)).eval(), _batch(2)
    x = batch["main"].images("view")

    def counts(picture):
        return F.relu(method.head(method.trunk(method.normalise(picture))["pooled"]))

    with torch.no_grad():
        out = method(batch, None)
        assert torch.allclose(out["whole"], counts(F.avg_pool2d(x, 2)), atol=1e-5)
        quarters = [x[:, :, y : y + 16, z : z + 16] for y in (0, 16) for z in (0, 16)]
        assert torch.allclose(out["parts"], sum(map(counts, quarters)), atol=1e-5)
    assert (out["whole"] >= 0).all()


def test_every_way_of_scaling_is_drawn():
    method, batch = _method(), _batch(64)
    x = batch["main"].images("view")
    scaled = method._scaled(x, batch)
    area = (scaled - F.avg_pool2d(x, 2)).abs().amax((1, 2, 3)) < 1e-6
    assert scaled.shape == (64, 3, 16, 16) and 10 < area.sum() < 35
    assert scaled.min() >= 0 and scaled.max() <= 1


def test_tiles_are_refused():
    with pytest.raises(ValueError, match="quarters are cut by the method"):
        CountingOptions(view=View(size=255, tiles=Tiles()))
