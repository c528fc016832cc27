import numpy as np
import pytest
from scipy import stats

from foveal.errors import FovealError
from foveal.metrics.over_seeds import student_interval, welch_interval

A, B = [10.0, 12.0, 17.0], [3.0, 3.5, 5.0, 9.0]


def test_intervals_are_scipys():
    low, high = stats.ttest_1samp(A, 0).confidence_interval(0.95)
    assert student_interval(A) == pytest.approx((low, high))
    low, high = stats.ttest_ind(A, B, equal_var=False).confidence_interval(0.95)
    assert welch_interval(A, B) == pytest.approx((low, high))


def test_values_without_spread_and_too_few():
    assert student_interval([2.0, 2.0]) == (2.0, 2.0)
    assert welch_interval([2.0, 2.0], [1.0, 1.0]) == (1.0, 1.0)
    for call in (lambda: student_interval([1.0]), lambda: welch_interval(A, [1.0])):
        with pytest.raises(FovealError, match="interval"):
            call()
    assert np.isfinite(welch_interval(A, [1.0, 1.0])).all()
