"""Scaled decoding, and the choice of a tier."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import zoo
from PIL import Image

from foveal.data import tiers
from foveal.data.masked import MaskedSource
from foveal.data.sources import Subset, open_source
from foveal.data.tiers import ScaledSource, choose_kind, read_through
from foveal.errors import FovealError

BIG = 10**15


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for i in range(6):
        picture = zoo.drawn(np.random.default_rng(i), (400, 300))
        picture.save(folder / f"{i}.jpg", quality=95)
    zoo.drawn(np.random.default_rng(8), (400, 300)).save(folder / "8.png")
    (folder / "9.jpg").write_bytes(b"")
    return folder


def test_scaled_decoding_reads_fewer_pixels_of_the_same_picture(photos):
    source = open_source(photos)
    scaled = ScaledSource(source, 64)
    assert scaled.fingerprint() not in (
        source.fingerprint(),
        ScaledSource(source, 65).fingerprint(),
    )
    for i in range(6):
        pixels, whole = scaled.read(i), source.read(i)
        assert pixels.shape == (75, 100, 3)  # a quarter: an eighth would be below 64
        box = Image.fromarray(whole).resize((100, 75), Image.Resampling.BOX)
        assert np.abs(pixels.astype(int) - np.asarray(box)).mean() < 2
    assert np.array_equal(scaled.read(6), source.read(6))  # a PNG has no DCT
    assert scaled.content(0) == source.content(0) and scaled.stat(7) == source.stat(7)
    with pytest.raises(Exception, match="no bytes"):
        scaled.read(7)
    assert ScaledSource(source, 300).read(0).shape == (300, 400, 3)


def test_arrays_and_subsets_may_be_scaled(photos):
    images = np.zeros((3, 20, 20, 3), np.uint8)
    assert ScaledSource(open_source(images), 8).read(1).shape == (20, 20, 3)
    part = ScaledSource(Subset(open_source(photos), np.array([3, 1])), 64)
    assert len(part) == 2 and part.read(1).shape == (75, 100, 3) and part.name(0) == "3.jpg"


def through(source, folder, **changes):
    options = {"kind": "none", "short": 64, "quality": 90, "scaled": False, **changes}
    return read_through(source, folder=folder, **options)


def test_tiers_combine_with_scaled_decoding(photos, tmp_path):
    source = open_source(photos)
    assert through(source, tmp_path) is source
    assert through(source, tmp_path, scaled=True).read(0).shape == (75, 100, 3)
    keys = set()
    for kind in ("raw", "jpeg"):
        for scaled in (False, True):
            found = through(source, tmp_path, kind=kind, scaled=scaled)
            assert found.read(0).shape == (64, 85, 3)
            keys.add(found.fingerprint())
    assert len(keys) == 4


def test_masks_are_not_shrunk_beside(photos, tmp_path):
    names = ["name", "shot", "foreground", "border", "top", "left", "height", "width"]
    row = {n: "0" for n in [*names, "frame_height", "frame_width"]}
    source = MaskedSource("clips", photos, [row])
    for tier in ({"kind": "raw"}, {"scaled": True}):
        with pytest.raises(FovealError, match="masks and boxes of clips count in pixels"):
            through(source, tmp_path, **tier)
    assert through(source, tmp_path) is source
    assert choose_kind(source, 64, tmp_path) == ("none", "masks count in pixels of the frames")


@pytest.mark.parametrize(
    ("memory", "free", "kind", "why"),
    [
        (BIG, BIG, "raw", "stay in memory"),
        (1000, BIG, "jpeg", "raw pixels would be"),
        (BIG, 1000, "none", "would fill the disk"),
    ],
)
def test_auto_follows_memory_and_disk(photos, tmp_path, monkeypatch, memory, free, kind, why):
    monkeypatch.setattr(tiers, "available_memory", lambda: memory)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    found, reason = choose_kind(open_source(photos), 64, tmp_path / "not" / "there")
    assert found == kind and why in reason


def test_auto_copies_nothing_that_gains_nothing(photos, tmp_path, monkeypatch):
    images = np.zeros((30, 20, 20, 3), np.uint8)
    kind, why = choose_kind(open_source(images), 64, tmp_path)
    assert kind == "none" and "not encoded" in why
    monkeypatch.setattr(tiers, "available_memory", lambda: 0)
    kind, why = choose_kind(open_source(photos / "*.jpg"), 300, tmp_path)
    assert kind == "none" and "the files take" in why
