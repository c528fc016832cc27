import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.metrics.average_precision import average_precision
from foveal.metrics.matching import ellipse_iou, greedy_matches, nearest_matches

DISTANCES = np.array([[0.2, 0.9, 0.4], [0.3, 0.1, 0.8], [0.25, 0.6, 0.7]])


def iou(a, m, b, n):
    return float(ellipse_iou(*(np.array([x], np.float64) for x in (a, m, b, n)))[0])


@pytest.mark.parametrize(
    ("apart", "expected"), [(0, 1), (2, 0.774447), (4, 0.596246), (5, 0.520956), (8, 0.337463),
                            (25, 0)]
)  # fmt: skip
def test_iou_of_two_discs(apart, expected):
    disc = 100 * np.eye(2)
    assert iou((3, 4), disc, (3 + 0.6 * apart, 4 + 0.8 * apart), disc) == pytest.approx(
        expected, abs=1e-5
    )


def test_iou_of_ellipses_by_counting_points():
    a, m = (1.0, -2.0), np.array([[30.0, 12.0], [12.0, 20.0]])
    b, n = (3.0, 0.5), np.array([[16.0, -5.0], [-5.0, 40.0]])
    grid = np.stack(np.meshgrid(*[np.arange(-12, 12, 0.02)] * 2), -1)

    def inside(c, shape):
        d = grid - c
        return np.einsum("xyi,ij,xyj->xy", d, np.linalg.inv(shape), d) <= 1

    one, two = inside(a, m), inside(b, n)
    assert iou(a, m, b, n) == pytest.approx((one & two).sum() / (one | two).sum(), abs=1e-3)
    assert iou(b, n, a, m) == pytest.approx(iou(a, m, b, n), abs=1e-5)


@given(st.floats(0.3, 3), st.floats(0.3, 3), st.floats(0, 3), st.floats(-2, 2))
def test_iou_does_not_change_under_an_affine_map(long, short, turn, shift):
    r = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    other = r @ np.diag([long, short]) ** 2 @ r.T
    warp = np.array([[2.0, 0.7], [-0.3, 0.5]])
    before = iou((0, 0), np.eye(2), (shift, 0.4), other)
    moved = warp @ (shift, 0.4)
    after = iou((5, 5), warp @ warp.T, moved + 5, warp @ other @ warp.T)
    assert 0 <= before <= 1 + 1e-9 and after == pytest.approx(before, abs=3e-5)


def test_greedy_and_nearest():
    assert greedy_matches(DISTANCES).tolist() == [[1, 1], [0, 0], [2, 2]]
    assert DISTANCES[tuple(greedy_matches(DISTANCES).T)].sum() == pytest.approx(1.0)
    assert nearest_matches(DISTANCES).tolist() == [[1, 1], [0, 0], [2, 0]]
    assert greedy_matches(DISTANCES[:, :2]).tolist() == [[1, 1], [0, 0]]
    for matches in (greedy_matches, nearest_matches):
        assert matches(np.empty((0, 3))).shape == (0, 2)
    assert greedy_matches(np.empty((3, 0))).shape == nearest_matches(np.empty((3, 0))).shape


def test_average_precision_counts_what_could_have_been_found():
    distances, right = np.array([0.1, 0.2, 0.3, 0.4, 0.5]), [1, 1, 0, 1, 0]
    assert average_precision(-distances, right, form="raw", possible=4) == pytest.approx(0.6875)
