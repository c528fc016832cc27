"""Percentile bootstrap over test samples: keyed, so the same call gives the same interval.

Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 1979; the
percentile interval is Efron 1981, section 4. It says how far the test *sample* may mislead; the
spread between training seeds is not in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from foveal.core import rng
from foveal.errors import FovealError

RESAMPLES = 2000
LEVEL = 0.95
_DRAWS_AT_ONCE = 1 << 22


def resampled_means(
    values_MN: NDArray[np.float64], *, seed: int, resamples: int = RESAMPLES
) -> NDArray[np.float64]:
    """Means of M quantities over the same resamples of N samples, [resamples, M]."""
    m, n = values_MN.shape
    if n < 1:
        raise FovealError("there are no samples to measure on")
    means = np.empty((resamples, m))
    key = rng.key(seed, "bootstrap")
    step = max(1, _DRAWS_AT_ONCE // n)
    for start in range(0, resamples, step):
        some = np.arange(start, min(start + step, resamples))
        drawn_RN = rng.integers(key, some, n, n)
        for j in range(m):
            means[some, j] = values_MN[j][drawn_RN].mean(1)
    return means


def resampled_counts(
    n: int, *, seed: int, resamples: int = RESAMPLES
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint16]]]:
    """How often every sample is in each resample, for figures that are no mean over samples.

    The resamples are those of ``resampled_means``.

    Yields:
        Numbers of resamples [R] and counts [R, N].
    """
    key = rng.key(seed, "bootstrap")
    step = max(1, _DRAWS_AT_ONCE // n)
    for start in range(0, resamples, step):
        some = np.arange(start, min(start + step, resamples))
        cells = rng.integers(key, some, n, n) + np.arange(len(some))[:, None] * n
        counts = np.bincount(cells.ravel(), minlength=len(some) * n).reshape(len(some), n)
        yield some, counts.astype(np.uint16)


def resampled_sums(
    values_NF: NDArray[np.float64], *, seed: int, resamples: int = RESAMPLES
) -> NDArray[np.float64]:
    """Sums over the resamples of ``resampled_counts``, [resamples, F].

    Intersection over union, medians and roots of means are functions of sums over all pictures.
    """
    if len(values_NF) < 1:
        raise FovealError("there are no samples to measure on")
    out = np.empty((resamples, values_NF.shape[1]))
    for some, times_RN in resampled_counts(len(values_NF), seed=seed, resamples=resamples):
        out[some] = times_RN.astype(np.float64) @ values_NF
    return out


def interval(
    values_N: NDArray[np.float64],
    *,
    seed: int,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> tuple[float, float]:
    """Percentile interval of the mean of per-sample values (0 or 1 for an accuracy)."""
    means = resampled_means(values_N[None], seed=seed, resamples=resamples)[:, 0]
    return percentiles(means, level)


def difference_interval(
    values_N: NDArray[np.float64],
    baseline_N: NDArray[np.float64],
    *,
    seed: int,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> tuple[float, float]:
    """Interval of ``mean(values) - mean(baseline)`` on the same samples, resampled together.

    Narrower than comparing two intervals, since what makes a sample hard is hard for both.
    """
    if values_N.shape != baseline_N.shape:
        raise FovealError(
            f"paired values have different shapes {values_N.shape}, {baseline_N.shape}"
        )
    return interval(values_N - baseline_N, seed=seed, resamples=resamples, level=level)


def unpaired_difference(
    a: float, a_interval: tuple[float, float], b: float, b_interval: tuple[float, float]
) -> tuple[float, float]:
    """Interval of ``a - b`` from each one's own interval, taken as independent.

    Square-and-add: Newcombe, "Interval estimation for the difference between independent
    proportions", Statistics in Medicine 1998, method 10. Of two networks on the same pictures it
    is wider than the paired interval, as long as what is hard for one is hard for the other.
    """
    (a_low, a_high), (b_low, b_high) = a_interval, b_interval
    below = math.hypot(a - a_low, b_high - b)
    above = math.hypot(a_high - a, b - b_low)
    return a - b - below, a - b + above


def percentiles(means: NDArray[np.float64], level: float = LEVEL) -> tuple[float, float]:
    """The central ``level`` of resampled values; resamples without a value (nan) do not count."""
    tail = 100 * (1 - level) / 2
    low, high = np.nanpercentile(means, [tail, 100 - tail])
    return float(low), float(high)
