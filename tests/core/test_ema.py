"""The moving average of BYOL's golden example."""

import torch
from torch import nn

from foveal.core.ema import copy_buffers, ema_update


def test_golden():
    target = [torch.tensor([1.0, -2.0])]
    ema_update(target, [torch.tensor([3.0, 0.0])], 0.99)
    assert torch.allclose(target[0], torch.tensor([1.02, -1.98]))


def test_buffers_are_copied_and_may_be_missing():
    online, target = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    online(torch.arange(12.0).reshape(4, 3))
    copy_buffers(target, online)
    assert all(map(torch.equal, target.buffers(), online.buffers()))
    assert int(target.num_batches_tracked) == 1
    copy_buffers(nn.GroupNorm(1, 3), nn.GroupNorm(1, 3))
