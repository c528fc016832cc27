import importlib
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.data.boxes import Boxes
from foveal.errors import FovealError
from foveal.metrics import detection as metric
from foveal.metrics.detection import Found, coco_scores, mean_ap, overlaps, voc_rankings

# Corners count pixels, both ends inside.
WHOLE = np.array([0, 0, 1, 1])


def boxes(corners, label=0, difficult=False):
    c = np.array(corners, float).reshape(-1, 4) + WHOLE
    sides = c[:, 2:] - c[:, :2]
    return Boxes(
        c, np.full(len(c), label), np.broadcast_to(difficult, len(c)).copy(), sides.prod(1)
    )


def found(rows):
    c = np.array([row[1:] for row in rows], float).reshape(-1, 4) + WHOLE
    return Found(c, np.zeros(len(c), np.int64), np.array([row[0] for row in rows], float))


A = boxes([[0, 0, 9, 9], [20, 20, 39, 39]])
B = boxes([[0, 0, 19, 9], [50, 50, 59, 59]], difficult=[False, True])
B_EASY = boxes([[0, 0, 19, 9]])
IN_A = [(0.95, 0, 0, 9, 9), (0.90, 1, 1, 10, 10), (0.60, 20, 20, 39, 35)]
IN_B = [(0.80, 50, 50, 59, 59), (0.70, 0, 0, 9, 9), (0.50, 70, 70, 79, 79), (0.40, 0, 0, 19, 11)]


def test_golden_overlaps():
    near = overlaps(np.array([1.0, 1, 11, 11]), A.corners)
    assert near[0] == pytest.approx(0.6807, abs=1e-4) and near[1] == 0
    assert overlaps(np.array([0.0, 0, 10, 10]), B.corners)[0] == 0.5


@pytest.mark.parametrize(("form", "expected"), [("eleven_point", 0.681818), ("envelope", 0.666667)])
def test_golden_voc(form, expected):
    rankings = voc_rankings([A, B], [found(IN_A[::-1]), found(IN_B[::-1])], 1)
    assert rankings[0].right.tolist() == [True, False, False, True, False, True]
    assert mean_ap(rankings, form) == pytest.approx(expected, abs=1e-5)


def test_golden_coco():
    scores = coco_scores([A, B_EASY], [found(IN_A[::-1]), found(IN_B[:0:-1])], 1)
    golden = {"ap": 0.585396, "ap50": 0.834158, "ap75": 0.668317, "ar1": 0.366667, "ar100": 0.8}
    for name, value in golden.items():
        assert scores.values[name] == pytest.approx(value, abs=1e-5), name
    for name in ("ap", "ap50", "ap75"):
        assert mean_ap(scores.rankings[name], "coco") == pytest.approx(golden[name], abs=1e-5)
    assert np.isnan(scores.values["ap_large"])


def test_nothing_to_find_and_nothing_found():
    none = boxes([])
    assert np.isnan(mean_ap(voc_rankings([none], [found(IN_A)], 1), "envelope"))
    assert mean_ap(voc_rankings([A], [found([])], 1), "eleven_point") == 0
    assert coco_scores([A, none], [found([]), found(IN_A)], 1).values["ap"] == 0


def drawn(draw, pictures=12, classes=3):
    """Objects, and detections that are moved copies of them, some of the wrong class."""
    truth, seen = [], []
    for _ in range(pictures):
        n = draw.integers(0, 4)
        low = draw.uniform(0, 200, (n, 2))
        c = np.concatenate([low, low + draw.uniform(5, 120, (n, 2))], 1)
        label = draw.integers(0, classes, n)
        truth.append(Boxes(c, label, draw.random(n) < 0.2, np.prod(c[:, 2:] - c[:, :2], 1)))
        twice = np.repeat(np.arange(n), 2)
        moved = c[twice] + draw.normal(0, 3, (2 * n, 4))
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
        other = np.where(draw.random(2 * n) < 0.8, label[twice], draw.integers(0, classes, 2 * n))
        seen.append(Found(moved, other, draw.random(2 * n)))
    return truth, seen


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_what_pycocotools_matched_gives_its_figures(seed):
    truth, seen = drawn(np.random.default_rng(seed))
    scores = coco_scores(truth, seen, 3)
    for name, rankings in scores.rankings.items():
        # One step of recall: pycocotools compares sums of 0.01 with quotients.
        assert mean_ap(rankings, "coco") == pytest.approx(
            scores.values[name], abs=0.01, nan_ok=True
        )


@pytest.mark.parametrize("form", ["eleven_point", "envelope", "coco"])
def test_resamples_count_pictures(form, monkeypatch):
    truth, seen = drawn(np.random.default_rng(3))
    counts = np.array([[1] * 12, [0, 2, 1, 1, 0, 3, 1, 1, 1, 0, 1, 1]], np.uint16)
    monkeypatch.setattr(
        metric, "resampled_counts", lambda n, seed, resamples: [(np.arange(2), counts)]
    )
    rankings = voc_rankings(truth, seen, 3)
    got = metric.resampled_mean_ap(rankings, form, seed=0, resamples=2)
    again = [i for i, n in enumerate(counts[1]) for _ in range(n)]
    # A picture that is there twice, scores set apart by a hair: beside itself in the ranking.
    twice = [
        Found(seen[i].corners, seen[i].label, seen[i].score - 1e-9 * k) for k, i in enumerate(again)
    ]
    slow = mean_ap(voc_rankings([truth[i] for i in again], twice, 3), form)
    assert got.mean() == pytest.approx(mean_ap(rankings, form))
    # All copies of a picture are one step of the ranking, so precisions between them are not seen.
    assert got[1] - got[0] == pytest.approx(slow - mean_ap(rankings, form), abs=0.03)


def test_pycocotools_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(FovealError, match="pycocotools") as caught:
        coco_scores([A], [found(IN_A)], 1)
    assert "foveal[scenes]" in caught.value.hint
    monkeypatch.undo()
    assert importlib.import_module("pycocotools.coco")


def test_both_matches_agree_where_objects_lie_apart():
    draw = np.random.default_rng(1)
    truth, seen = [], []
    for _ in range(20):
        low = np.stack(np.meshgrid([0.0, 100, 200], [0.0, 100]), -1).reshape(-1, 2)
        c = np.concatenate([low, low + draw.uniform(20, 60, (6, 2))], 1)
        label = draw.integers(0, 2, 6)
        truth.append(Boxes(c, label, np.zeros(6, bool), np.prod(c[:, 2:] - c[:, :2], 1)))
        moved = np.repeat(c, 2, 0) + draw.normal(0, 5, (12, 4))
        seen.append(Found(moved, np.repeat(label, 2), draw.random(12)))
    by_coco = coco_scores(truth, seen, 2).values["ap50"]
    assert mean_ap(voc_rankings(truth, seen, 2), "coco") == pytest.approx(by_coco, abs=1e-6)
    assert 0.2 < by_coco < 0.9
