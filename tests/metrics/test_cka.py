import pytest
import torch

from foveal.errors import FovealError
from foveal.metrics.cka import linear_cka


def test_of_one_feature_it_is_the_squared_correlation():
    x = torch.tensor([[0.0], [1.0], [2.0]])
    assert linear_cka(x, torch.tensor([[0.0], [1.0], [1.0]])) == pytest.approx(0.75, abs=1e-12)
    assert linear_cka(x, torch.tensor([[0.0], [1.0], [0.0]])) == pytest.approx(0.0, abs=1e-12)


def test_by_the_definition_over_features():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(40, d, generator=generator, dtype=torch.float64) for d in (5, 7))
    a, b = x - x.mean(0), y - y.mean(0)
    expected = (b.T @ a).norm() ** 2 / ((a.T @ a).norm() * (b.T @ b).norm())
    assert linear_cka(x, y) == pytest.approx(float(expected), abs=1e-12)


def test_turning_scaling_and_shifting_change_nothing():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64)).Q
    assert linear_cka(x, 3 * x @ turn + 5) == pytest.approx(1.0, abs=1e-12)
    assert linear_cka(x, torch.ones(40, 3)) == 0.0


def test_other_samples_are_refused():
    with pytest.raises(FovealError, match="same"):
        linear_cka(torch.rand(4, 2), torch.rand(5, 2))
