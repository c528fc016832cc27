"""S4L: the sum of its terms, labels repeated over turned copies, VAT that moves no average."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from foveal.backbones.registry import build_backbone
from foveal.core.batch import StreamBatch
from foveal.core.progress import Progress
from foveal.losses.vat import divergence, entropy
from foveal.methods.base import DataInfo
from foveal.methods.s4l import S4L
from foveal.methods.s4l_options import S4LOptions

PROGRESS = Progress(0, 20, 0, 2.0, 0, 0, 0, 0.1)


def _method(**options):
    torch.manual_seed(0)

    def make(in_chans=None, **changes):
        return build_backbone("small", width=0.125, in_chans=3)

    return S4L(make, DataInfo(samples=10, classes=3), S4LOptions(vat_xi=1e-3, **options))


def _batch(method, n=4, side=16):
    generator, batch = np.random.default_rng(0), {}
    for name, stream in method.streams().items():
        views = {
            v: torch.from_numpy(generator.integers(0, 256, (n, side, side, 3), np.uint8))
            for v in stream.views
        }
        index = torch.arange(n)
        label = index % 3 if stream.labelled else index * 0 - 1
        batch[name] = StreamBatch(views, {}, index, index, label, stream=name)
    return batch


def test_streams():
    streams = _method().streams()
    assert streams["labelled"].labelled and streams["labelled"].counts_epoch
    assert not streams["unlabelled"].labelled and not streams["unlabelled"].counts_epoch
    assert list(_method(pretext="none").streams()) == ["labelled"]
    assert len(_method(pretext="exemplar", copies=3).streams()["labelled"].views) == 3


def test_the_loss_is_the_weighted_sum():
    method = _method(weight=0.4, supervised=0.3, vat=0.3, entmin=0.2)
    with torch.no_grad():
        method.head.weight.normal_()
    batch = _batch(method)
    out = method(batch, PROGRESS)
    found = method.loss(out, batch, PROGRESS)
    labels = batch["labelled"].label.repeat_interleave(4)
    ce = F.cross_entropy(out["labelled/classes"].flatten(0, 1), labels)
    turns = torch.arange(4).repeat(4)
    pretext = [F.cross_entropy(out[f"{n}/logits"].flatten(0, 1), turns)
               for n in ("labelled", "unlabelled")]  # fmt: skip
    perturbed, clean = (out[f"unlabelled/{k}"].flatten(0, 1) for k in ("perturbed", "clean"))
    vat = divergence(perturbed, clean).mean()
    ent = entropy(out["unlabelled/classes"].flatten(0, 1)).mean()
    wanted = 0.3 * ce + 0.4 * sum(pretext) / 2 + 0.3 * vat + 0.2 * ent
    assert found.loss.item() == pytest.approx(wanted.item(), abs=1e-6)
    assert found.log["vat_cosine"] > 0.99
    assert "labelled/clean" not in out


def test_vat_alone_sees_both_parts_and_moves_no_average():
    method = _method(pretext="none", vat=0.5).train()
    batch = _batch(method)
    assert {"labelled/clean", "unlabelled/clean"} <= method(batch, PROGRESS).keys()
    plain = _method(pretext="none", entmin=1.0).train()
    plain(batch, PROGRESS)
    # One forward over both parts counted, and none of the three of VAT.
    for (name, a), (_, b) in zip(method.named_buffers(), plain.named_buffers(), strict=True):
        assert torch.equal(a, b), name


def test_equal_answers_cost_what_guessing_costs():
    for options in ({}, {"pretext": "exemplar", "copies": 2}):
        method = _method(**options)
        (total,) = method.trivial_losses().values()
        pretext = math.log(4) if not options else math.log(2)
        assert total == pytest.approx(math.log(3) + pretext)


def test_the_average_is_unbiased():
    """After two steps the mean of two weights, the newer one heavier; after one, the weights."""
    method = _method(average=1.0)
    first = method.head.bias.detach().clone()
    method.after_step({}, {}, PROGRESS)
    assert torch.allclose(method.average_head.bias, first)
    with torch.no_grad():
        method.head.bias += 1
    method.after_step({}, {}, Progress(1, 20, 0, 2.0, 4, 4, 0, 0.1))
    d = 0.5 ** (1 / 10)
    assert torch.allclose(method.average_head.bias, first + 1 / (1 + d), atol=1e-6)
    assert method.classifiers()[0] is method.average_head
