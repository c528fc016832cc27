"""The ring: memory is used again, and never while somebody holds it."""

import gc
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.core.batch import split
from foveal.data.buffers import Ring
from foveal.data.loader import Loader, StreamPlan, Table, ordered_views
from foveal.data.sources import open_source
from foveal.views.presets import center_view
from foveal.views.spec import View

SHAPE = (4, 6, 6, 3)
MAIN = StreamPlan("main", {"a": View(size=64), "b": View(size=64)}, 16)


@pytest.fixture(scope="module")
def table():
    images = np.random.default_rng(0).integers(0, 256, (40, 20, 24, 3)).astype(np.uint8)
    return Table(open_source(images), np.arange(40), np.full(40, -1))


def test_memory_comes_back_when_the_last_tensor_is_gone():
    ring = Ring(2)
    first = ring.take(SHAPE, torch.uint8)
    at = first.data_ptr()
    part = first[1:, :2].movedim(-1, 1)
    del first
    gc.collect()
    assert ring.take(SHAPE, torch.uint8).data_ptr() != at  # a slice still holds it
    del part
    gc.collect()
    assert ring.take(SHAPE, torch.uint8).data_ptr() == at
    assert ring.take(SHAPE, torch.float32).dtype == torch.float32
    assert ring.take((3,), torch.int64).shape == (3,)


def test_only_so_many_unused_buffers_are_kept():
    ring = Ring(2)
    held = [ring.take(SHAPE, torch.uint8) for _ in range(7)]
    assert len({t.data_ptr() for t in held}) == 7
    del held
    gc.collect()
    assert len(ring._free[SHAPE, torch.uint8]) == 2


@settings(deadline=None, max_examples=30)
@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(0, 4), st.randoms())
def test_what_is_held_is_never_handed_out(takes, keep, draws):
    ring, held = Ring(keep), {}
    for i, take in enumerate(takes):
        if take or not held:
            held[i] = ring.take(SHAPE, torch.uint8).fill_(i)
        else:
            del held[draws.choice(sorted(held))]
    for i, tensor in held.items():
        assert (tensor == i).all()


@pytest.mark.parametrize("part", ["batch", "view", "micro"])
def test_a_batch_that_is_kept_stays_as_it_was(table, part):
    """Whatever of it is kept: a method's queue may hold a slice of a micro-batch."""
    kept, copies = [], []
    with Loader(table, [MAIN], seed=0, threads=3, prefetch=2) as loader:
        for step in range(24):
            batch = loader.get(step)
            if random.Random(step).random() < 0.4:
                what = {
                    "batch": lambda b: b["main"].views["a"],
                    "view": lambda b: b["main"].views["b"][3:5],
                    "micro": lambda b: split(b, 4)[2]["main"].images("b"),
                }[part](batch)
                kept.append(what)
                copies.append(what.clone())
            del batch
    assert len(kept) > 5
    for one, copy in zip(kept, copies, strict=True):
        assert torch.equal(one, copy)


def test_a_loader_goes_round_on_a_few_buffers(table):
    seen = set()
    with Loader(table, [MAIN], seed=0, threads=2, prefetch=3) as loader:
        for step in range(60):
            seen.add(loader.get(step)["main"].views["a"].data_ptr())
    # Two views of one shape share the ring: those ahead, the one in hand, the one just returned.
    assert len(seen) <= 2 * (3 + 2)
    passes = {
        pixels.data_ptr()
        for _ in range(3)
        for _, pixels, _ in ordered_views(table, center_view(32), batch=4, threads=2)
    }
    assert len(passes) <= 3 * 4


def test_a_jump_while_batches_are_being_filled_breaks_nothing(table):
    """Discarded batches are still being written to; their memory is not handed out meanwhile."""
    with Loader(table, [MAIN], seed=0, threads=1, prefetch=0) as calm:
        expected = {s: calm.get(s)["main"].views["a"].clone() for s in range(30)}
    with Loader(table, [MAIN], seed=0, threads=3, prefetch=4) as loader:
        for step in np.random.default_rng(0).integers(0, 30, 60).tolist():
            assert torch.equal(loader.get(step)["main"].views["a"], expected[step])


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_memory_stays_flat_over_epochs(table):
    """A leak of one batch in twenty (3 MB) would be seen."""
    view = View(size=256)
    steps = 40  # per round: more than ten passes over the pile

    def resident():
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE") / 1e6

    with Loader(
        table, [StreamPlan("main", {"a": view}, 16)], seed=0, threads=2, prefetch=3
    ) as loader:
        after = []
        for round_ in range(4):
            for step in range(round_ * steps, (round_ + 1) * steps):
                loader.get(step)
            after.append(resident())
    assert max(after[1:]) - after[0] < 4, after
