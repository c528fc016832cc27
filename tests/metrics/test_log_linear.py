"""The log-linear law of data against its golden values."""

import math

import numpy as np
import pytest

from foveal.errors import FovealError
from foveal.metrics.log_linear import fit_log_linear


def test_golden():
    fit = fit_log_linear([10, 30, 100, 300], [30.0, 32.0, 34.2, 36.1])
    assert fit.b == pytest.approx(4.138320, abs=1e-6)
    assert fit.a == pytest.approx(25.880280, abs=1e-6)
    assert fit.r2 == pytest.approx(0.999846, abs=1e-6)
    assert fit.at(1000) == pytest.approx(38.295240, abs=1e-6)
    assert fit.points == 4


def test_the_interval_holds_the_slope_as_often_as_it_says():
    generator = np.random.default_rng(0)
    counts = np.repeat([10.0, 30, 100, 300], 3)
    inside = 0
    for _ in range(400):
        noisy = 3 + 2 * np.log10(counts) + generator.normal(0, 0.5, len(counts))
        low, high = fit_log_linear(counts, noisy, level=0.9).interval
        inside += low <= 2 <= high
    assert 0.87 < inside / 400 < 0.93


def test_edges():
    assert fit_log_linear([1, 10], [0.0, 1]).interval == (-math.inf, math.inf)
    flat = fit_log_linear([1, 10, 100], [2.0, 2, 2])
    assert (flat.b, flat.r2, flat.interval) == (0.0, 1.0, (0.0, 0.0))
    for counts, scores in (([5, 5], [1, 2]), ([0, 5], [1, 2]), ([1, 2], [1])):
        with pytest.raises(FovealError, match="no line"):
            fit_log_linear(counts, scores)
