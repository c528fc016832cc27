"""GradCache: the gradient of the whole batch, one part at a time."""

import copy

import pytest
import torch
from cases import tiny_recipe, write_pictures
from lightning_fabric import Fabric
from torch import nn

import foveal
from foveal.core import rng
from foveal.core.batch import StreamBatch, split
from foveal.core.progress import Progress
from foveal.engine.build import ForwardOnly
from foveal.engine.gradients import Gradients
from foveal.errors import FovealError
from foveal.losses.infonce import nt_xent
from foveal.methods.base import DataInfo, Losses, Method, Stream
from foveal.views.spec import View

WITHIN_SAMPLES = {"network": {"norm": "group"}, "options": {"head_norm": "layer"}}
CACHED = {**WITHIN_SAMPLES, "accumulate": 4, "gradcache": True}


class Contrasts(Method):
    """Couples samples, drops units at random, and has an output that nothing learns from."""

    couples_samples = True

    def __init__(self, make, data, options):
        super().__init__(make, data, options)
        self.net = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Dropout(0.4), nn.Linear(16, 6))

    def streams(self):
        return {"main": Stream({"v": View(size=2)})}

    def forward(self, batch, progress):
        x = batch["main"].images("v").flatten(1)
        return {"a": self.net(x), "b": self.net(1 - x), "index": batch["main"].index}

    def loss(self, out, batch, progress):
        assert torch.equal(out["index"], batch["main"].index)
        loss, correct = nt_xent(out["a"], out["b"], temperature=0.5)
        return Losses(loss, {"right": correct}, rows={"a": out["a"].detach()})

    def encoder(self):
        raise NotImplementedError


class CannotRepeat(Contrasts):
    replayable = False


def drawn_batch(n):
    generator = torch.Generator().manual_seed(0)
    views = {"v": torch.randint(0, 256, (n, 2, 2, 3), dtype=torch.uint8, generator=generator)}
    index = torch.arange(n)
    return {"main": StreamBatch(views, {}, index, index, index)}


def test_with_dropout_it_is_the_gradient_of_the_joined_parts():
    torch.manual_seed(1)
    method = Contrasts(None, DataInfo(samples=12), None)
    other = copy.deepcopy(method)
    recipe = tiny_recipe("simclr", batch=12, accumulate=3, gradcache=True)
    progress, batch = Progress(5, 9, 0, 1.0, 60, 60, 0, 0.1), drawn_batch(12)
    fabric = Fabric(accelerator="cpu", devices=1)
    gradients = Gradients(fabric.setup_module(ForwardOnly(method)), method, fabric, recipe)
    (losses,) = gradients(batch, progress)

    outs = []
    for i, part in enumerate(split(batch, 3)):
        torch.manual_seed(rng.seed64(recipe.seed, "step", 5, i, 0))
        outs.append(other(part, progress))
    whole = other.loss({k: torch.cat([o[k] for o in outs]) for k in outs[0]}, batch, progress)
    whole.loss.backward()
    assert losses.loss.item() == pytest.approx(whole.loss.item(), abs=1e-6)
    assert torch.allclose(losses.rows["a"], whole.rows["a"], atol=1e-6)
    for ours, wanted in zip(method.parameters(), other.parameters(), strict=True):
        assert wanted.grad.abs().max() > 1e-3
        assert torch.allclose(ours.grad, wanted.grad, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"))


def trained(pictures, out, **changes):
    """Weights after two steps, and the losses."""
    recipe = tiny_recipe("simclr", epochs=2 / 3, **changes)
    foveal.pretrain(pictures, out, recipe=recipe, quiet=True)
    from foveal.engine.runfolder import RunFolder

    losses = [r["loss"] for r in RunFolder(out).metrics() if r["kind"] == "train"]
    return torch.load(out / "checkpoints" / "last.pt", weights_only=True)["method"], losses


def test_a_run_with_it_is_the_run_of_whole_batches(pictures, tmp_path):
    whole, losses = trained(pictures, tmp_path / "whole", **WITHIN_SAMPLES)
    cached, also = trained(pictures, tmp_path / "cached", **CACHED)
    assert len(losses) == 2 and also == pytest.approx(losses, abs=1e-5)
    for name, value in whole.items():
        assert torch.allclose(cached[name], value, rtol=1e-5, atol=1e-5), name


def refused(pictures, out, **changes):
    with pytest.raises(FovealError) as caught:
        trained(pictures, out, **changes)
    return str(caught.value), caught.value.hint


def test_plain_micro_batches_are_refused_and_it_is_named(pictures, tmp_path):
    text, hint = refused(pictures, tmp_path / "run", accumulate=2)
    assert "compares the samples" in text and "gradcache=true" in hint


def test_batch_norm_is_refused_with_the_norms_that_go(pictures, tmp_path):
    text, hint = refused(pictures, tmp_path / "a", accumulate=2, gradcache=True)
    assert "batch norms" in text
    assert "network.norm=group" in hint and "options.head_norm=layer" in hint
    _, hint = refused(pictures, tmp_path / "b", **CACHED | {"network": {"norm": "batch"}})
    assert "network.norm=group" in hint and "head_norm" not in hint
    text, hint = refused(pictures, tmp_path / "c", **CACHED | {"options": {}})
    assert "'head.1' is the first" in text and "network.norm" not in hint


def test_what_cannot_be_repeated_is_refused():
    from foveal.engine.gradients import check_micro_batches

    recipe = tiny_recipe("simclr", accumulate=2, gradcache=True)
    with pytest.raises(FovealError, match="cannot be repeated"):
        check_micro_batches(recipe, CannotRepeat(None, DataInfo(samples=12), None), {}, 1)


def test_one_part_is_no_gradcache():
    with pytest.raises(FovealError, match="2 or more"):
        tiny_recipe("simclr", gradcache=True)
