import torch

from foveal.backbones.registry import build_backbone
from foveal.core.batch import StreamBatch
from foveal.core.progress import Progress
from foveal.methods.base import DataInfo
from foveal.methods.npid import NPID, NPIDOptions


def method(**options):
    torch.manual_seed(0)
    return NPID(
        lambda in_chans=None, **_: build_backbone("small", width=0.25),
        DataInfo(samples=10, batch=4),
        NPIDOptions(**options),
    )


def batch(n=4):
    generator = torch.Generator().manual_seed(0)
    views = {"view": torch.randint(0, 256, (n, 16, 16, 3), generator=generator, dtype=torch.uint8)}
    return {"main": StreamBatch(views, {}, torch.arange(n), torch.arange(n), torch.full((n,), -1))}


def step(m, b, number=0):
    progress = Progress(number, steps=10, epoch=0, epochs=1, position=0, seen=0, refreshes=0, lr=0)
    losses = m.loss(m(b, progress), b, progress)
    m.after_step(losses.rows, losses.means, progress)
    return losses


def test_the_constant_is_set_once():
    m, b = method(negatives=8), batch()
    step(m, b)
    first = m.partition.value.clone()
    assert first > 0
    step(m, b, number=1)
    assert torch.equal(m.partition.value, first)


def test_the_bank_is_compared_before_it_is_written():
    m, b = method(negatives=0, momentum=0.0), batch()
    old = m.bank.rows.clone()
    losses = step(m, b)
    z = losses.rows["z"]
    expected = torch.nn.functional.cross_entropy(z @ old.T / 0.07, torch.arange(4))
    assert torch.allclose(losses.loss, expected)
    assert torch.allclose(m.bank.rows[:4], z, atol=1e-6)
    assert torch.equal(m.bank.rows[4:], old[4:])


def test_the_proximal_term_pulls_to_the_last_embedding():
    b = batch()
    plain, pulled = step(method(negatives=0), b), step(method(negatives=0, proximal=30.0), b)
    m = method(negatives=0)
    distance = (plain.rows["z"] - m.bank.rows[:4]).square().sum(1).mean()
    assert torch.allclose(pulled.loss - plain.loss, 30 * distance, rtol=1e-4)
