import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.clustering.sinkhorn import label_entropy, sinkhorn

S = torch.tensor([[2, 1, 0], [1.5, 1.4, 0], [1, 0.2, 0.1], [0.5, 0.4, 0.3]], dtype=torch.float64)
LOG_P = S.log_softmax(1)


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_golden_at_lambda_5(chunk):
    assert LOG_P.argmax(1).tolist() == [0, 0, 0, 0]
    found = sinkhorn(LOG_P, strength=5, tolerance=0.01, chunk=chunk)
    assert found.iterations == 11 and found.error == pytest.approx(0.001018, abs=1e-6)
    assert found.log_r.exp().tolist() == pytest.approx([4.349486, 81.693152, 578.825764], rel=1e-6)
    assert found.log_c.exp().tolist() == pytest.approx(
        [0.389522, 0.201193, 0.448391, 0.140406], abs=1e-6
    )
    assert found.labels.tolist() == [0, 1, 2, 2]
    plan = 4 * (5 * LOG_P + found.log_r + found.log_c[:, None]).exp()
    rows = [
        [0.882928, 0.111738, 0.005334],
        [0.080221, 0.913875, 0.005905],
        [0.354310, 0.121886, 0.523804],
        [0.016300, 0.185692, 0.798008],
    ]
    assert torch.allclose(plan, torch.tensor(rows, dtype=torch.float64), rtol=0, atol=2e-6)
    once = sinkhorn(LOG_P, strength=5, tolerance=0, most=1)
    assert once.error == pytest.approx(1.028658, abs=1e-6)


def test_golden_at_lambda_25():
    errors = [sinkhorn(LOG_P, strength=25, tolerance=0, most=i).error for i in (1, 11, 21, 31)]
    assert errors == pytest.approx([1.985364, 0.597744, 0.119159, 0.010634], abs=1e-6)
    found = sinkhorn(LOG_P, strength=25, tolerance=0.1)
    assert found.iterations == 31 and found.labels.tolist() == [0, 1, 2, 2]
    plan = 4 * (25 * LOG_P + found.log_r + found.log_c[:, None]).exp()
    assert plan[2].tolist() == pytest.approx([0.340695, 0.129749, 0.529556], abs=1e-5)
    last = sinkhorn(LOG_P, strength=25, tolerance=1e-9)
    plan = 4 * (25 * LOG_P + last.log_r + last.log_c[:, None]).exp()
    assert plan[2].tolist() == pytest.approx([0.335973, 0.131963, 0.532064], abs=2e-6)
    first = sinkhorn(LOG_P, strength=25, tolerance=0, most=1)
    assert first.log_c.exp().tolist() == pytest.approx(
        [0.188497, 0.187861, 34.161837, 0.187178], abs=1e-5
    )


def test_golden_cross_entropy():
    wanted = sinkhorn(LOG_P, strength=5, tolerance=0.01).labels
    assert -LOG_P[range(4), wanted].mean().item() == pytest.approx(0.995771, abs=1e-6)
    assert -LOG_P[:, 0].mean().item() == pytest.approx(0.695771, abs=1e-6)


def test_the_matrix_takes_in_factors_that_have_grown(monkeypatch):
    log_p = (3 * torch.randn(60, 5, generator=torch.Generator().manual_seed(1))).log_softmax(1)
    often = sinkhorn(log_p, strength=25, tolerance=0.1)
    monkeypatch.setattr("foveal.clustering.sinkhorn._GROWN", 0.0)  # logarithms in every iteration
    always = sinkhorn(log_p, strength=25, tolerance=0.1)
    assert often.iterations == always.iterations and torch.equal(often.labels, always.labels)
    assert torch.allclose(often.log_r, always.log_r, rtol=0, atol=1e-9)
    assert torch.allclose(often.log_c, always.log_c, rtol=0, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 8), st.integers(0, 1000))
def test_labels_are_balanced_where_plain_ones_collapse(k, seed):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(400, k, generator=generator)
    scores[:, 0] += 8
    log_p = scores.log_softmax(1)
    assert label_entropy(log_p.argmax(1), k) < 0.2
    found = sinkhorn(log_p, strength=25, tolerance=0.1)
    assert label_entropy(found.labels, k) > 0.95


def test_entropy():
    assert label_entropy(torch.arange(12) % 4, 4) == pytest.approx(1)
    assert label_entropy(torch.zeros(5, dtype=torch.int64), 4) == 0
    two = label_entropy(torch.tensor([0, 1]), 4)
    assert two == pytest.approx(math.log(2) / math.log(4))
