"""Exemplar-CNN: its loss against the paper's decomposition, and seeds that are classes."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from foveal.backbones.registry import build_backbone
from foveal.core.batch import StreamBatch
from foveal.data.sources import ArraySource
from foveal.methods.base import DataInfo
from foveal.methods.exemplar import Exemplar, ExemplarOptions, invariance


def _method(samples=2, **options):
    return Exemplar(
        lambda in_chans=None, **changes: build_backbone("small", width=0.25, in_chans=3),
        DataInfo(samples=samples, seed=3),
        ExemplarOptions(**options),
    )


def _batch(index, copies=2):
    index = torch.tensor(index)
    pixels = np.random.default_rng(0).integers(0, 256, (len(index), 16, 16, 3), dtype=np.uint8)
    views = {f"copy{i}": torch.from_numpy(pixels) for i in range(copies)}
    return {"main": StreamBatch(views, {}, index, index, index * 0 - 1)}


def test_loss_and_its_decomposition():
    """g of seed 0 [1,0], [.6,.4]; of seed 1 [0,1], [.2,1.2]; W = 2 I."""
    g = torch.tensor([[[1.0, 0.0], [0.6, 0.4]], [[0.0, 1.0], [0.2, 1.2]]])
    logits = 2 * g
    rows = F.cross_entropy(logits.flatten(0, 1), torch.tensor([0, 0, 1, 1]), reduction="none")
    assert rows.tolist() == pytest.approx([0.126928, 0.513015, 0.126928, 0.126928], abs=1e-6)
    found = _method(copies=2).loss({"logits": logits}, _batch([0, 1]), None)
    # The paper's values are sums over the two seeds.
    assert 2 * found.loss.item() == pytest.approx(0.446900, abs=1e-6)
    assert 2 * found.log["invariance"].item() == pytest.approx(0.056689, abs=1e-6)
    discrimination = F.cross_entropy(logits.mean(1), torch.tensor([0, 1]), reduction="sum")
    assert discrimination.item() == pytest.approx(0.390210, abs=1e-6)
    assert invariance(logits[1:]).item() == pytest.approx(0, abs=1e-6)


def test_seeds_are_the_classes():
    source = ArraySource(
        "array",
        np.random.default_rng(0).integers(0, 256, (5, 20, 20, 3), dtype=np.uint8),
        channels=None,
    )
    assert sorted(_method(classes=12).samples(source).image) == [0, 1, 2, 3, 4]
    samples = _method(classes=12, per_picture=3, scale=(0.5, 0.8)).samples(source)
    assert len(samples.image) == 12 and samples.box.shape == (12, 4)
    assert samples.box[:, 2].min() >= 10 and samples.box[:, 2].max() <= 16
    method = _method(samples=12, classes=12)
    assert method.head.out_features == 12
    (meaning,) = method.trivial_losses()
    assert method.trivial_losses()[meaning] == pytest.approx(math.log(12))


def test_copies_of_a_seed_lie_side_by_side():
    method = _method(samples=4, copies=2, dropout=0.0).eval()
    with torch.no_grad():
        logits = method(_batch([3, 1, 0]), None)["logits"]
    assert logits.shape == (3, 2, 4)
    assert torch.allclose(logits[:, 0], logits[:, 1], atol=1e-5)


def test_a_seed_is_seen_with_the_picture_around_it():
    view = ExemplarOptions().view
    assert view.sees_around and view.size == 32 and view.flip == 0
    assert (view.affine.rotation, view.affine.translation) == (20, 0.2)
    assert view.affine.scale == (0.7, 1.4) and view.pca.factor == (0.5, 2.0)
    assert view.hsv.power == (0.25, 4.0) and view.hsv.hue == 0.1


@pytest.mark.parametrize("scale", [(0.0, 0.5), (0.6, 0.5), (0.5, 1.2)])
def test_wrong_scale(scale):
    with pytest.raises(ValueError, match="scale is"):
        ExemplarOptions(scale=scale)
