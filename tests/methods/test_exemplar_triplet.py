"""Exemplar by triplets: what it hands to the loss."""

import numpy as np
import pytest
import torch

from foveal.backbones.registry import build_backbone
from foveal.core.batch import StreamBatch
from foveal.losses.triplet import triplet_loss
from foveal.methods.base import DataInfo
from foveal.methods.exemplar_triplet import ExemplarTriplet, ExemplarTripletOptions


def _method(**options):
    return ExemplarTriplet(
        lambda in_chans=None, **changes: build_backbone("small", width=0.25, in_chans=3),
        DataInfo(samples=10),
        ExemplarTripletOptions(**options),
    )


def test_the_papers_values_are_the_defaults():
    o = ExemplarTripletOptions()
    assert (o.copies, o.margin, o.head_outputs, o.mining) == (8, 0.5, 1000, "semi_hard")
    assert o.view.grey == 0.66 and o.view.size == 224
    assert _method().trivial_losses() == {"the margin, what equal embeddings give": 0.5}


def test_views_of_a_picture_belong_together():
    """Views lie side by side; the same picture drawn twice in a batch is no negative."""
    method = _method(copies=3, head_outputs=4)
    index = torch.tensor([5, 2, 5])
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 16, 16, 3), dtype=np.uint8)
    views = {f"copy{i}": torch.from_numpy(pixels[i]) for i in range(3)}
    batch = {"main": StreamBatch(views, {}, index, index, index * 0 - 1)}
    out = method(batch, None)
    assert out["z"].shape == (3, 3, 4)
    found = method.loss(out, batch, None)
    ids = torch.tensor([5, 5, 5, 2, 2, 2, 5, 5, 5])
    wanted, active = triplet_loss(out["z"].flatten(0, 1), ids, margin=0.5)
    assert found.loss.item() == pytest.approx(wanted.item())
    assert found.log["active"] == active
