import numpy as np
import pytest

from foveal.errors import FovealError
from foveal.metrics import bootstrap


def _hits(n, share):
    return (np.arange(n) < share * n).astype(float)


def test_interval_is_that_of_a_binomial_share():
    low, high = bootstrap.interval(_hits(1000, 0.3), seed=0)
    spread = 1.96 * np.sqrt(0.3 * 0.7 / 1000)
    assert low == pytest.approx(0.3 - spread, abs=0.004)
    assert high == pytest.approx(0.3 + spread, abs=0.004)


def test_same_seed_same_interval_and_resamples_come_in_any_portions(monkeypatch):
    values = np.random.default_rng(0).random((2, 50))
    whole = bootstrap.resampled_means(values, seed=3, resamples=40)
    monkeypatch.setattr(bootstrap, "_DRAWS_AT_ONCE", 7 * 50)
    np.testing.assert_array_equal(bootstrap.resampled_means(values, seed=3, resamples=40), whole)
    assert not np.array_equal(bootstrap.resampled_means(values, seed=4, resamples=40), whole)


def test_a_paired_difference_is_narrower_than_two_intervals_apart():
    hard = np.random.default_rng(0).random(2000)
    a, b = (hard < 0.55).astype(float), (hard < 0.5).astype(float)
    low, high = bootstrap.difference_interval(a, b, seed=0)
    assert 0.03 < low < a.mean() - b.mean() < high < 0.07
    alone = bootstrap.interval(a, seed=0)
    assert high - low < (alone[1] - alone[0]) / 2
    same = bootstrap.difference_interval(a, a, seed=0)
    assert same == (0.0, 0.0)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    draw = np.random.default_rng(1)
    covered = 0
    for i in range(200):
        values = (draw.random(150) < 0.4).astype(float)
        low, high = bootstrap.interval(values, seed=i, resamples=400)
        covered += low <= 0.4 <= high
    assert 178 <= covered <= 199


def test_nothing_to_resample():
    with pytest.raises(FovealError):
        bootstrap.interval(np.zeros(0), seed=0)
    with pytest.raises(FovealError):
        bootstrap.difference_interval(np.zeros(3), np.zeros(4), seed=0)
