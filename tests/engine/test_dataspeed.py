"""``foveal bench data``: what it measures is there, what it says follows from that."""

import json
import sys

import numpy as np
import pytest
import zoo

import foveal
from foveal import cli
from foveal.engine import dataspeed
from foveal.engine.dataspeed import TierSpeed, render
from foveal.errors import FovealError


@pytest.fixture(scope="module")
def pile(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pile")
    for i in range(12):
        zoo.drawn(np.random.default_rng(i), (300, 200)).save(folder / f"{i:02d}.jpg")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff half a picture")
    return folder


def typed(capsys, monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["foveal", *map(str, words)])
    try:
        cli.main()
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    out = capsys.readouterr()
    return status, out.out, out.err


def test_every_stage_is_measured(capsys, monkeypatch, pile):
    status, out, _ = typed(capsys, monkeypatch, "bench", "data", pile, "--json")
    found = json.loads(out)
    assert status == 0
    assert found["pictures"] == 13 and found["looked_at"] == 12 and found["unreadable"] == 1
    assert found["size"] == 64 and found["views"] == 2 and found["in_memory"]
    stages = ("disk_ms", "memory_ms", "decode_ms", "views_ms", "copy_ms", "per_s", "kilobytes")
    assert all(found[name] > 0 for name in stages)
    assert [t["tier"] for t in found["tiers"]] == ["raw", "jpeg"]
    raw = found["tiers"][0]
    # 200 px stay as they are: the size of a raw copy is that of all pixels.
    assert raw["gigabytes"] == pytest.approx(13 * 200 * 300 * 3 / 1e9)
    assert raw["ms"] > 0 and found["bound"] in ("disk", "decode", "views", "copy")
    assert list(pile.iterdir()) and len(list(pile.iterdir())) == 13  # nothing was written there


def test_it_is_told_in_words(capsys, monkeypatch, pile):
    status, out, _ = typed(capsys, monkeypatch, "bench", "data", pile, "--size", "32")
    assert status == 0
    for words in ("2 SimCLR views of 32 px", "What bounds it:", "cache.tier=raw", "1 unreadable"):
        assert words in out


def test_arrays_have_no_files(monkeypatch):
    found = foveal.bench_data(np.zeros((9, 20, 20), np.uint8))
    assert found.disk_ms is None and found.memory_ms is None and found.tiers == []
    assert found.decode_ms > 0 and found.size == 32
    assert "array: 9 pictures, 9 measured" in render(found)


SLOW = TierSpeed("raw", 1.0, 5.0, 170.0, False)
QUICK = TierSpeed("jpeg", 2.0, 2.5, 22.0, True)


@pytest.mark.parametrize(
    ("ms", "in_memory", "bound", "says"),
    [
        ((9.0, 0.1, 2.0, 1.0, 0.1), False, "disk", "local disk"),
        ((9.0, 0.1, 2.0, 1.0, 0.1), True, "decode", "decoding (65% of the time)"),
        ((0.1, 0.1, 1.0, 4.0, 0.1), True, "views", "smaller views than 64 px"),
        ((0.1, 0.1, 1.0, 2.0, 3.0), True, "copy", "loader threads would not help"),
    ],
)
def test_what_bounds_it_is_named(ms, in_memory, bound, says):
    measured = dict(zip(("disk", "memory", "decode", "views", "copy"), ms, strict=True))
    assert dataspeed._bound(measured, in_memory, threads=2) == bound
    words = " ".join(dataspeed._words(bound, measured, in_memory, 100.0, [SLOW, QUICK], 64))
    assert says in words
    # The tier that fits into memory is the one to name.
    assert "cache.tier=jpeg would" in words.replace(" (foveal pretrain ... cache.tier=jpeg)", "")
    assert "cache.tier=raw" not in words
    little = [TierSpeed("raw", 1.0, 1.1, 1.0, True)]
    assert "would not help much" in " ".join(
        dataspeed._words(bound, measured, in_memory, 100.0, little, 64)
    )


def test_nothing_to_measure_is_told_to_a_person(capsys, monkeypatch, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    status, _, err = typed(capsys, monkeypatch, "bench", "data", tmp_path)
    assert status == 2 and "holds no pictures (other files: 1 .txt)" in err
    (tmp_path / "a.jpg").write_bytes(b"")
    status, _, err = typed(capsys, monkeypatch, "bench", "data", tmp_path)
    assert status == 2 and "a.jpg: the file holds no bytes" in err and "foveal scan" in err
    with pytest.raises(FovealError, match="does not exist"):
        foveal.bench_data(tmp_path / "nowhere")
