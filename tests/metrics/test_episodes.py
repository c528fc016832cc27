import pytest
import torch

from foveal.metrics.episodes import mean_and_interval, nearest_prototype


def test_golden_episode():
    support = torch.tensor([[(0.0, 0), (2, 0)], [(4, 4), (4, 2)]])
    queries = torch.tensor([(1.0, 1), (3, 3), (1.5, 1.5), (4, 1)])
    assert nearest_prototype(support, queries).tolist() == [0, 1, 0, 1]


def test_golden_interval():
    mean, half = mean_and_interval([0.6, 0.7, 0.8, 0.5])
    assert mean == pytest.approx(0.65) and half == pytest.approx(0.109567, abs=1e-5)
    # The deviation is the population's: that of a sample would give 0.126517.
    assert half * (4 / 3) ** 0.5 == pytest.approx(0.126517, abs=1e-5)
