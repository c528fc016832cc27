"""Batch norm over ranks equals batch norm over the concatenated batch; re-estimation."""

import copy

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from foveal.backbones.batchnorm import GlobalBatchNorm, convert_batchnorm, estimate_batchnorm
from foveal.errors import FovealError


class Net(nn.Module):
    """All three dimensions, one layer used twice, one without affine, one cumulative."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.shared = nn.BatchNorm2d(8)
        self.again = self.shared
        self.conv2 = nn.Conv2d(8, 8, 3)
        self.plain = nn.BatchNorm2d(8, affine=False, momentum=None)
        self.fc = nn.Linear(8, 16)
        self.vector = nn.BatchNorm1d(16)
        self.volume = nn.BatchNorm3d(1)

    def forward(self, x):
        x = self.shared(self.conv(x)).relu()
        x = self.again(self.conv2(x)).relu()
        x = self.plain(x)
        x = self.vector(self.fc(x.mean((2, 3))))
        return self.volume(x.view(len(x), 1, 2, 2, 4)).flatten(1)


def _make(dtype=torch.float32):
    torch.manual_seed(1)
    net = Net().to(dtype)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    x = torch.randn(12, 3, 9, 9, dtype=dtype) * 2 + 3
    weight = torch.randn(16, 4, dtype=dtype)
    return net, x, weight


def _loss(out, weight):
    # Cubed, so that the gradient differs from row to row.
    return ((out @ weight) ** 3).mean()


def _worker(rank, world, folder):
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world
    )
    for dtype in (torch.float32, torch.float64):
        _train(rank, world, folder, dtype)
    # A rank that leaves first can abort the other, which is still sending.
    dist.barrier()
    dist.destroy_process_group()


def _train(rank, world, folder, dtype):
    net, x, weight = _make(dtype)
    shared = net.shared
    assert convert_batchnorm(net) is net
    assert net.shared is shared is net.again
    ddp = nn.parallel.DistributedDataParallel(net, broadcast_buffers=False)
    rows = len(x) // world
    own = x[rank * rows : (rank + 1) * rows].clone().requires_grad_()
    out = None
    for _ in range(2):
        ddp.zero_grad()
        own.grad = None
        out = ddp(own)
        _loss(out, weight).backward()
    torch.save(
        {
            "out": out.detach(),
            "grads": {n: p.grad for n, p in net.named_parameters()},
            "input": own.grad / world,
            "state": net.state_dict(),
            "eval": net.eval()(own).detach(),
        },
        f"{folder}/{rank}-{dtype}.pt",
    )


def test_two_ranks_equal_one(tmp_path):
    mp.spawn(_worker, (2, str(tmp_path)), nprocs=2)
    # The exactness of the mathematics shows in float64, the promise is for float32.
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        net, x, weight = _make(dtype)
        x.requires_grad_()
        for _ in range(2):
            net.zero_grad()
            x.grad = None
            out = net(x)
            _loss(out, weight).backward()
        parts = [torch.load(tmp_path / f"{r}-{dtype}.pt", weights_only=True) for r in range(2)]
        close = {"rtol": tolerance, "atol": tolerance}
        torch.testing.assert_close(torch.cat([p["out"] for p in parts]), out.detach(), **close)
        torch.testing.assert_close(torch.cat([p["input"] for p in parts]), x.grad, **close)
        for part in parts:
            # A bias before a norm has no gradient but rounding, so one scale for the whole network.
            scale = max(p.grad.abs().max() for p in net.parameters())
            for name, p in net.named_parameters():
                torch.testing.assert_close(part["grads"][name] / scale, p.grad / scale, **close)
            assert list(part["state"]) == list(net.state_dict())
            for name, value in net.state_dict().items():
                torch.testing.assert_close(part["state"][name], value, **close)
        whole = net.eval()(x).detach()
        torch.testing.assert_close(torch.cat([p["eval"] for p in parts]), whole, **close)


def test_one_rank_changes_nothing_but_the_class():
    net, x, _ = _make()
    other = copy.deepcopy(net)
    parameters = list(other.parameters())
    convert_batchnorm(other)
    assert all(a is b for a, b in zip(parameters, other.parameters(), strict=True))
    assert sum(isinstance(m, GlobalBatchNorm) for m in other.modules()) == 4
    assert torch.equal(net(x), other(x))
    assert torch.equal(net.eval()(x), other.eval()(x))
    for (a, u), (b, v) in zip(net.state_dict().items(), other.state_dict().items(), strict=True):
        assert a == b and torch.equal(u, v)
    convert_batchnorm(other)
    nn.SyncBatchNorm.convert_sync_batchnorm(_make()[0]).load_state_dict(other.state_dict())


def test_a_norm_with_an_activation_inside_keeps_it():
    from foveal.backbones.registry import build_backbone

    net = build_backbone("efficientnet_b0")
    other = convert_batchnorm(copy.deepcopy(net))
    x = torch.randn(2, 3, 64, 64)
    assert any(isinstance(m, GlobalBatchNorm) and "act" in m._modules for m in other.modules())
    assert torch.equal(net(x)["pooled"], other(x)["pooled"])


def test_an_unknown_batch_norm_is_refused():
    class Odd(nn.BatchNorm2d):
        pass

    with pytest.raises(FovealError, match="'1' is a Odd"):
        convert_batchnorm(nn.Sequential(nn.Conv2d(3, 4, 1), Odd(4)))


def test_estimated_statistics_are_the_average_over_batches():
    net, x, _ = _make()
    net.dropout = nn.Dropout(0.5)
    net.train()
    net.conv.eval()
    before = {n: p.clone() for n, p in net.named_parameters()}
    batches = x.split(4)
    estimate_batchnorm(net, batches)
    first = torch.stack([net.conv(b) for b in batches])
    # The shared layer sees two maps per batch, so only a layer used once has a simple expectation.
    assert net.training and not net.conv.training and net.shared.momentum == 0.1
    assert all(torch.equal(p, before[n]) for n, p in net.named_parameters())
    alone = nn.Sequential(net.conv, nn.BatchNorm2d(8))
    estimate_batchnorm(alone, batches)
    assert alone[1].num_batches_tracked == 3
    torch.testing.assert_close(alone[1].running_mean, first.mean((0, 1, 3, 4)))
    torch.testing.assert_close(alone[1].running_var, first.var((1, 3, 4)).mean(0))
    with pytest.raises(FovealError, match="without pictures"):
        estimate_batchnorm(alone, [])
    estimate_batchnorm(nn.Conv2d(3, 3, 1), [])
