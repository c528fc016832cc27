import numpy as np
import pytest

from foveal.errors import FovealError
from foveal.metrics.segmentation import confusion, segmentation_scores

TRUTH = np.array([[0, 0, 1, 1], [0, 0, 1, 255], [2, 2, 1, 1]])
SAID = np.array([[0, 0, 1, 0], [0, 1, 1, 1], [2, 0, 1, 1]])


def test_golden_values():
    found = segmentation_scores(confusion(TRUTH, SAID, 3))
    assert found.iou == pytest.approx([0.5, 0.666667, 0.5], abs=1e-5)
    assert found.mean_iou == pytest.approx(0.555556, abs=1e-5)
    assert found.accuracy == pytest.approx(0.727273, abs=1e-5)
    assert found.mean_accuracy == pytest.approx((0.75 + 0.8 + 0.5) / 3, abs=1e-5)
    assert found.weighted_iou == pytest.approx(0.575758, abs=1e-5)


def test_golden_mask_of_moving_objects():
    table = confusion(np.array([[1, 1, 0], [1, 0, 0]]), np.array([[1, 0, 0], [1, 1, 0]]), 2)
    assert segmentation_scores(table).iou[1] == pytest.approx(0.5)


def test_a_class_that_is_nowhere_is_left_out_of_the_mean():
    found = segmentation_scores(confusion(TRUTH, SAID, 5))
    assert found.mean_iou == pytest.approx(0.555556, abs=1e-5) and np.isnan(found.iou[4])


def test_what_cannot_be_measured():
    with pytest.raises(FovealError, match="shape"):
        confusion(TRUTH, SAID[:2], 3)
    with pytest.raises(FovealError, match="0 to 1"):
        confusion(TRUTH, SAID, 2)
    with pytest.raises(FovealError, match="no labelled"):
        segmentation_scores(np.zeros((2, 2), np.int64))
