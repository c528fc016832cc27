"""Copies: the same pictures by another way, whatever happens while they are made."""

import io
import multiprocessing
import os
import resource
import shutil
import signal
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import zoo
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from foveal.data import cache
from foveal.data.cache import Tier, expected_bytes, open_cache, shrunk
from foveal.data.files import FileSource
from foveal.data.loader import BadFiles, Loader, StreamPlan, Table, ordered_views
from foveal.data.scan import scan
from foveal.data.sources import Subset, open_source
from foveal.errors import BadImage, FovealError
from foveal.views.presets import center_view
from foveal.views.spec import View

RAW, JPEG = Tier("raw", 48), Tier("jpeg", 48)
TIERS = pytest.mark.parametrize("tier", [RAW, JPEG], ids=["raw", "jpeg"])
MAIN = StreamPlan("main", {"a": View(size=24), "b": View(size=24)}, 8)


@pytest.fixture(scope="module")
def pile(tmp_path_factory):
    """Pictures of all formats, some broken; 40 to 72 pixels a side."""
    folder = tmp_path_factory.mktemp("pile") / "pile"
    zoo.make_zoo(folder, good=40)
    return folder


def read(source, i):
    """Pixels, or kind and reason."""
    try:
        return source.read(i)
    except BadImage as error:
        return error.kind, error.message


def tree(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.suffix != ".lock")


@TIERS
def test_a_copy_reads_like_its_original(pile, tmp_path, tier):
    source = open_source(pile)
    copy = open_cache(source, tier, tmp_path)
    assert len(copy) == len(source) and copy.root == source.root
    bad, untouched = 0, 0
    for i in range(len(source)):
        one, other = read(source, i), read(copy, i)
        assert copy.name(i) == source.name(i) and copy.stat(i) == source.stat(i)
        if isinstance(one, tuple):
            assert other == one  # the same kind and the same words
            bad += 1
            continue
        expected = shrunk(one, tier.short)
        assert other.dtype == np.uint8 and other.shape == expected.shape
        assert other.flags.writeable and other.flags.c_contiguous
        if tier is RAW or (expected is one and source.name(i).endswith(".jpg")):
            assert np.array_equal(other, expected)
            untouched += 1
        else:
            # What JPEG loses at this quality, with halved colour, by another encoder.
            file = io.BytesIO()
            Image.fromarray(expected).save(file, "JPEG", quality=90, subsampling="4:2:0")
            peer = np.asarray(Image.open(file)).astype(int)
            lost = np.abs(peer - expected).mean()
            assert np.abs(other.astype(int) - expected).mean() < 1.1 * lost + 0.5
    assert bad == 30 and untouched >= 3


@TIERS
def test_grey_pictures_are_kept_as_one_channel(tmp_path, tier):
    for i in range(5):
        size = (30 + 10 * i, 60)
        zoo.drawn(np.random.default_rng(i), size).convert("L").save(tmp_path / f"{i}.png")
    source = open_source(tmp_path)
    copy = open_cache(source, tier, tmp_path / "copies")
    assert source.channels == copy.channels == 1
    for i in range(5):
        difference = copy.read(i).astype(int) - shrunk(source.read(i), 48)
        assert copy.read(i).shape[2] == 1 and np.abs(difference).mean() < 4


@given(st.integers(1, 90), st.integers(1, 90), st.integers(8, 64), st.sampled_from([1, 3]))
def test_shrinking_keeps_shape_and_brightness(height, width, short, channels):
    pixels = np.random.default_rng(height * width).integers(0, 256, (height, width, channels))
    pixels = pixels.astype(np.uint8)
    small = shrunk(pixels, short)
    if min(height, width) <= short:
        assert small is pixels
        return
    assert min(small.shape[:2]) == short and small.shape[2] == channels
    assert abs(small.shape[0] / small.shape[1] / (height / width) - 1) < 0.5 / short + 1e-9
    assert abs(small.mean() - pixels.mean()) < 12
    assert np.array_equal(shrunk(np.full_like(pixels, 77), short), np.full_like(small, 77))


def test_small_pictures_lose_nothing(tmp_path):
    """JPEGs that need no shrinking are kept byte for byte, and raw copies are exact."""
    for i in range(6):
        zoo.drawn(np.random.default_rng(i), (40, 48)).save(tmp_path / f"{i}.jpg", quality=70)
    turned = Image.Exif()
    turned[274] = 6
    zoo.drawn(np.random.default_rng(9), (40, 48)).save(tmp_path / "9.jpg", exif=turned)
    source = open_source(tmp_path)
    assert source.read(6).shape == (40, 48, 3)
    jpeg = open_cache(source, JPEG, tmp_path / "copies")
    for i in range(7):
        assert jpeg.content(i) == source.content(i)
        assert np.array_equal(jpeg.read(i), source.read(i))


@TIERS
def test_batches_and_passes_from_a_copy(pile, tmp_path, tier):
    """Streams, passes and substitutes: those of the original where pixels are the same."""
    tier = Tier(tier.kind, short=80)  # nothing is shrunk
    source = open_source(pile)
    copy = open_cache(source, tier, tmp_path)
    rows = np.arange(len(source))  # the broken ones too: they are found while training
    batches, found = [], []
    for each in (source, copy):
        bad = BadFiles()
        table = Table(each, rows, np.full(len(rows), -1), stats=scan(source).stats)
        with Loader(table, [MAIN], seed=3, threads=2, bad=bad) as loader:
            got = [loader.get(s)["main"] for s in range(12)]
        with_pass = list(ordered_views(table, center_view(16), batch=32, threads=2, bad=bad))
        batches.append((got, with_pass))
        found.append([(b.name, b.kind, b.reason) for b in bad.list()])
    assert found[0] == found[1] and len(found[0]) == 30
    for one, other in zip(*(b[0] for b in batches), strict=True):
        assert torch.equal(one.index, other.index)
        assert torch.equal(one.table["a"], other.table["a"])
        if tier.kind == "raw":
            assert torch.equal(one.views["a"], other.views["a"])
    for one, other in zip(*(b[1] for b in batches), strict=True):
        assert np.array_equal(one[2], other[2])


def test_the_name_of_a_copy_follows_data_and_tier(tmp_path):
    for i in range(4):
        zoo.drawn(np.random.default_rng(i)).save(tmp_path / f"{i}.png")
    source, copies = open_source(tmp_path), tmp_path / ".copies"
    first = open_cache(source, RAW, copies)
    keys = {first.fingerprint(), source.fingerprint()}
    for tier in (JPEG, Tier("raw", 40), Tier("jpeg", 48, quality=80)):
        keys.add(open_cache(source, tier, copies).fingerprint())
    keys.add(open_cache(open_source(tmp_path, channels=1), RAW, copies).fingerprint())
    keys.add(open_cache(Subset(source, np.array([2, 0])), RAW, copies).fingerprint())
    assert len(keys) == 7
    # A changed file: another copy, with the new pixels.
    zoo.drawn(np.random.default_rng(99), (44, 44)).save(tmp_path / "2.png")
    again = open_source(tmp_path)
    changed = open_cache(again, RAW, copies)
    assert changed.fingerprint() not in keys
    assert np.array_equal(changed.read(2), again.read(2))


def test_a_copy_is_made_once(tmp_path, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (300, 12, 12, 3)).astype(np.uint8)
    said = []
    open_cache(open_source(images), RAW, tmp_path, say=said.append)
    assert len(said) == 1 and "copying 300 pictures" in said[0]
    monkeypatch.setattr(cache, "_build", None)
    copy = open_cache(open_source(images), RAW, tmp_path, say=said.append)
    assert len(said) == 1 and np.array_equal(copy.read(299), images[299])
    assert copy.stat(0) is None


def test_a_damaged_copy_is_made_again(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (20, 12, 12, 3)).astype(np.uint8)
    home = open_cache(open_source(images), RAW, tmp_path).folder
    os.truncate(home / "pixels.bin", 100)
    assert np.array_equal(open_cache(open_source(images), RAW, tmp_path).read(19), images[19])
    (home / "about.json").write_text("{")
    assert np.array_equal(open_cache(open_source(images), RAW, tmp_path).read(19), images[19])


def test_a_copy_that_shrinks_under_a_run_names_the_pictures(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (20, 12, 12, 3)).astype(np.uint8)
    copy = open_cache(open_source(images), RAW, tmp_path)
    os.truncate(copy.folder / "pixels.bin", 12 * 12 * 3 * 10)
    assert np.array_equal(copy.read(9), images[9])
    with pytest.raises(BadImage, match="ends too early"):
        copy.read(10)


class Counting(FileSource):
    """Counts reads, and can wait for a signal."""

    reads = 0
    pause = 0.0

    def read(self, i):
        self.reads += 1
        time.sleep(self.pause)
        return super().read(i)


def counting(folder, pause=0.0):
    source = open_source(folder)
    made = Counting(source.root, source.paths, source.names)
    made.pause = pause
    return made


def _slow_copy(folder, copies):
    open_cache(counting(folder, 0.005), RAW, copies, threads=1)


def test_a_killed_build_is_continued(tmp_path, monkeypatch):
    folder, copies = tmp_path / "pile", tmp_path / "copies"
    folder.mkdir()
    for i in range(60):
        zoo.drawn(np.random.default_rng(i)).save(folder / f"{i:02d}.png")
    (folder / "07.png").write_bytes(b"")
    monkeypatch.setattr(cache, "_CHUNK", 8)
    child = multiprocessing.get_context("fork").Process(target=_slow_copy, args=(folder, copies))
    child.start()
    index = copies / cache.copy_key(counting(folder), RAW) / "index.bin"
    while not (index.is_file() and index.stat().st_size > 20 * cache._ENTRY.itemsize):
        assert child.is_alive()
        time.sleep(0.002)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    # What a killed process may leave behind its last whole chunk.
    with (index.parent / "pixels.bin").open("ab") as f:
        f.write(b"half a picture")
    with index.open("ab") as f:
        f.write(b"half an entry")
    source, said = counting(folder), []
    copy = open_cache(source, RAW, copies, say=said.append)
    assert "from picture" in said[0]
    assert source.reads < 60 - 20 + cache._PEEK
    whole = open_cache(counting(folder), RAW, tmp_path / "other")
    for name in ("pixels.bin", "index.bin"):
        assert (copy.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_two_processes_make_one_copy(tmp_path):
    folder, copies = tmp_path / "pile", tmp_path / "copies"
    folder.mkdir()
    for i in range(30):
        zoo.drawn(np.random.default_rng(i)).save(folder / f"{i:02d}.png")
    sources = [counting(folder, 0.003) for _ in range(3)]
    threads = [
        threading.Thread(target=open_cache, args=(source, RAW, copies)) for source in sources
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(s.reads > 0 for s in sources) == [False, False, True]


def test_data_that_change_meanwhile_make_no_copy(tmp_path):
    for i in range(4):
        zoo.drawn(np.random.default_rng(i)).save(tmp_path / f"{i}.png")
    source = counting(tmp_path)
    source.read = lambda i: (os.utime(tmp_path / "3.png", ns=(1, 1)), FileSource.read(source, i))[1]
    with pytest.raises(FovealError, match="changed while its pictures were copied"):
        open_cache(source, RAW, tmp_path / ".copies")
    assert tree(tmp_path / ".copies") == []


def test_a_full_disk_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    images = np.zeros((50, 40, 40, 3), np.uint8)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=cache._SPARE + 1000))
    with pytest.raises(FovealError, match=r"raw copy of the pictures needs 0\.0 GB") as caught:
        open_cache(open_source(images), RAW, tmp_path)
    assert "cache.tier=jpeg" in caught.value.hint and "machine.cache_folder" in caught.value.hint
    assert tree(tmp_path) == []


def _limited_copy(folder, queue):
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    images = np.zeros((500, 40, 40, 3), np.uint8)
    try:
        open_cache(open_source(images), RAW, folder)
    except FovealError as error:
        queue.put((error.message, error.hint))


def test_a_disk_that_becomes_full_is_left_as_it_was(tmp_path):
    """A real error of the system: no file may grow beyond 100 kB."""
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_limited_copy, args=(tmp_path, queue))
    child.start()
    message, hint = queue.get(timeout=60)
    child.join()
    assert "became full" in message and "cache.tier=none" in hint
    assert tree(tmp_path) == []


@settings(deadline=None, max_examples=10)
@given(st.integers(1, 60))
def test_the_size_is_foretold(count):
    images = np.zeros((count, 30, 20, 3), np.uint8)
    assert expected_bytes(open_source(images), RAW) == count * 30 * 20 * 3


def test_no_thread_is_left(tmp_path):
    before = set(threading.enumerate())
    images = np.random.default_rng(0).integers(0, 256, (20, 12, 12, 3)).astype(np.uint8)
    open_cache(open_source(images), JPEG, tmp_path, threads=3)
    assert not set(threading.enumerate()) - before
