"""Adam and AdamW differ in what weight decay does."""

import pytest
import torch
from torch import nn

from foveal.engine.optim import build_optimisers
from foveal.methods.base import Group, Stream
from foveal.recipe import Optimiser, Recipe


@pytest.mark.parametrize(("name", "left"), [("adam", 2 - 0.1), ("adamw", 2 * (1 - 0.1 * 0.5))])
def test_weight_decay_alone(name, left):
    """No gradient: Adam takes the decay for one and steps by lr, AdamW shrinks by lr * decay."""
    weight = nn.Parameter(torch.full((1, 1), 2.0))

    class OneWeight:
        def streams(self):
            return {"main": Stream({})}

        def parameter_groups(self):
            return {"main": [Group([weight])]}

    spec = Optimiser(name=name, lr=0.1, scaling="none", weight_decay=0.5)
    (optimiser,) = build_optimisers(OneWeight(), Recipe(epochs=1, optimiser=spec)).values()
    weight.grad = torch.zeros_like(weight)
    optimiser.step()
    assert weight.item() == pytest.approx(left, rel=1e-5)
