"""What every method promises, listed or toy: adding a method adds no test code here."""

import json
import os
import signal

import numpy as np
import pytest
import torch
from cases import NAMES, PICTURES, tiny_recipe

import foveal
from foveal.core.batch import split
from foveal.core.progress import Progress
from foveal.core.rows import whole
from foveal.data.loader import Loader
from foveal.data.scan import scan
from foveal.data.sources import open_source
from foveal.engine.build import build_method, build_table, data_info, stream_plans
from foveal.engine.monitors import Monitor
from foveal.engine.screen import ProgressScreen
from foveal.errors import FovealError
from foveal.exporting.formats import FORMATS

every_method = pytest.mark.parametrize("name", NAMES)


def build(name, pictures):
    recipe = tiny_recipe(name)
    source = open_source(pictures)
    report = scan(source)
    info = data_info(recipe, source, report, PICTURES)
    method = build_method(recipe, info)
    table = build_table(source, report, method.samples(source))
    if len(table) != PICTURES:
        method = build_method(recipe, data_info(recipe, source, report, len(table)))
    return recipe, method, table


def loader_of(recipe, method, table, **how):
    plans = stream_plans(method.streams(), recipe.batch)
    how = {"threads": 1, "prefetch": 1, **how}
    return Loader(table, plans, seed=recipe.seed, **how)


def progress_at(step, recipe, refreshes=0):
    seen = step * recipe.batch
    return Progress(step, 6, seen // PICTURES, 2.0, seen, seen, refreshes, 0.05)


class LocalPass:
    """A feature pass over a handful of rows, for tests without a trainer."""

    def __init__(self, method, table):
        self.method, self.table = method, table

    def __call__(self, fn, view, *, mode="eval", update_bn=False, count=None):
        from foveal.core.batch import as_images
        from foveal.data.loader import ordered_views

        self.method.train(mode == "train")
        parts = [
            fn(as_images(pixels)).float()
            for _, pixels, _ in ordered_views(self.table, view, batch=8, threads=1)
        ]
        self.method.train()
        return whole(torch.cat(parts).numpy())


def ready(name, pictures):
    """A method that has had its first refresh, as the loop would give it its first batch."""
    recipe, method, table = build(name, pictures)
    method.train()
    progress = progress_at(0, recipe)
    if method.refresh_due(progress):
        method.refresh(LocalPass(method, table), progress)
    return recipe, method, table


def state(path):
    found = torch.load(path, weights_only=True)
    return {"method": found["method"], "optimisers": found["optimisers"], "step": found["step"]}


def same(a, b, where=""):
    """Bit-equal, however nested."""
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            same(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            same(x, y, f"{where}/{i}")
    else:
        assert a == b, where


@every_method
def test_forward_backward_and_the_shapes_of_what_comes_out(name, pictures):
    recipe, method, table = ready(name, pictures)
    buffers = {k: v.clone() for k, v in method.named_buffers()}
    period = max(s.every[0] for s in method.streams().values())
    seen = set()
    with loader_of(recipe, method, table) as loader:
        for step in range(period):
            batch, progress = loader.get(step), progress_at(step, recipe)
            out = method(batch, progress)
            assert {len(v) for v in out.values()} <= {len(b) for b in batch.values()}
            losses = method.loss(out, batch, progress)
            assert losses.loss.ndim == 0 and losses.loss.dtype == torch.float32
            assert torch.isfinite(losses.loss)
            assert not any(v.requires_grad for v in {**losses.log, **losses.means}.values())
            method.zero_grad()
            losses.loss.backward()
            seen |= {k for k, p in method.named_parameters() if p.grad is not None}
            assert all(
                torch.isfinite(p.grad).all() for p in method.parameters() if p.grad is not None
            )
    assert seen == {k for k, p in method.named_parameters() if p.requires_grad}
    norm_names = {
        f"{module}.{buffer}" if module else buffer
        for module, m in method.named_modules()
        if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)
        for buffer, _ in m.named_buffers(recurse=False)
    }
    for k, v in method.named_buffers():
        assert k in norm_names or torch.equal(v, buffers[k]), f"forward wrote {k}"


@every_method
def test_parameter_groups_hold_every_trained_parameter(name, pictures):
    _, method, _ = build(name, pictures)
    grouped = {
        id(p) for groups in method.parameter_groups().values() for g in groups for p in g.parameters
    }
    assert grouped == {id(p) for p in method.parameters() if p.requires_grad}


@every_method
def test_trivial_losses_are_named_numbers(name, pictures):
    _, method, _ = build(name, pictures)
    for meaning, value in method.trivial_losses().items():
        assert len(meaning) > 3 and np.isfinite(value)


@every_method
def test_the_stream_knows_nothing_of_threads_ranks_and_batches(name, pictures):
    recipe, method, table = build(name, pictures)

    def drawn(recipe, world=1, steps=(0, 1, 2, 3), **how):
        parts = {}
        for rank in range(world):
            with loader_of(recipe, method, table, rank=rank, world=world, **how) as loader:
                for step in steps:
                    for stream, batch in loader.get(step).items():
                        for row in range(len(batch)):
                            values = [batch.index[row], batch.label[row]]
                            values += [batch.views[v][row] for v in sorted(batch.views)]
                            values += [batch.table[v][row] for v in sorted(batch.table)]
                            values += [batch.random("x", (3,))[row]]
                            values += [batch.targets[t][row] for t in sorted(batch.targets)]
                            parts[stream, int(batch.position[row])] = values
        return parts

    once = drawn(recipe)
    same(once, drawn(recipe, threads=3, prefetch=3))
    same(once, drawn(recipe, world=2))
    if all(s.every == (1, 0) for s in method.streams().values()):
        half = recipe.model_copy(update={"batch": recipe.batch // 2})
        same(once, drawn(half, steps=range(8)))
    late = drawn(recipe, steps=(3,))
    same({key: once[key] for key in late}, late)


@every_method
def test_an_interrupted_run_ends_bit_equal(name, pictures, finished, tmp_path, monkeypatch):
    """Saved by a real signal after an odd number of steps, rebuilt, continued: nothing differs."""
    straight = state(finished(name) / "checkpoints" / "last.pt")
    show = ProgressScreen.step

    def stop_after_two(screen, step, *rest):
        show(screen, step, *rest)
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(ProgressScreen, "step", stop_after_two)
        first = foveal.pretrain(pictures, out, recipe=tiny_recipe(name), quiet=True)
    assert not first.outcome.finished and first.outcome.stopped_by == "SIGTERM"
    assert state(out / "checkpoints" / "last.pt")["step"] == 2
    second = foveal.pretrain(pictures, out, recipe=tiny_recipe(name), quiet=True)
    assert second.outcome.finished
    same(straight, state(out / "checkpoints" / "last.pt"))


@every_method
def test_measuring_changes_nothing(name, pictures, piles, finished):
    """Frozen law: neither the online monitor nor an evaluation writes to what it looks at."""
    _, method, table = build(name, pictures)
    before = {k: v.clone() for k, v in method.state_dict().items()}
    monitor = Monitor(table, size=16, fraction=1.0, seed=0, threads=1)
    monitor.look(method.encoder(), method)
    same(before, dict(method.state_dict()))
    encoder = foveal.load(finished(name))
    frozen = {k: v.clone() for k, v in encoder.state_dict().items()}
    results = foveal.evaluate(encoder, piles["pictures"], protocols=["knn"])
    assert results[0].baselines.keys() >= {"random_init", "pixels"}
    same(frozen, dict(encoder.state_dict()))


@every_method
def test_the_backbone_that_a_run_leaves_is_the_trained_one(name, pictures, finished):
    run = finished(name)
    _, method, _ = build(name, pictures)
    method.load_state_dict(torch.load(run / "checkpoints" / "last.pt", weights_only=True)["method"])
    method.eval()
    x = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        ours, loaded = method.encoder()(x)["pooled"], foveal.load(run)(x)["pooled"]
    # Weights are the same bits; outputs may differ by the memory format the kernels were given.
    same(dict(method.encoder().state_dict()), dict(foveal.load(run).state_dict()))
    assert torch.allclose(ours, loaded, atol=1e-5)


_EXPORTED: dict[str, str] = {}


@every_method
def test_export_round_trip_through_every_format(name, finished, tmp_path):
    """Verified inside: what was written is loaded back and compared before export returns.

    Tracing takes seconds and sees only what an encoder describes, so encoders of the same
    description are traced once; the weights of every method are still written and read.
    """
    same_as = _EXPORTED.setdefault(json.dumps(foveal.load(finished(name)).describe()), name)
    formats = FORMATS if same_as == name else ["hf"]
    written = set()
    for format in formats:
        try:
            report = foveal.export(finished(name), format=format, out=tmp_path / format)
        except FovealError as error:
            assert "--format" in error.hint and not (tmp_path / format).exists()
        else:
            assert (tmp_path / format).is_dir() and report.difference < 1e-3
            written.add(format)
    # A program takes every encoder; timm takes what is one of timm's networks, others its ResNets.
    particular = {"timm", "torchvision", "detectron2"}
    assert written - particular == set(formats) - particular
    assert not written & {"torchvision", "detectron2"}
    assert ("timm" in written) == (name == "toys:MaskedTokens")


@every_method
def test_a_hostile_checkpoint_is_refused(name, pictures, finished, tmp_path):
    import shutil

    class Payload:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path / 'owned'}",))

    run = shutil.copytree(finished(name), tmp_path / "run")
    (run / "finished.json").unlink()
    torch.save({"format": 1, "step": Payload()}, run / "checkpoints" / "last.pt")
    with pytest.raises(FovealError, match="more than tensors"):
        foveal.pretrain(pictures, run, recipe=tiny_recipe(name), quiet=True)
    assert not (tmp_path / "owned").exists()


@every_method
def test_micro_batches_are_refused_where_they_change_the_loss(name, pictures, tmp_path):
    recipe = tiny_recipe(name, accumulate=2, epochs=0.4)
    _, method, _ = build(name, pictures)
    if method.couples_samples:
        with pytest.raises(FovealError, match="micro-batches"):
            foveal.pretrain(pictures, tmp_path / "run", recipe=recipe, quiet=True)
    else:
        trained = foveal.pretrain(pictures, tmp_path / "run", recipe=recipe, quiet=True)
        assert trained.outcome.finished


def test_split_cuts_every_stream_into_equal_parts(pictures):
    recipe, method, table = build("simclr", pictures)
    with loader_of(recipe, method, table) as loader:
        batch = loader.get(0)
    parts = split(batch, 4)
    assert [len(p["main"]) for p in parts] == [2, 2, 2, 2]
    joined = torch.cat([p["main"].views["a"] for p in parts])
    assert torch.equal(joined, batch["main"].views["a"])
