import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.core import rng
from foveal.errors import FovealError
from foveal.metrics.average_precision import average_precision
from foveal.metrics.bootstrap import resampled_counts, resampled_means
from foveal.metrics.mean_ap import class_aps, resampled_mean_ap

FORMS = ["raw", "envelope", "eleven_point"]


@pytest.mark.parametrize(
    ("form", "expected"), [("raw", 0.642857), ("envelope", 0.678571), ("eleven_point", 0.688312)]
)
def test_golden_values_per_class_and_what_is_left_out(form, expected):
    ranked = np.array([1, 0, -1, 0, 1, 0, 1, -1, 1, 0], np.int8)
    scores = -np.arange(10.0)
    marks = np.stack([ranked, np.zeros_like(ranked)], 1)
    found = class_aps(np.stack([scores, scores], 1), marks, form=form)
    assert found[0] == pytest.approx(expected, abs=1e-5)
    assert np.isnan(found[1])


def test_counts_are_the_resamples_of_means():
    values = np.random.default_rng(0).random(37)
    expected = resampled_means(values[None], seed=3, resamples=50)[:, 0]
    found = np.concatenate(
        [counts @ values / 37 for _, counts in resampled_counts(37, seed=3, resamples=50)]
    )
    assert found == pytest.approx(expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 25), st.sampled_from(FORMS))
def test_a_resample_is_its_pictures_repeated(seed, n, form):
    draw = np.random.default_rng(seed)
    scores = draw.integers(0, 6, (n, 3)).astype(np.float32)
    marks = draw.integers(-1, 2, (n, 3)).astype(np.int8)
    marks[0] = 1
    found = resampled_mean_ap(scores, marks, form=form, seed=seed, resamples=8)
    drawn = rng.integers(rng.key(seed, "bootstrap"), np.arange(8), n, n)
    expected = np.full(8, np.nan)
    for r, rows in enumerate(drawn):
        aps = []
        for c in range(3):
            s, m = scores[rows, c][marks[rows, c] >= 0], marks[rows, c][marks[rows, c] >= 0]
            if (m == 1).any():
                aps.append(average_precision(s, m == 1, form=form))
        if aps:
            expected[r] = np.mean(aps)
    whole = float(np.nanmean(class_aps(scores, marks, form=form)))
    assert found == pytest.approx(expected - np.nanmean(expected) + whole, nan_ok=True)


def test_nothing_to_find():
    with pytest.raises(FovealError, match="holds any class"):
        resampled_mean_ap(np.zeros((3, 2)), np.zeros((3, 2), np.int8), form="raw", seed=0)
