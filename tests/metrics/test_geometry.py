import numpy as np
import pytest

from foveal.errors import FovealError
from foveal.metrics.geometry import (
    angles,
    depth_scores,
    depth_scores_of_sums,
    depth_sums,
    normal_scores,
    normal_scores_of_sums,
    normal_sums,
)


def test_golden_depth():
    found = depth_scores([1, 2, 4, 3, 0.5], [1.2, 2, 3, 3.9, 0.8])
    expected = {
        "delta1": 0.4, "delta2": 0.8, "delta3": 1.0, "rel": 0.221154, "sq_rel": 0.137372,
        "rms": 0.622896, "rms_log": 0.284865, "log10": 0.104437,
    }  # fmt: skip
    assert {k: found[k] for k in expected} == pytest.approx(expected, abs=1e-5)
    assert found["abs"] == pytest.approx(0.48)


def test_golden_depth_of_multi_task_learning():
    """A ratio of exactly 1.25 is not below it."""
    found = depth_scores([1.2, 2.6, 4, 8], [1, 2, 4, 10])
    assert [found[f"delta{k}"] for k in (1, 2, 3)] == [0.5, 1, 1]
    assert found["rel"] == pytest.approx(0.175) and found["rms"] == pytest.approx(
        1.048809, abs=1e-6
    )


def test_depth_that_is_none():
    with pytest.raises(FovealError, match="above 0"):
        depth_scores([0.0], [1.0])


def test_golden_normals():
    expected = {
        "mean": 19.0, "median": 20.0, "rmse": 23.345235,
        "within_11": 0.4, "within_22": 0.6, "within_30": 0.8,
    }  # fmt: skip
    assert normal_scores([0, 10, 20, 25, 40]) == pytest.approx(expected, abs=1e-5)


def test_angles_do_not_depend_on_length():
    turn = np.radians([0, 10, 90, 180])
    truth = np.stack([np.cos(turn), np.sin(turn), 0 * turn], 1)
    assert angles(5 * truth, [[2.0, 0, 0]] * 4) == pytest.approx([0, 10, 90, 180], abs=1e-4)


def test_sums_over_pictures_give_the_scores_of_all_pixels_together():
    draw = np.random.default_rng(0)
    parts = [(draw.uniform(1, 9, n), draw.uniform(1, 9, n)) for n in (40, 7, 301)]
    whole = depth_scores(*(np.concatenate(side) for side in zip(*parts, strict=True)))
    found = depth_scores_of_sums(sum(depth_sums(*part) for part in parts))
    assert {k: float(v) for k, v in found.items()} == pytest.approx(whole)
    degrees = [draw.uniform(0, 180, n) for n in (50, 3, 200)]
    whole = normal_scores(np.concatenate(degrees))
    found = normal_scores_of_sums(np.stack([sum(normal_sums(d) for d in degrees)] * 2))
    for name, value in whole.items():
        assert found[name].shape == (2,)
        assert found[name][1] == pytest.approx(value, abs=1.5 if name == "median" else 1e-9)


def test_the_median_is_found_within_its_tenth_of_a_degree():
    degrees = np.linspace(20, 30, 10_001)
    assert normal_scores_of_sums(normal_sums(degrees))["median"] == pytest.approx(25, abs=0.01)
