"""InfoNCE in tiles: equal to the dense computation, without its memory."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from foveal.losses import infonce
from foveal.losses.infonce import info_nce, negatives_log_sum_exp, nt_xent


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """So that a few rows already need several tiles in both directions."""
    monkeypatch.setattr(infonce, "_TILE", {"cpu": (3, 5)})
    monkeypatch.setattr(infonce, "_PLAIN", 0)


def dense_negatives(q, k, skip):
    return (q @ k.T).scatter(1, skip, float("-inf")).logsumexp(1)


def dense_nt_xent(a, b, temperature):
    """SimCLR's equation 1 as it is written."""
    z = F.normalize(torch.cat([a, b]), dim=1)
    similar = (z @ z.T / temperature).fill_diagonal_(float("-inf"))
    partner = torch.arange(len(z)).roll(len(a))
    loss = F.cross_entropy(similar, partner)
    return loss, (similar.argmax(1) == partner).float().mean()


def drawn(seed, *shape, dtype=torch.float32):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x.to(dtype).requires_grad_()


@settings(deadline=None, max_examples=60)
@given(
    q=st.integers(1, 14), k=st.integers(1, 17), d=st.integers(1, 6), s=st.integers(0, 4),
    scale=st.sampled_from([0.1, 1.0, 30.0]), seed=st.integers(0, 1000),
)  # fmt: skip
def test_values_and_gradients_are_those_of_the_dense_form(q, k, d, s, scale, seed):
    x, y = drawn(seed, q, d), drawn(seed + 1, k, d)
    skip = torch.randint(0, k, (q, s), generator=torch.Generator().manual_seed(seed))
    weight = drawn(seed + 2, q).detach()
    found, best = negatives_log_sum_exp(x * scale, y, skip)
    wanted = dense_negatives(x * scale, y, skip)
    something = torch.isfinite(wanted)
    assert torch.equal(something, torch.isfinite(found)) and not found.isnan().any()
    assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-5)
    largest = (x * scale @ y.T).scatter(1, skip, float("-inf")).amax(1)
    assert torch.allclose(best, largest, rtol=1e-5, atol=1e-5)
    if something.any():
        ours = torch.autograd.grad((found * weight)[something].sum(), [x, y])
        dense = torch.autograd.grad((wanted * weight)[something].sum(), [x, y])
        for a, b in zip(ours, dense, strict=True):
            assert torch.allclose(a, b, rtol=1e-5, atol=1e-5 * scale)


def test_gradients_agree_with_differences():
    x, y = drawn(0, 7, 3, dtype=torch.float64), drawn(1, 11, 3, dtype=torch.float64)
    skip = torch.tensor([[i, i + 4] for i in range(7)])
    assert torch.autograd.gradcheck(lambda a, b: negatives_log_sum_exp(a, b, skip)[0], (x, y))


@settings(deadline=None, max_examples=30)
@given(b=st.integers(1, 12), t=st.sampled_from([0.05, 0.1, 0.5]), seed=st.integers(0, 1000))
def test_nt_xent_is_the_dense_loss(b, t, seed):
    first, second = drawn(seed, b, 8), drawn(seed + 1, b, 8)
    ours, correct = nt_xent(first, second, temperature=t)
    dense, dense_correct = dense_nt_xent(first, second, t)
    assert ours.item() == pytest.approx(dense.item(), abs=1e-5)
    # A single picture has no others: its partner is nearer than nothing.
    assert correct.item() == pytest.approx(dense_correct.item())
    for a, b_ in zip(
        torch.autograd.grad(ours, [first, second]),
        torch.autograd.grad(dense, [first, second]),
        strict=True,
    ):
        assert torch.allclose(a, b_, rtol=1e-5, atol=1e-5)


def test_the_plain_and_the_tiled_computation_agree(monkeypatch):
    first, second = drawn(3, 20, 16), drawn(4, 20, 16)
    tiled, right = nt_xent(first, second, temperature=0.1)
    monkeypatch.setattr(infonce, "_PLAIN", 1 << 20)
    plain, also = nt_xent(first, second, temperature=0.1)
    assert tiled.item() == pytest.approx(plain.item(), abs=1e-6) and right == also


def test_a_queue_is_told_from_the_partner_as_in_moco():
    """He et al., CVPR 2020, algorithm 1: cross-entropy over [q.k, q.queue], label 0."""
    q, k, queue = drawn(0, 8, 16), drawn(1, 8, 16).detach(), drawn(2, 40, 16).detach()
    loss, correct = info_nce(q, k, queue, temperature=0.07)
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.T], 1) / 0.07
    wanted = F.cross_entropy(logits, torch.zeros(8, dtype=torch.int64), reduction="none")
    assert torch.allclose(loss, wanted, atol=1e-5)
    assert torch.equal(correct, logits.argmax(1) == 0)
    ours, dense = (torch.autograd.grad(x.mean(), q)[0] for x in (loss, wanted))
    assert torch.allclose(ours, dense, atol=1e-5)


def test_a_bank_takes_no_gradient_and_gives_the_exact_softmax():
    """Wu et al., CVPR 2018: -log P(i|v) over the whole bank."""
    rows = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 1, 1]]
    bank = F.normalize(torch.tensor(rows, dtype=torch.float32), dim=1)
    v = F.normalize(torch.tensor([[2.0, 1, 0]]), dim=1).requires_grad_()
    index = torch.tensor([0])
    loss, correct = info_nce(v, bank[index], bank, temperature=0.5, skip_QS=index[:, None])
    assert loss.item() == pytest.approx(1.332926, abs=1e-6)
    assert not correct.any()  # (1, 1, 0) is nearer
    loss.sum().backward()
    assert torch.isfinite(v.grad).all() and bank.grad is None


def test_a_bank_in_half_precision_is_compared_in_the_queries_precision():
    v, bank = drawn(0, 4, 8), drawn(1, 30, 8).detach().half()
    index = torch.tensor([3, 0, 29, 3])[:, None]
    loss, _ = info_nce(v, bank[index[:, 0]], bank, temperature=0.2, skip_QS=index)
    wanted = F.cross_entropy(v @ bank.float().T / 0.2, index[:, 0], reduction="none")
    assert loss.dtype == torch.float32 and torch.allclose(loss, wanted, atol=1e-5)
    ours, dense = (torch.autograd.grad(x.sum(), v)[0] for x in (loss, wanted))
    assert torch.allclose(ours, dense, atol=1e-5)


def test_few_others_as_pirl_counts_them():
    """Misra and van der Maaten, CVPR 2020: one partner, bank rows 2 and 4."""
    rows = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 1, 1]]
    bank = F.normalize(torch.tensor(rows, dtype=torch.float32), dim=1)
    found = F.normalize(torch.tensor([[2.0, 1, 0], [1, 1, 0.5]]), dim=1)
    loss, _ = info_nce(found, bank[[0, 0]], bank[[2, 4]], temperature=0.5)
    assert loss.tolist() == pytest.approx([0.393236, 0.954610], abs=1e-6)


def test_a_network_that_says_the_same_about_everything_picks_nobody():
    z = F.normalize(torch.randn(1, 128, generator=torch.Generator().manual_seed(0)), dim=1)
    loss, correct = nt_xent(z.repeat(50, 1), z.repeat(50, 1), temperature=0.1)
    assert loss.item() == pytest.approx(math.log(99), abs=1e-5) and correct == 0


def test_far_similarities_neither_overflow_nor_vanish():
    q, others = torch.tensor([[1.0, 0.0]]), torch.tensor([[300.0, 0], [-300, 0], [299, 0]])
    found, _ = negatives_log_sum_exp(q, others)
    assert found.item() == pytest.approx(300 + math.log(1 + math.exp(-1)), abs=1e-4)
    found, _ = negatives_log_sum_exp(-q, others[[0, 2]])
    assert found.item() == pytest.approx(-299 + math.log(1 + math.exp(-1)), abs=1e-4)


def test_one_picture_alone_has_loss_and_gradient_zero():
    first, second = drawn(0, 1, 4), drawn(1, 1, 4)
    loss, _ = nt_xent(first, second, temperature=0.1)
    loss.backward()
    assert loss == 0 and not first.grad.any() and not second.grad.any()


class _Largest(TorchDispatchMode):
    """The size of the largest tensor that any operation returns."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for x in out if isinstance(out, tuple | list) else [out]:
            if isinstance(x, torch.Tensor):
                self.elements = max(self.elements, x.untyped_storage().nbytes() // x.itemsize)
        return out


def test_nothing_of_the_size_of_all_similarities_is_ever_made(monkeypatch):
    monkeypatch.setattr(infonce, "_TILE", {"cpu": (16, 32)})
    first, second = drawn(0, 512, 8), drawn(1, 512, 8)
    with _Largest() as seen:
        nt_xent(first, second, temperature=0.1)[0].backward()
    assert seen.elements <= 1024 * 8  # rows x features; all similarities would be 2**20


def test_golden_queue():
    """MoCo, tau .2: logits 4.743416 of the key, 2.5, 0 and -3.535534 of the queue."""
    q, k = (F.normalize(torch.tensor([row]), dim=1) for row in ([1.0, 1, 0], [1, 0.5, 0]))
    queue = F.normalize(torch.tensor([[0.0, 1, 1], [0, 0, 1], [-1, 0, 0]]), dim=1)
    loss, correct = info_nce(q, k, queue, temperature=0.2)
    assert loss.item() == pytest.approx(0.108906, abs=1e-6) and correct.all()
