import numpy as np
import pytest
import torch
from torch.nn import functional as F

from foveal.losses.bank import MemoryBank
from foveal.losses.nce import info_nce_first, log_partition, nce, softmax_nce
from foveal.methods.pirl import PIRLOptions

ROWS = F.normalize(
    torch.tensor([(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1), (1, 1, 1)]).double(), dim=1
)
V = torch.tensor([[2.0, 1, 0]], dtype=torch.float64) / 5**0.5
CANDIDATES = torch.tensor([[0, 2, 4]])
TAU = 0.5


def bank():
    made = MemoryBank(6, 3, seed=0)
    made.rows = ROWS.clone()
    return made


def test_golden_nce_and_its_gradient():
    v = V.clone().requires_grad_()
    logits = bank().similarity(v, CANDIDATES) / TAU
    log_z = log_partition(logits.detach(), 6)
    assert log_z.exp().item() == pytest.approx(17.729643, abs=1e-5)
    loss = nce(logits, log_z=log_z, rows=6)
    loss.backward()
    assert loss.item() == pytest.approx(1.119864, abs=1e-5)
    assert v.grad[0].tolist() == pytest.approx([-0.993886, 0.341611, 0.631052], abs=1e-5)


def test_golden_parts_of_nce():
    """Scores, p, and what h_0 and 1 - h_j are, read off the gradient."""
    logits = (bank().similarity(V, CANDIDATES) / TAU).requires_grad_()
    assert logits.exp()[0].tolist() == pytest.approx([5.982595, 1, 1.882227], abs=1e-5)
    log_z = log_partition(logits.detach(), 6)
    p = (logits - log_z).exp()[0].tolist()
    assert p == pytest.approx([0.337435, 0.056403, 0.106163], abs=1e-6)
    nce(logits, log_z=log_z, rows=6).backward()
    slope = logits.grad[0]
    assert 1 + slope[0].item() == pytest.approx(0.503057, abs=1e-6)
    assert (1 - slope[1:]).tolist() == pytest.approx([0.855280, 0.758444], abs=1e-6)


def test_golden_exact_softmax():
    logits = bank().similarity(V, torch.arange(6)[None]) / TAU
    assert log_partition(logits, 6).exp().item() == pytest.approx(22.686738, abs=1e-5)
    loss = info_nce_first(logits)
    assert (-loss).exp().item() == pytest.approx(0.263704, abs=1e-6)
    assert loss.item() == pytest.approx(1.332926, abs=1e-6)


def test_golden_totals_of_pirl():
    """By the weights PIRL takes unless told otherwise."""
    g = F.normalize(torch.tensor([[1, 1, 0.5]], dtype=torch.float64), dim=1)
    patch, image = (bank().similarity(x, CANDIDATES) / TAU for x in (g, V))
    log_z = log_partition(patch, 6)
    forms = {
        "nce": lambda logits: nce(logits, log_z=log_z, rows=6),
        "paper": softmax_nce,
        "info_nce": info_nce_first,
    }
    balance = PIRLOptions().balance
    for form, total in (("nce", 1.442717), ("paper", 1.233327), ("info_nce", 0.673923)):
        found = balance * forms[form](patch) + (1 - balance) * forms[form](image)
        assert found.item() == pytest.approx(total, abs=1e-6)


def test_golden_forms_of_pirl():
    g = F.normalize(torch.tensor([[1, 1, 0.5]], dtype=torch.float64), dim=1)
    patch, image = (bank().similarity(x, CANDIDATES) / TAU for x in (g, V))
    log_z = log_partition(patch, 6)
    assert log_z.exp().item() == pytest.approx(19.709305, abs=1e-5)
    assert nce(patch, log_z=log_z, rows=6).item() == pytest.approx(1.750772, abs=1e-5)
    assert nce(image, log_z=log_z, rows=6).item() == pytest.approx(1.134662, abs=1e-5)
    assert softmax_nce(patch).item() == pytest.approx(1.715056, abs=1e-5)
    assert softmax_nce(image).item() == pytest.approx(0.751598, abs=1e-5)
    assert info_nce_first(patch).item() == pytest.approx(0.954610, abs=1e-5)
    assert info_nce_first(image).item() == pytest.approx(0.393236, abs=1e-5)


def test_golden_update():
    made = bank()
    made.update(torch.tensor([0]), V)
    assert made.rows[0].tolist() == pytest.approx([0.973249, 0.229753, 0], abs=1e-5)
    assert torch.equal(made.rows[1:], ROWS[1:])
    assert (V[0] - ROWS[0]).square().sum().item() == pytest.approx(0.211146, abs=1e-5)


def test_of_a_row_seen_twice_the_last_counts():
    made, other = bank(), bank()
    made.update(torch.tensor([3, 1, 3]), torch.cat([V, V, ROWS[2:3]]))
    other.update(torch.tensor([1, 3]), torch.cat([V, ROWS[2:3]]))
    assert torch.equal(made.rows, other.rows)


def test_size_and_start():
    made = MemoryBank(1000, 128, seed=3, half=True)
    assert made.rows.nbytes == 1000 * 128 * 2
    assert made.rows.float().norm(dim=1).numpy() == pytest.approx(np.ones(1000), abs=1e-2)
    assert torch.equal(made.rows, MemoryBank(1000, 128, seed=3, half=True).rows)
    # ImageNet's, in float32.
    assert MemoryBank(1000, 128, seed=3).rows.nbytes // 1000 * 1_281_167 == 655_957_504
