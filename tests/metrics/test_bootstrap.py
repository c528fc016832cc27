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


def _wilson(k, n, z=1.959964):
    p, half = k / n, z * np.sqrt(k * (n - k) / n**3 + z**2 / (4 * n**2))
    middle, share = p + z**2 / (2 * n), 1 + z**2 / n
    return (middle - half) / share, (middle + half) / share


@pytest.mark.parametrize(
    ("a", "b", "golden"),
    [((56, 70), (48, 80), (0.0524, 0.3339)), ((9, 10), (3, 10), (0.1705, 0.8090)),
     ((6, 7), (2, 7), (0.0582, 0.8062)), ((5, 56), (0, 29), (-0.0381, 0.1926))],
)  # fmt: skip
def test_the_unpaired_difference_is_newcombes(a, b, golden):
    """Newcombe 1998, table II, method 10."""
    found = bootstrap.unpaired_difference(a[0] / a[1], _wilson(*a), b[0] / b[1], _wilson(*b))
    assert found == pytest.approx(golden, abs=6e-5)


def test_the_unpaired_difference_is_wider_than_the_paired_one():
    hard = np.random.default_rng(0).random(2000)
    a, b = (hard < 0.55).astype(float), (hard < 0.5).astype(float)
    own = [bootstrap.interval(v, seed=0) for v in (a, b)]
    low, high = bootstrap.unpaired_difference(a.mean(), own[0], b.mean(), own[1])
    paired = bootstrap.difference_interval(a, b, seed=0)
    assert low < paired[0] < paired[1] < high


def test_sums_and_means_are_of_the_same_resamples():
    values = np.random.default_rng(0).normal(size=(30, 3))
    sums = bootstrap.resampled_sums(values, seed=4, resamples=50)
    means = bootstrap.resampled_means(values.T, seed=4, resamples=50)
    assert np.allclose(sums / 30, means)
    with pytest.raises(FovealError, match="no samples"):
        bootstrap.resampled_sums(values[:0], seed=0)
