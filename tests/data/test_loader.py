"""The loader: what a batch holds depends on the seed and the data, on nothing else."""

import os
import threading
import time
from collections import Counter
from concurrent.futures import wait
from dataclasses import replace

import numpy as np
import pytest
import torch
import zoo
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.core import rng
from foveal.data.loader import BadFiles, Loader, StreamPlan, Table, ordered_views
from foveal.data.scan import scan
from foveal.data.sources import open_source
from foveal.errors import BadImage, FovealError
from foveal.views.make import make_view
from foveal.views.presets import byol_views, center_view
from foveal.views.spec import Crop, Jitter, Tiles, View
from foveal.views.table import COLUMN

FIRST, SECOND = (v.resized(16) for v in byol_views(40))
MAIN = StreamPlan("main", {"a": FIRST, "b": SECOND}, 8)


@pytest.fixture(scope="module")
def table():
    images = np.random.default_rng(0).integers(0, 256, (37, 20, 24, 3)).astype(np.uint8)
    label = np.where(np.arange(37) % 3 == 0, np.arange(37) % 4, -1)
    targets = {"soft": np.random.default_rng(1).random((37, 5), np.float32)}
    return Table(open_source(images), np.arange(37), label, targets=targets)


@pytest.fixture
def folder(tmp_path):
    """Twelve pictures, scanned, as a table."""
    for i in range(12):
        zoo.drawn(np.random.default_rng(i), (24, 20)).save(tmp_path / f"{i:02d}.png")
    source = open_source(tmp_path)
    report = scan(source)
    assert len(report.good) == 12
    table = Table(source, report.good, np.full(12, -1), stats=report.stats)
    return tmp_path, table


def load(table, steps, streams=(MAIN,), *, seed=0, threads=2, **options):
    with Loader(table, streams, seed=seed, threads=threads, **options) as loader:
        return [loader.get(s) for s in steps]


def same(one, other):
    assert one.keys() == other.keys()
    for name, x in one.items():
        y = other[name]
        assert x.views.keys() == y.views.keys()
        for view in x.views:
            assert torch.equal(x.views[view], y.views[view])
            assert torch.equal(x.table[view], y.table[view])
        for field in ("index", "position", "label"):
            assert torch.equal(getattr(x, field), getattr(y, field))
        for target in x.targets:
            assert torch.equal(x.targets[target], y.targets[target])
        assert (x.seed, x.stream, x.step) == (y.seed, y.stream, y.step)


@pytest.fixture(scope="module")
def plain(table):
    return load(table, range(10), threads=1, prefetch=0)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("prefetch", [0, 1, 6])
def test_threads_and_prefetch_change_nothing(table, plain, threads, prefetch):
    for one, other in zip(
        plain, load(table, range(10), threads=threads, prefetch=prefetch), strict=True
    ):
        same(one, other)


@settings(deadline=None, max_examples=15)
@given(steps=st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_any_step_can_be_asked_for(table, plain, steps):
    for step, batch in zip(steps, load(table, steps), strict=True):
        same(plain[step], batch)


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_hold_consecutive_parts(table, plain, world):
    parts = [load(table, range(10), rank=r, world=world) for r in range(world)]
    for step in range(10):
        whole = plain[step]["main"]
        for r in range(world):
            n = 8 // world
            local = whole.rows(r * n, (r + 1) * n)
            same({"main": local}, {"main": parts[r][step]["main"]})


def test_the_batch_size_only_cuts_the_stream(table, plain):
    other = load(table, range(5), [StreamPlan("main", MAIN.views, 16)])
    for i, big in enumerate(other):
        for half in (0, 1):
            small = plain[2 * i + half]["main"]
            cut = big["main"].rows(8 * half, 8 * half + 8)
            assert torch.equal(cut.views["b"], small.views["b"])
            assert torch.equal(cut.index, small.index)


def test_a_batch_is_what_it_says(table, plain):
    source = table.source
    for step, batch in enumerate(plain):
        b = batch["main"]
        assert b.position.tolist() == list(range(8 * step, 8 * step + 8))
        assert b.views["a"].shape == (8, 16, 16, 3) and b.views["a"].dtype == torch.uint8
        assert torch.equal(b.label, torch.from_numpy(table.label[b.index]))
        assert np.array_equal(b.targets["soft"], table.targets["soft"][b.index])
        for slot in (0, 5):
            out = np.empty((16, 16, 3), np.uint8)
            rows = np.empty((1, len(COLUMN)), np.float32)
            key = rng.key(0, "view", "main", "b")
            image = source.read(int(b.index[slot]))
            make_view(SECOND, image, key, int(b.position[slot]), rows, out)
            assert np.array_equal(b.views["b"][slot], out)
            assert np.array_equal(b.table["b"][slot], rows)
    epoch = torch.cat([batch["main"].index for batch in plain])
    assert torch.equal(epoch[:37].sort().values, torch.arange(37))


def test_seeds_and_streams_give_other_batches(table, plain):
    other = load(table, [0], seed=1)[0]["main"]
    assert not torch.equal(other.index, plain[0]["main"].index)
    named = load(table, [0], [StreamPlan("extra", MAIN.views, 8)])[0]["extra"]
    assert not torch.equal(named.index, plain[0]["main"].index)
    assert not torch.equal(named.table["a"], plain[0]["main"].table["a"])


def test_streams_are_drawn_when_due(table):
    streams = [
        MAIN,
        StreamPlan("labelled", {"x": center_view(16)}, 4, every=(3, 1), labelled=True),
    ]
    batches = load(table, range(12), streams)
    assert [s for s, b in enumerate(batches) if "labelled" in b] == [1, 4, 7, 10]
    positions = torch.cat([b["labelled"].position for b in batches if "labelled" in b])
    assert positions.tolist() == list(range(16))
    drawn = torch.cat([b["labelled"].index for b in batches if "labelled" in b])
    assert (table.label[drawn] >= 0).all()
    members = np.flatnonzero(table.label >= 0)
    assert sorted(drawn[: len(members)].tolist()) == members.tolist()
    with pytest.raises(FovealError, match="draws labelled samples; there are none"):
        load(Table(table.source, table.image, np.full(37, -1)), [0], streams)


@given(st.integers(1, 6), st.integers(0, 5), st.integers(0, 40))
def test_draws_count_the_steps_due(period, offset, step):
    plan = StreamPlan("s", {}, 4, every=(period, offset % period))
    assert plan.draws(step) == sum(plan.due(s) for s in range(step))


def test_like_uses_the_draws_of_another_view(table):
    coloured = View(size=16, jitter=Jitter(p=1.0, brightness=0.4))
    views = {
        "a": coloured,
        "plain": coloured.model_copy(update={"jitter": None, "like": "a"}),
        "free": coloured,
    }
    batch = load(table, [3], [StreamPlan("main", views, 8)])[0]["main"]
    geometry = slice(0, COLUMN["flip"] + 1)
    assert torch.equal(batch.table["a"][..., geometry], batch.table["plain"][..., geometry])
    assert not torch.equal(batch.table["a"][..., geometry], batch.table["free"][..., geometry])
    # Brightness is the only operation: undoing it gives the plain view, but for what was clipped.
    for slot in range(8):
        factor = float(batch.table["a"][slot, 0, COLUMN["brightness"]])
        expected = (batch.views["plain"][slot] * factor).clamp(max=255)
        assert (batch.views["a"][slot] - expected).abs().max() <= 0.5 * factor + 0.51
    for wrong in ("nothing", "plain"):
        bad = {**views, "free": coloured.model_copy(update={"like": wrong})}
        with pytest.raises(FovealError, match=f"'free' is like '{wrong}'"):
            load(table, [0], [StreamPlan("main", bad, 8)])


def test_tiles_come_as_a_batch_of_tiles(table):
    tiles = View(size=18, tiles=Tiles(rows=2, columns=2, stride=9, size=6, jitter=3))
    batch = load(table, [0], [StreamPlan("main", {"t": tiles}, 4)])[0]["main"]
    assert batch.views["t"].shape == (4, 4, 6, 6, 3)
    assert batch.table["t"].shape == (4, 5, len(COLUMN))
    assert batch.images("t").shape == (4, 4, 3, 6, 6)


def test_new_groups_discard_what_was_prepared(table):
    groups = np.where(np.arange(37) < 30, -1, np.arange(37) % 2)
    with Loader(table, [MAIN], seed=0, threads=2, prefetch=4) as loader:
        before = [loader.get(s)["main"].index for s in range(3)]
        loader.set_groups(groups)
        after = [loader.get(s)["main"].index for s in range(3, 8)]
        loader.set_groups(None)
        again = loader.get(2)["main"].index
    assert min(torch.cat(after).tolist()) >= 30
    assert torch.equal(again, before[2])
    counts = Counter((torch.cat(after) % 2).tolist())
    assert abs(counts[0] - counts[1]) <= 8


class Counting:
    """A source that counts what is read of it, after a while where reading is slow."""

    def __init__(self, source, seconds=0.0):
        self.source, self.seconds, self.reads = source, seconds, 0

    def __getattr__(self, name):
        return getattr(self.source, name)

    def read(self, i):
        self.reads += 1
        time.sleep(self.seconds)
        return self.source.read(i)


def test_in_turn_nothing_is_read_while_the_network_computes(table, plain, monkeypatch):
    # However little these tiny samples compute: threads of a crowded machine wait for cores too.
    monkeypatch.setattr("foveal.data.loader._BUSY", -1.0)
    source = Counting(table.source)
    with Loader(replace(table, source=source), [MAIN], seed=0, threads=2, in_turn=True) as loader:
        for step in range(4):
            same(loader.get(step), plain[step])
            time.sleep(0.02)
            assert source.reads == 8 * (step + 1)


def test_in_turn_a_slow_disk_is_read_ahead(table, plain):
    source = Counting(table.source, seconds=0.01)
    with Loader(
        replace(table, source=source), [MAIN], seed=0, threads=2, prefetch=2, in_turn=True
    ) as loader:
        for step in range(4):
            same(loader.get(step), plain[step])
        wait([f for _, p in loader._ahead for part in p.parts.values() for f in part.futures])
    assert source.reads == 8 * 6


def test_a_batch_must_divide_by_the_ranks(table):
    with pytest.raises(FovealError, match="does not divide by 3 ranks") as caught:
        load(table, [0], world=3)
    assert caught.value.hint == "batch=9"


def test_unreadable_files_are_replaced_and_named(folder):
    path, table = folder
    clean = load(table, range(3))
    for name in ("03.png", "07.png"):
        content = bytearray((path / name).read_bytes())
        stat = os.stat(path / name)
        content[60] ^= 0xFF
        (path / name).write_bytes(content)
        os.utime(path / name, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as a rotten disk does
    bad = BadFiles()
    batches = load(table, range(3), bad=bad)
    assert [(b.name, b.kind) for b in bad.list()] == [("03.png", "damaged"), ("07.png", "damaged")]
    replaced = 0
    for one, other in zip(clean, batches, strict=True):
        for slot in range(8):
            was, now = int(one["main"].index[slot]), int(other["main"].index[slot])
            assert now not in (3, 7)
            if was in (3, 7):
                replaced += 1
                key = rng.key(0, "view", "main", "a")
                out, rows = np.empty((16, 16, 3), np.uint8), np.empty((1, len(COLUMN)), np.float32)
                position = int(one["main"].position[slot])
                make_view(FIRST, table.read(now)[0], key, position, rows, out)
                assert np.array_equal(other["main"].views["a"][slot], out)
            else:
                assert was == now
                assert torch.equal(one["main"].views["a"][slot], other["main"].views["a"][slot])
    assert replaced >= 4
    # The same substitutes whatever the threads and ranks.
    for r in range(2):
        part = load(table, range(3), threads=4, rank=r, world=2)
        for whole, half in zip(batches, part, strict=True):
            same({"main": whole["main"].rows(4 * r, 4 * r + 4)}, half)


def test_substitutes_come_from_the_groups_in_force(folder):
    path, table = folder
    (path / "03.png").unlink()
    groups = np.full(12, -1)
    groups[[3, 4, 5]] = 0
    with Loader(table, [MAIN], seed=0, threads=2) as loader:
        loader.set_groups(groups)
        drawn = torch.cat([loader.get(s)["main"].index for s in range(6)])
    assert set(drawn.tolist()) == {4, 5}
    assert [(b.name, b.kind) for b in loader.bad.list()] == [("03.png", "missing")]


def test_files_that_changed_since_the_scan_are_caught(folder):
    path, table = folder
    zoo.drawn(np.random.default_rng(99), (24, 20)).save(path / "02.png")
    os.utime(path / "05.png", ns=(1, 1))
    (path / "08.png").unlink()
    kinds = {}
    for i in range(12):
        try:
            table.read(i)
        except BadImage as error:
            kinds[i] = error.kind
    assert kinds == {2: "changed", 5: "changed", 8: "missing"}


def test_a_dead_disk_ends_the_run_with_a_name(folder):
    path, table = folder
    for file in path.glob("*.png"):
        file.unlink()
    with pytest.raises(FovealError, match="100 pictures in a row") as caught:
        load(table, [0])
    assert "disk" in caught.value.hint


def test_regions_of_pictures(table):
    box = np.tile(np.array([2, 3, 10, 8], np.float32), (37, 1))
    box[4] = (-2, 20, 6, 9)  # hangs over the edge
    box[5] = (50, 3, 4, 4)
    regions = Table(table.source, table.image, table.label, box=box)
    whole = table.source.read(1)
    assert np.array_equal(regions.read(1)[0], whole) and regions.read(1)[1] == (2, 3, 10, 8)
    assert regions.read(4)[1] == (0, 20, 4, 4)
    with pytest.raises(BadImage, match="holds no pixels"):
        regions.read(5)
    view = center_view(8)
    batch = load(regions, [0], [StreamPlan("main", {"v": view}, 8)])[0]["main"]
    for slot, index in enumerate(batch.index.tolist()):
        pixels, (top, left, height, width) = regions.read(index)
        out, rows = np.empty((8, 8, 3), np.uint8), np.empty((1, len(COLUMN)), np.float32)
        cut = pixels[top : top + height, left : left + width]
        make_view(view, cut, rng.key(0, "view", "main", "v"), 0, rows, out)
        assert np.array_equal(batch.views["v"][slot], out)


def test_the_next_batches_are_made_while_nobody_asks(table):
    """What hides the loader behind forward and backward: no call is needed meanwhile."""
    with Loader(table, [MAIN], seed=0, threads=1, prefetch=3) as loader:
        loader.get(4)
        ahead = list(loader._ahead)
        assert [step for step, _ in ahead] == [5, 6, 7]
        futures = [f for _, pending in ahead for p in pending.parts.values() for f in p.futures]
        assert futures and not wait(futures, timeout=60).not_done
        loader.get(5)
        assert [step for step, _ in loader._ahead] == [6, 7, 8]


def test_nothing_is_left_running(table):
    before = set(threading.enumerate())
    loader = Loader(table, [MAIN], seed=0, threads=3, prefetch=5)
    loader.get(0)
    started = set(threading.enumerate()) - before
    assert started and all(t.name.startswith("foveal-loader") for t in started)
    loader.close()
    assert not set(threading.enumerate()) - before
    with pytest.raises(ZeroDivisionError), Loader(table, [MAIN], seed=0, threads=2) as loader:
        loader.get(0)
        raise ZeroDivisionError
    assert not set(threading.enumerate()) - before
    passing = ordered_views(table, center_view(8), batch=4, threads=2)
    next(passing)
    passing.close()
    assert not set(threading.enumerate()) - before


def test_an_error_in_a_thread_reaches_the_caller(table, monkeypatch):
    def fail(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr("foveal.data.loader.make_view", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        load(table, [0])


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("rows", [None, [30, 2, 7, 2]])
def test_a_pass_goes_in_row_order(table, threads, rows):
    rows = None if rows is None else np.array(rows)
    view = View(size=20, crop=Crop(kind="center", fraction=1.0), flip=0.0)
    seen, pixels = [], []
    for some, views, ok in ordered_views(table, view, batch=10, threads=threads, rows=rows):
        assert ok.all() and len(views) == len(some) <= 10
        seen += some.tolist()
        pixels.append(views)
    assert seen == (list(range(37)) if rows is None else rows.tolist())
    expected = np.stack([table.read(i)[0][:, 2:22] for i in seen])
    assert np.array_equal(torch.cat(pixels), expected)


def test_a_pass_marks_what_cannot_be_read(folder):
    path, table = folder
    (path / "04.png").unlink()
    bad = BadFiles()
    got = list(ordered_views(table, center_view(8), batch=5, threads=2, bad=bad))
    ok = np.concatenate([g[2] for g in got])
    assert np.flatnonzero(~ok).tolist() == [4]
    assert (torch.cat([g[1] for g in got])[4] == 0).all()
    assert [b.name for b in bad.list()] == ["04.png"]


def test_grey_pictures_stay_one_channel():
    table = Table(open_source(np.full((9, 12, 12), 77, np.uint8)), np.arange(9), np.full(9, -1))
    batch = load(table, [0], [StreamPlan("main", {"v": View(size=8)}, 8)])[0]["main"]
    assert batch.views["v"].shape == (8, 8, 8, 1) and (batch.views["v"] == 77).all()
