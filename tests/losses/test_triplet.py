"""Triplet losses: golden values, mining against a plain loop, and where there is no triplet."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from foveal.losses.triplet import triplet_loss


def test_semi_hard_on_a_line():
    """Kolesnikov et al.: (0,1) costs 0, (1,0) 1.25, (2,3) 0.05, (3,2) 0."""
    z = torch.tensor([[0.0], [1.0], [0.9], [1.5]], requires_grad=True)
    loss, active = triplet_loss(z, torch.tensor([0, 0, 1, 1]), margin=0.5, normalise="none")
    assert loss.item() == pytest.approx(0.325, abs=1e-6) and active == 0.5
    loss.backward()
    # (1, 0): d(1,0) - d(1,3); (2, 3): d(2,3) - d(2,0), each a quarter.
    wanted = [-2.0 + 1.8, 2.0 + 1.0, -1.2 - 1.8, 1.2 - 1.0]
    assert z.grad[:, 0].tolist() == pytest.approx([w / 4 for w in wanted], abs=1e-5)


def test_batch_hard_with_a_soft_margin():
    """Zhai et al.: four anchors, each with its farthest positive and its nearest negative."""
    z = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]], requires_grad=True)
    ids = torch.tensor([0, 0, 1, 1])
    how = {"margin": 0.0, "distance": "euclidean", "mining": "hard", "soft": True}
    loss, active = triplet_loss(2 * z, ids, **how)
    assert loss.item() == pytest.approx(0.473754, abs=1e-6)
    # Every positive is nearer than every negative: no triplet is in the wrong order.
    assert active == 0
    loss.backward()
    assert torch.isfinite(z.grad).all() and z.grad.abs().sum() > 0
    equal = torch.ones(4, 2, requires_grad=True)
    collapsed, _ = triplet_loss(equal, ids, **how)
    assert collapsed.item() == pytest.approx(math.log(2), abs=1e-6)
    collapsed.backward()
    assert torch.isfinite(equal.grad).all()


def test_golden_distances_of_batch_hard():
    """Two anchors (.632456, 1.414214), two (.632456, .894427): a margin shows each difference."""
    z = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]])
    how = {"distance": "euclidean", "mining": "hard"}
    half, one = (
        triplet_loss(z, torch.tensor([0, 0, 1, 1]), margin=m, **how)[0].item() for m in (0.5, 1.0)
    )
    near = 2 * half - 0.5  # at a margin of .5 the far pair costs nothing
    far = 2 * one - 2.0 - near
    assert near == pytest.approx(0.632456 - 0.894427, abs=3e-6)
    assert far == pytest.approx(0.632456 - 1.414214, abs=3e-6)
    for gap, cost in ((far, 0.376792), (near, 0.570716)):
        assert F.softplus(torch.tensor(gap)).item() == pytest.approx(cost, abs=3e-6)


def test_golden_columns_of_the_released_exemplar_code():
    """Z = [[3, 4], [6, 8]]; a third row of zeros changes neither norm and is the negative."""
    z = torch.tensor([[3.0, 4], [6, 8], [0, 0]])
    ids = torch.tensor([0, 0, 1])
    rows = torch.tensor([[0.6, 0.8], [0.6, 0.8], [0, 0]])
    columns = torch.tensor([[0.4472, 0.4472], [0.8944, 0.8944], [0, 0]])
    for normalise, golden in (("rows", rows), ("columns", columns)):
        found, _ = triplet_loss(z, ids, margin=2.0, normalise=normalise)
        wanted, _ = triplet_loss(golden, ids, margin=2.0, normalise="none")
        assert found.item() == pytest.approx(wanted.item(), abs=2e-4)


@pytest.mark.parametrize(("other", "cost"), [([0.0, 1.0], 0.0), ([0.6, 0.8], 0.3)])
def test_cosine_triplet(other, cost):
    """Doersch & Zisserman, margin .5: a = (1, 0), p = (.8, .6), D = 1 - cos."""
    z = torch.tensor([[1.0, 0.0], [0.8, 0.6], other])
    ids = torch.tensor([0, 0, 1])
    anchor = max(0.0, 0.5 + 0.2 - (1 - z[0] @ z[2]).item())
    partner = max(0.0, 0.5 + 0.2 - (1 - z[1] @ z[2]).item())
    assert anchor == pytest.approx(cost, abs=1e-6)
    for mining in ("all", "semi_hard"):
        loss, _ = triplet_loss(3 * z, ids, margin=0.5, distance="cosine", mining=mining)
        assert loss.item() == pytest.approx((anchor + partner) / 2, abs=1e-6)


def test_rows_or_columns_are_normalised():
    z = torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, 2.0]])
    rows, columns = F.normalize(z, dim=1), F.normalize(z, dim=0)
    assert rows.flatten().tolist() == pytest.approx([0.6, 0.8, 1, 0, 0, 1])
    wanted = [0.948683, 0.894427, 0.316228, 0, 0, 0.447214]
    assert columns.flatten().tolist() == pytest.approx(wanted, abs=1e-6)
    ids = torch.tensor([0, 0, 1])
    for normalise, by_hand in (("rows", rows), ("columns", columns)):
        found, _ = triplet_loss(z, ids, margin=0.5, normalise=normalise)
        plain, _ = triplet_loss(by_hand, ids, margin=0.5, normalise="none")
        assert found.item() == pytest.approx(plain.item(), abs=1e-6)


def _slow(z, ids, margin, distance, mining):
    """The definition, one triplet at a time."""
    z = F.normalize(z.double(), dim=1)

    def d(i, j):
        square = (z[i] - z[j]).square().sum()
        return {"cosine": 1 - z[i] @ z[j], "squared": square, "euclidean": square.sqrt()}[
            distance
        ].item()

    costs = []
    for a in range(len(ids)):
        others = [d(a, n) for n in range(len(ids)) if ids[n] != ids[a]]
        alike = [d(a, p) for p in range(len(ids)) if p != a and ids[p] == ids[a]]
        if mining == "hard":
            costs += [max(0.0, margin + max(alike) - min(others))] if alike and others else []
            continue
        for p in range(len(ids)):
            if p == a or ids[p] != ids[a] or not others:
                continue
            if mining == "all":
                costs += [max(0.0, margin + d(a, p) - x) for x in others]
            else:
                farther = [x for x in others if x > d(a, p)]
                costs.append(max(0.0, margin + d(a, p) - (min(farther or [max(others)]))))
    return sum(costs) / len(costs) if costs else 0.0


@given(
    ids=st.lists(st.integers(0, 3), min_size=1, max_size=9),
    seed=st.integers(0, 10_000),
    distance=st.sampled_from(["squared", "cosine", "euclidean"]),
    mining=st.sampled_from(["semi_hard", "all", "hard"]),
)
def test_as_defined(ids, seed, distance, mining):
    z = torch.randn(len(ids), 3, generator=torch.Generator().manual_seed(seed))
    loss, active = triplet_loss(z, torch.tensor(ids), margin=0.5, distance=distance, mining=mining)
    assert loss.item() == pytest.approx(_slow(z, ids, 0.5, distance, mining), abs=1e-5)
    assert 0 <= active <= 1 and math.isfinite(loss)


@pytest.mark.parametrize("mining", ["semi_hard", "all", "hard"])
def test_equal_embeddings_cost_the_margin(mining):
    z = torch.ones(8, 4, requires_grad=True)
    loss, _ = triplet_loss(z, torch.arange(4).repeat(2), margin=0.5, mining=mining)
    assert loss.item() == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("ids", [[0, 0, 0], [0, 1, 2]])
@pytest.mark.parametrize("mining", ["semi_hard", "all", "hard"])
def test_no_triplet_costs_nothing_and_has_a_gradient(ids, mining):
    z = torch.randn(3, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss, active = triplet_loss(z, torch.tensor(ids), margin=0.5, mining=mining)
    loss.backward()
    assert loss == 0 and active == 0 and torch.equal(z.grad, torch.zeros(3, 2))
