import numpy as np
import pytest

from foveal.errors import FovealError
from foveal.metrics.robustness import (
    corruption_errors,
    expected_calibration_error,
    mean_corruption_error,
    reconstruction_error,
)

ERRORS = [[0.4, 0.5, 0.6, 0.7, 0.8], [0.3, 0.35, 0.4, 0.45, 0.5]]
ALEXNET = [[0.6, 0.7, 0.8, 0.9, 1], [0.5, 0.6, 0.7, 0.8, 0.9]]


def test_golden_corruption_error():
    assert mean_corruption_error(ERRORS, ALEXNET) == pytest.approx(0.660714, abs=1e-5)
    relative = mean_corruption_error(ERRORS[:1], ALEXNET[:1], clean=0.25, clean_reference=0.45)
    relative_both = mean_corruption_error(ERRORS, ALEXNET, clean=0.25, clean_reference=0.45)
    assert relative == pytest.approx(1.0) and relative_both == pytest.approx(0.8, abs=1e-5)


def test_golden_errors_of_each_corruption():
    assert corruption_errors(ERRORS, ALEXNET) == pytest.approx([0.75, 0.571429], abs=1e-5)
    again = corruption_errors([ERRORS, ALEXNET], [ALEXNET, ALEXNET])
    assert again[1] == pytest.approx([1, 1])
    assert again[0] == pytest.approx([0.75, 0.571429], abs=1e-5)
    with pytest.raises(FovealError, match="must be"):
        mean_corruption_error([ERRORS], [ALEXNET])
    with pytest.raises(FovealError, match="no more errors"):
        corruption_errors(ERRORS, ALEXNET, clean=0.2, clean_reference=0.95)


def test_golden_calibration():
    found = expected_calibration_error([0.95, 0.85, 0.75, 0.65, 0.55], [1, 1, 0, 1, 0], bins=5)
    assert found == pytest.approx(0.23)


def test_golden_reconstruction():
    found = reconstruction_error([[10, 118], [245, 84]], [[0, 128], [255, 64]])
    assert found == pytest.approx({"l1": 4.901961, "l2": 0.269127, "psnr": 25.700423}, abs=1e-5)
    assert reconstruction_error([1.0], [1.0])["psnr"] == np.inf
