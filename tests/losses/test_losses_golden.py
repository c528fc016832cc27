"""Golden values of the papers' losses."""

import math

import pytest
import torch
from torch.nn import functional as F

from foveal.losses.cosine import direction_loss
from foveal.losses.infonce import info_nce, nt_xent

A = torch.tensor([[1.0, 0, 0], [0.8, 0.6, 0]])
B = torch.tensor([[0.0, 2, 0], [0, 1, 1]])


@pytest.mark.parametrize(
    ("temperature", "normalise", "value"),
    [(0.5, True, 0.603206), (0.1, True, 0.125363), (0.5, False, 0.493567)],
)
def test_nt_xent(temperature, normalise, value):
    """Pairs (1,0,0)-(.8,.6,0) and (0,2,0)-(0,1,1): two views of two pictures."""
    first, second = torch.stack([A[0], B[0]]), torch.stack([A[1], B[1]])
    loss, correct = nt_xent(first, second, temperature=temperature, normalise=normalise)
    assert loss.item() == pytest.approx(value, abs=1e-6)
    assert correct.item() == (1.0 if normalise else 0.75)


def test_nt_xent_at_chance_is_log_of_the_others():
    """4096 pictures of one direction: log(2 * 4096 - 1) = 9.0108 (SimCLR's chance loss)."""
    z = torch.ones(64, 8)
    loss, _ = nt_xent(z, z, temperature=0.1)
    assert loss.item() == pytest.approx(math.log(127), abs=1e-5)
    assert math.log(2 * 4096 - 1) == pytest.approx(9.0108, abs=1e-4)


def test_nt_xent_pairs_rows_of_the_same_picture():
    z = torch.eye(8)
    paired, correct = nt_xent(z, z, temperature=0.1)
    shuffled, wrong = nt_xent(z, z.roll(1, 0), temperature=0.1)
    assert correct == 1 and wrong == 0 and paired < 0.01 < shuffled


def test_direction_loss_of_byol():
    p = torch.tensor([[1.0, 2, 2], [0, 3, 4]], requires_grad=True)
    z = torch.tensor([[2.0, 0, 0], [1, 3, 4]])
    rows = direction_loss(p, z)
    assert rows.tolist() == pytest.approx([1.333333, 0.038839], abs=1e-6)
    assert rows.mean().item() == pytest.approx(0.686086, abs=1e-6)
    rows[0].backward()
    assert p.grad[0].tolist() == pytest.approx([-0.592593, 0.148148, 0.148148], abs=1e-6)
    back = direction_loss(
        torch.tensor([[0.0, 1, 1], [1, 1, 1]]), torch.tensor([[0.0, 1, 0], [2, 2, 1]])
    )
    assert back.tolist() == pytest.approx([0.585786, 0.075499], abs=1e-6)
    assert (rows + back).mean().item() == pytest.approx(1.016729, abs=1e-6)


@pytest.mark.parametrize(
    ("temperature", "rows"),
    [
        (0.5, [0.339178, 0.717983, 0.761736, 0.593927]),
        (0.1, [0.000671, 0.295272, 0.147282, 0.058227]),
    ],
)
def test_nt_xent_row_by_row(temperature, rows):
    z = F.normalize(torch.stack([A[0], B[0], A[1], B[1]]), dim=1)
    skip = torch.tensor([[0, 2], [1, 3], [2, 0], [3, 1]])
    loss, _ = info_nce(z, z.roll(2, 0), z, temperature=temperature, skip_QS=skip)
    assert loss.tolist() == pytest.approx(rows, abs=1e-6)
    if temperature == 0.5:  # the released code adds both views' means
        assert 2 * loss.mean().item() == pytest.approx(1.206412, abs=1e-6)
