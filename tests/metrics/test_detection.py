import numpy as np
import pytest

from foveal.metrics.detection import Detection, Truth, box_iou_inclusive, voc_average_precision

TRUTH = {
    "A": Truth(np.array([[0, 0, 9, 9], [20, 20, 39, 39]], float), np.array([False, False])),
    "B": Truth(np.array([[0, 0, 19, 9], [50, 50, 59, 59]], float), np.array([False, True])),
}
FOUND = [
    Detection("A", 0.95, (0, 0, 9, 9)),
    Detection("A", 0.90, (1, 1, 10, 10)),
    Detection("B", 0.80, (50, 50, 59, 59)),
    Detection("B", 0.70, (0, 0, 9, 9)),
    Detection("A", 0.60, (20, 20, 39, 35)),
    Detection("B", 0.50, (70, 70, 79, 79)),
    Detection("B", 0.40, (0, 0, 19, 11)),
]


def test_golden_overlaps():
    assert box_iou_inclusive(np.array([1.0, 1, 10, 10]), TRUTH["A"].boxes)[0] == pytest.approx(
        0.6807, abs=1e-4
    )
    assert box_iou_inclusive(np.array([0.0, 0, 9, 9]), TRUTH["B"].boxes)[0] == 0.5


@pytest.mark.parametrize(("form", "expected"), [("eleven_point", 0.681818), ("envelope", 0.666667)])
def test_golden_average_precision(form, expected):
    found = voc_average_precision(TRUTH, FOUND[::-1], form=form)
    assert found == pytest.approx(expected, abs=1e-5)


def test_nothing_to_find_and_nothing_found():
    assert np.isnan(voc_average_precision({}, FOUND, form="envelope"))
    assert voc_average_precision(TRUTH, [], form="envelope") == 0
