import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from foveal.errors import FovealError
from foveal.metrics.average_precision import average_precision

RANKED = [1, 0, 0, 1, 0, 1, 1, 0]
SCORES = -np.arange(8.0)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("raw", 0.642857),
        ("envelope", 0.678571),
        ("eleven_point", 0.688312),
        ("coco", 0.681754),
        ("trapezoid", 0.600595),
    ],
)
def test_golden_values(form, expected):
    assert average_precision(SCORES, RANKED, form=form) == pytest.approx(expected, abs=1e-5)


def test_equal_scores_are_one_rank():
    assert average_precision([1, 1, 1], [1, 1, 0], form="raw") == pytest.approx(2 / 3)


def test_a_recall_of_exactly_three_tenths_counts():
    # Precision 1 up to recall 0.3, then 3/13 at best: 0.1 + 0.1 + 0.1 is above 0.3.
    relevant = [1] * 3 + [0] * 10 + [1] * 7
    found = average_precision(-np.arange(20.0), relevant, form="eleven_point")
    precision = [(3 + i) / (13 + i) for i in range(1, 8)]
    assert found == pytest.approx((4 + 7 * max(precision)) / 11)


def test_matches_that_were_never_found_lower_recall():
    relevant = [1, 1, 0, 1, 0]
    found = average_precision(-np.arange(5.0), relevant, form="raw", possible=4)
    assert found == pytest.approx(0.6875)
    with pytest.raises(FovealError, match="possible"):
        average_precision(-np.arange(5.0), relevant, form="raw", possible=2)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30))
def test_raw_is_scikit_learns(items):
    scores, relevant = np.array([s for s, _ in items]), np.array([r for _, r in items])
    if not relevant.any():
        with pytest.raises(FovealError, match="relevant"):
            average_precision(scores, relevant, form="raw")
        return
    raw = average_precision(scores, relevant, form="raw")
    assert raw == pytest.approx(average_precision_score(relevant, scores))
    assert raw <= average_precision(scores, relevant, form="envelope") + 1e-12
