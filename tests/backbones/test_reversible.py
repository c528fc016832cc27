"""Reversible blocks: the numbers of the network that keeps everything, in less memory."""

import copy

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from foveal.backbones.batchnorm import convert_batchnorm
from foveal.backbones.registry import build_backbone


def _pair(dtype=torch.float32, **arguments):
    """A reversible network and the same one that stores its activations."""
    torch.manual_seed(0)
    one = build_backbone("revnet50", width=0.125, stem="small", **arguments).to(dtype)
    for name, p in one.named_parameters():
        if p.ndim == 1:  # norm scales and shifts that are not 1 and 0
            torch.manual_seed(len(name))
            p.data += 0.1 * torch.randn_like(p)
    other = copy.deepcopy(one)
    for stage in other.body.stages:
        stage.stored = True
    return one, other


def _train(backbone, x, ends=(), steps=2):
    for _ in range(steps):
        backbone.zero_grad()
        x.grad = None
        out = backbone(x, ends)
        sum((v * torch.linspace(-1, 1, v.shape[1], dtype=v.dtype).view(1, -1, *[1] * (v.ndim - 2)))
            .pow(3).mean() for v in out.values()).backward()  # fmt: skip
    return out


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("ends", [(), ("stage1_unit2", "stage2", "stage3_unit5")])
def test_gradients_and_buffers_are_those_of_the_stored_network(dtype, tolerance, ends):
    reversible, stored = _pair(dtype, units=True)
    x = torch.randn(6, 3, 16, 16, dtype=dtype)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    out, wanted = _train(reversible, a, ends), _train(stored, b, ends)
    for name in wanted:
        torch.testing.assert_close(out[name], wanted[name])
    scale = max(p.grad.abs().max() for p in stored.parameters())
    for (name, p), q in zip(reversible.named_parameters(), stored.parameters(), strict=True):
        assert p.grad is not None, name
        torch.testing.assert_close(p.grad / scale, q.grad / scale, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(a.grad / scale, b.grad / scale, atol=tolerance, rtol=tolerance)
    # Two forwards were counted, not four.
    for (name, p), q in zip(reversible.named_buffers(), stored.buffers(), strict=True):
        assert torch.equal(p, q), name
        assert "num_batches" not in name or p == 2


def test_frozen_parameters_and_evaluation_mode():
    reversible, stored = _pair()
    for net in (reversible, stored):
        net.eval()
        net.body.stages[1].requires_grad_(False)
    x = torch.randn(2, 3, 16, 16)
    _train(reversible, x), _train(stored, x)
    for p, q in zip(reversible.parameters(), stored.parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None) == (not q.requires_grad)
        if q.grad is not None:
            torch.testing.assert_close(p.grad, q.grad, atol=1e-5, rtol=1e-4)
    buffers = dict(reversible.named_buffers())
    assert all(v == 0 for k, v in buffers.items() if "num_batches" in k)


def _kept(backbone, x):
    """Bytes that autograd keeps between forward and backward, parameters apart."""
    own = {p.data_ptr() for p in backbone.parameters()}
    found = {}

    def pack(t):
        if t.data_ptr() not in own:
            found[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        out = backbone(x)["pooled"].sum()
    out.backward()
    return sum(found.values())


def test_a_deeper_stage_keeps_no_more():
    x = torch.randn(2, 3, 32, 32)
    kept = {
        (stored, depth): _kept(
            build_backbone("revnet50", width=0.125, blocks=[depth] * 4, stored=stored), x
        )
        for stored in (False, True)
        for depth in (2, 8)
    }
    assert kept[False, 2] == kept[False, 8] < kept[True, 8] / 3
    assert kept[True, 8] > 2 * kept[True, 2]


def test_half_precision_computes_again_in_half_precision():
    reversible, stored = _pair()
    x = torch.randn(4, 3, 16, 16)
    for net in (reversible, stored):
        with torch.autocast("cpu", torch.bfloat16):
            out = net(x)["pooled"]
        out.float().square().sum().backward()
    g, h = (torch.cat([p.grad.flatten() for p in n.parameters()]) for n in (reversible, stored))
    assert torch.nn.functional.cosine_similarity(g, h, dim=0) > 0.99


def _worker(rank, world, folder):
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world
    )
    net, _ = _pair(torch.float64)
    convert_batchnorm(net)
    ddp = torch.nn.parallel.DistributedDataParallel(net, broadcast_buffers=False)
    torch.manual_seed(7)
    x = torch.randn(6, 3, 16, 16, dtype=torch.float64)[rank * 3 : rank * 3 + 3]
    _train(ddp, x)
    torch.save(
        ({n: p.grad for n, p in net.named_parameters()}, net.state_dict()), f"{folder}/{rank}.pt"
    )
    dist.barrier()
    dist.destroy_process_group()


def test_two_ranks_equal_one(tmp_path):
    mp.spawn(_worker, (2, str(tmp_path)), nprocs=2)
    _, stored = _pair(torch.float64)
    torch.manual_seed(7)
    _train(stored, torch.randn(6, 3, 16, 16, dtype=torch.float64))
    for rank in range(2):
        grads, state = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for name, p in stored.named_parameters():
            torch.testing.assert_close(grads[name], p.grad, atol=1e-12, rtol=1e-9)
        for name, value in stored.state_dict().items():
            torch.testing.assert_close(state[name], value, atol=1e-12, rtol=1e-9)
