"""The moving average of BYOL's golden example."""

import torch

from foveal.core.ema import ema_update


def test_golden():
    target = [torch.tensor([1.0, -2.0])]
    ema_update(target, [torch.tensor([3.0, 0.0])], 0.99)
    assert torch.allclose(target[0], torch.tensor([1.02, -1.98]))
