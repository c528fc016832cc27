import numpy as np
import pytest
import torch

from foveal.backbones.registry import build_backbone
from foveal.core.progress import Progress
from foveal.core.rows import whole
from foveal.engine.optim import learning_rate, peak_learning_rate
from foveal.methods.base import DataInfo
from foveal.methods.sela import SeLa, SeLaOptions, update_times
from foveal.recipes import get_recipe


def test_golden_times():
    assert update_times(5, 5, 100) == pytest.approx([0, 37.5625, 150.25, 338.0625, 601])
    epochs = update_times(400, 100, 1)
    assert epochs[:5] == pytest.approx([0, 0.040915, 0.163661, 0.368237, 0.654643], abs=1e-6)
    assert [int((epochs < e).sum()) for e in (1, 10, 100, 200)] == [5, 16, 50, 70]


def method(samples=60, **options):
    torch.manual_seed(0)
    return SeLa(
        lambda in_chans=None, **_: build_backbone("small", width=0.25),
        DataInfo(samples=samples, batch=4),
        SeLaOptions(**{"heads": 2, "labels": 6, "updates": 4, **options}),
    )


def at(seen, epochs=3):
    return Progress(0, steps=10, epoch=0, epochs=epochs, position=0, seen=seen, refreshes=0, lr=0)


def test_it_starts_from_balanced_random_labels():
    m = method()
    for h in range(2):
        assert torch.bincount(m.assignments[:, h]).tolist() == [10] * 6
    assert not torch.equal(m.assignments[:, 0], m.assignments[:, 1])


def test_labels_stay_balanced_and_times_passed_are_not_made_up_for():
    m = method()
    m.head.bias.data[0] = m.head.bias.data[6] = 30.0  # plain labels would all be the first
    features = np.random.default_rng(0).normal(size=(60, m.trunk.dim)).astype(np.float32)

    def run(fn, view, **_):
        return whole(features)

    assert m.refresh_due(at(0)) and m.refresh_due(at(150))
    log = m.refresh(run, at(150)).log
    assert log["entropy"] > 0.95 > 0.1 > log["plain_entropy"]
    assert not m.refresh_due(at(150)) and m.refresh_due(at(245))


def test_no_updates_keep_the_random_labels():
    assert not method(updates=0).refresh_due(at(100))


def test_golden_schedule():
    recipe = get_recipe("sela/imagenet")
    schedule, peak = recipe.schedule, peak_learning_rate(recipe)
    assert schedule.milestones == (150, 300, 350) and schedule.factor == 0.1
    found = [learning_rate(schedule, peak, epoch, 400, 1) for epoch in (149, 150, 300, 350)]
    assert found == pytest.approx([0.05, 0.005, 0.0005, 0.00005])
