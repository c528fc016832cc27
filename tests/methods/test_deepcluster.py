"""DeepCluster: Sobel, rounds, heads drawn anew."""

import math

import numpy as np
import pytest
import torch

from foveal.backbones.inputs import Sobel
from foveal.backbones.registry import build_backbone
from foveal.core.progress import Progress
from foveal.core.rows import whole
from foveal.errors import FovealError
from foveal.methods.base import DataInfo
from foveal.methods.deepcluster import DeepCluster, DeepClusterOptions


def test_sobel_golden():
    red = torch.arange(1.0, 10).reshape(3, 3)
    found = Sobel()(torch.stack([red, 2 * red, 3 * red])[None])[0]
    assert found[0].tolist() == [[-18, -12, 18], [-40, -16, 40], [-42, -12, 42]]
    assert found[1].tolist() == [[-26, -40, -34], [-36, -48, -36], [26, 40, 34]]


def _method(samples=40, **options):
    options = {"clusters": 4, **options}
    return DeepCluster(
        lambda in_chans=3, **changes: build_backbone("small", width=0.25, in_chans=in_chans),
        DataInfo(samples=samples),
        DeepClusterOptions(**options),
    )


def _progress(seen, refreshes):
    return Progress(seen // 8, 100, seen // 40, 10.0, seen, seen, refreshes, 0.1)


def test_a_round_is_due_once_an_epoch():
    method = _method()
    assert method.refresh_due(_progress(0, 0))
    assert not method.refresh_due(_progress(8, 1)) and not method.refresh_due(_progress(39, 1))
    assert method.refresh_due(_progress(40, 1)) and method.refresh_due(_progress(42, 1))
    assert not method.refresh_due(_progress(42, 2))
    assert not _method(every=2.0).refresh_due(_progress(42, 1))


def test_a_round_assigns_every_picture_and_draws_a_new_head():
    method = _method(clusters=2, pca=1)
    assert method.sample_groups() is None
    generator = np.random.default_rng(0)
    centres = np.eye(2, method.trunk.dim) * 10
    truth = np.arange(40) % 2
    features = centres[truth] + generator.normal(0, 0.1, (40, method.trunk.dim))
    before = method.head[1].weight.clone()

    def run(fn, view, **how):
        return whole(features.astype(np.float32))

    first = method.refresh(run, _progress(0, 1))
    groups = method.sample_groups().numpy()
    assert len(np.unique(groups)) == 2
    assert all(len(np.unique(groups[truth == c])) == 1 for c in range(2))
    assert first.log["used"] == 2 and first.log["largest"] == 0.5
    assert first.log["entropy"] == pytest.approx(math.log(2)) and "nmi_before" not in first.log
    assert not torch.equal(before, method.head[1].weight)
    assert {id(p) for p in first.redrawn} == {id(p) for p in method.head.parameters()}
    second = method.refresh(run, _progress(40, 2))
    assert second.log["nmi_before"] == pytest.approx(1.0)


def test_an_untrained_head_of_the_paper_guesses():
    """Cross-entropy of an untrained head at 10,000 clusters: 9.210340."""
    (value,) = _method(samples=10_000, clusters=10_000).trivial_losses().values()
    assert value == pytest.approx(9.210340, abs=1e-6)


def test_too_many_clusters():
    with pytest.raises(FovealError, match="40 pictures cannot form 41 clusters"):
        _method(clusters=41)
    assert _method(samples=1000, clusters=None).clusters == 10
