import math

import pytest
import torch

from foveal.errors import FovealError
from foveal.metrics.health import (
    alignment,
    alpha_req,
    covariance_spectrum,
    effective_rank,
    feature_std,
    lidar,
    lidar_spectrum,
    power_law_exponent,
    rankme,
    uniformity,
)

SPECTRUM = torch.tensor([10, 4, 2.5, 1.6, 1.1, 0.9])
VIEWS = torch.tensor([[[1, 0], [3, 0]], [[0, 2], [0, 4]], [[-4, -2], [-4, -4]]]).double()


def _unit(*degrees):
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], 1)


def test_golden_rankme():
    assert effective_rank(torch.tensor([4.0, 2, 1, 1])) == pytest.approx(3.363586, abs=1e-5)
    assert effective_rank(torch.tensor([16.0, 4, 1, 1])) == pytest.approx(2.276322, abs=1e-5)
    z = torch.tensor([[3.0, 1], [1, 1], [2, 2], [2, 0]])
    assert rankme(z) == pytest.approx(1.718200, abs=1e-5)
    assert rankme(z.T) == pytest.approx(1.718200, abs=1e-5)
    assert rankme(z - z.mean(0)) == pytest.approx(2.0, abs=1e-5)


def test_rankme_agrees_with_a_singular_value_decomposition():
    z = torch.randn(60, 24, generator=torch.Generator().manual_seed(0)) * torch.arange(24)
    assert rankme(z) == pytest.approx(effective_rank(torch.linalg.svdvals(z.double())), rel=1e-6)


def test_rank_of_collapsed_features():
    assert rankme(torch.ones(100, 64)) == pytest.approx(1.0, abs=1e-3)
    assert rankme(torch.zeros(100, 64)) == 0.0


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, 1.352954), ({"weighted": True}, 1.334523), ({"first": 2, "last": 5}, 1.405789)],
)
def test_golden_alpha_req(options, expected):
    assert power_law_exponent(SPECTRUM, **options) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("options", [{}, {"weighted": True}, {"first": 11, "last": 100}])
def test_a_power_law_gives_its_exponent(options):
    spectrum = torch.arange(1, 151, dtype=torch.float64) ** -1.3
    assert power_law_exponent(spectrum, **options) == pytest.approx(1.3, abs=1e-9)


def test_alpha_req_of_features_with_a_known_spectrum():
    draw = torch.Generator().manual_seed(0)
    orthogonal = torch.linalg.qr(torch.randn(400, 120, generator=draw, dtype=torch.float64)).Q
    centred = orthogonal - orthogonal.mean(0)
    centred = torch.linalg.qr(centred).Q
    z = centred * torch.arange(1, 121, dtype=torch.float64) ** -0.6 + 5
    assert alpha_req(z) == pytest.approx(1.2, abs=1e-4)
    torch.testing.assert_close(
        covariance_spectrum(z), torch.arange(1, 121).double() ** -1.2 / 400, rtol=1e-5, atol=0
    )


def test_no_slope_without_a_spectrum():
    with pytest.raises(FovealError, match="positive eigenvalues"):
        alpha_req(torch.ones(50, 64))


def test_golden_lidar():
    expected = pytest.approx([23.598635, 4.068032], abs=1e-5)
    assert lidar_spectrum(VIEWS, delta=0).tolist() == expected
    assert lidar(VIEWS, delta=0) == pytest.approx(1.518215, abs=1e-5)
    assert lidar(VIEWS, delta=1e-4) == pytest.approx(1.518240, abs=1e-5)


def test_lidar_needs_views_that_vary_or_a_delta():
    with pytest.raises(FovealError, match="delta"):
        lidar(VIEWS.repeat(1, 1, 3), delta=-1.0)
    with pytest.raises(FovealError, match="pictures, views"):
        lidar(VIEWS[:, 0])


def test_golden_alignment_and_uniformity():
    x, y = _unit(0, 90, 180), _unit(30, 90, 120)
    assert alignment(x, y) == pytest.approx(0.422650, abs=1e-5)
    assert uniformity(x) == pytest.approx(-4.396349, abs=1e-5)
    # No picture beside itself: with them it would be -1.074266.
    with_self = math.log((3 + 6 * math.exp(uniformity(x))) / 9)
    assert with_self == pytest.approx(-1.074266, abs=1e-5)
    # Lengths do not count.
    assert alignment(3 * x, y / 7) == pytest.approx(0.422650, abs=1e-5)
    with pytest.raises(FovealError):
        uniformity(x[:1])


def test_spread_is_one_for_even_and_zero_for_collapsed_features():
    draw = torch.Generator().manual_seed(0)
    assert feature_std(torch.randn(4000, 32, generator=draw)) == pytest.approx(1, abs=0.01)
    assert feature_std(torch.ones(10, 32)) == pytest.approx(0, abs=1e-9)
    axes = torch.cat([torch.eye(8), -torch.eye(8)])
    assert feature_std(axes) == pytest.approx(math.sqrt(8) / math.sqrt(8), abs=1e-9)
