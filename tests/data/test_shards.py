"""Tar shards: pictures at their offsets, and damage that is named."""

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import zoo
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.core import files
from foveal.data import shards
from foveal.data.loader import Loader, StreamPlan, Table
from foveal.data.scan import scan
from foveal.data.shards import open_shards
from foveal.data.sources import open_source
from foveal.errors import BadImage, FovealError
from foveal.views.spec import View


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Indices are kept in a folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "foveal" / "shards"


def picture(seed, kind="PNG", size=None):
    return zoo.encoded(zoo.drawn(np.random.default_rng(seed), size), kind)


def write(path, members, format=tarfile.PAX_FORMAT):
    with tarfile.open(path, "w", format=format) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def folder(tmp_path):
    """Three shards of eight pictures with classes."""
    path = tmp_path / "shards"
    path.mkdir()
    for s in range(3):
        members = []
        for i in range(8):
            key = f"{s:02d}{i:04d}"
            members += [(f"{key}.png", picture(10 * s + i)), (f"{key}.cls", b"%d\n" % (i % 3 + 9))]
            members.append((f"{key}.json", b"{}"))
        write(path / f"train-{s:03d}.tar", members)
    return path


@pytest.mark.parametrize("way", ["folder", "glob", "braces"])
def test_a_shard_holds_what_was_put_there(folder, way):
    text = {"folder": "", "glob": "/*.tar", "braces": "/train-{000..002}.tar"}[way]
    source = open_source(f"{folder}{text}")
    assert len(source) == 24 and source.channels == 3 and source.ignored == {".json": 24}
    # By number, not by text: 9 comes before 10.
    assert source.classes == ["9", "10", "11"]
    assert source.labels.tolist() == [i % 3 for i in range(8)] * 3
    for i in (0, 7, 8, 23):
        content = picture(10 * (i // 8) + i % 8)
        assert source.content(i) == content
        assert source.name(i) == f"train-{i // 8:03d}.tar/{i // 8:02d}{i % 8:04d}.png"
        assert np.array_equal(source.read(i), source.picture(i)[0].pixels)
    assert len(open_source(folder / "train-001.tar")) == 8
    report = scan(source)
    assert len(report.good) == 24 and report.formats == {"PNG": 24}


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_all_tar_formats(tmp_path, format):
    long = "/".join(["a" * 60, "b" * 60, f"{'c' * 90}.png"])
    names = ["plain.png", "Été/図.jpg", long]
    if format == tarfile.USTAR_FORMAT:
        names = ["plain.png", "a/b.jpg", "c" * 90 + ".png"]
    write(tmp_path / "x.tar", [(n, picture(i)) for i, n in enumerate(names)], format)
    source = open_source(tmp_path / "x.tar")
    assert [source.name(i) for i in range(3)] == [f"x.tar/{n}" for n in names]
    assert [source.content(i) for i in range(3)] == [picture(i) for i in range(3)]


def test_the_index_is_made_once_and_again_when_the_shard_changes(folder, home, monkeypatch):
    first = open_source(folder)
    assert len(list(home.glob("*.npz"))) == 3
    walked = []
    walk = shards._walk
    monkeypatch.setattr(shards, "_walk", lambda *a: (walked.append(a[0].name), walk(*a))[1])
    again = open_source(folder)
    assert walked == [] and again.fingerprint() == first.fingerprint()
    assert [again.name(i) for i in range(24)] == [first.name(i) for i in range(24)]
    assert again.labels.tolist() == first.labels.tolist() and again.ignored == first.ignored
    write(folder / "train-001.tar", [("new.png", picture(99))])
    changed = open_source(folder)
    assert walked == ["train-001.tar"] and len(changed) == 17
    assert changed.fingerprint() != first.fingerprint()
    assert changed.labels.tolist()[8] == -1


def test_streams_over_shards(folder):
    source = open_source(folder)
    rows = np.arange(24)
    table = Table(source, rows, source.labels, stats=scan(source).stats)
    plan = StreamPlan("main", {"a": View(size=16)}, 8)
    runs = []
    for threads in (1, 3):
        with Loader(table, [plan], seed=0, threads=threads) as loader:
            runs.append([loader.get(s)["main"].views["a"].clone() for s in range(6)])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
    # A shard written anew during a run: its pictures are changed, not silently others.
    os.utime(folder / "train-000.tar", ns=(1, 1))
    with pytest.raises(BadImage, match="changed after the scan"):
        table.read(3)
    (folder / "train-001.tar").unlink()
    with pytest.raises(BadImage, match="is gone"):
        table.read(9)
    table.read(17)


def test_links_and_names_that_climb_are_harmless(tmp_path, folder):
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind in (("a.jpg", tarfile.SYMTYPE), ("b.jpg", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        pipe = tarfile.TarInfo("c.jpg")
        pipe.type = tarfile.FIFOTYPE
        tar.addfile(pipe)
        info = tarfile.TarInfo("../../climbs.png")
        info.size = len(picture(0))
        tar.addfile(info, io.BytesIO(picture(0)))
    before = sorted(tmp_path.rglob("*.png"))
    source = open_source(path)
    assert len(source) == 1 and source.ignored == {"link or device": 3}
    assert source.read(0).shape[2] == 3
    assert sorted(tmp_path.rglob("*.png")) == before


def test_a_shard_that_was_cut_off_gives_what_it_holds(folder):
    path = folder / "train-000.tar"
    whole = open_source(path)
    at = int(whole._offset[5]) + 10
    os.truncate(path, at)
    cut = open_source(path)
    assert len(cut) == 7
    assert [cut.content(i) for i in range(5)] == [picture(i) for i in range(5)]
    for i in (5, 6):
        with pytest.raises(BadImage) as caught:
            cut.read(i)
        assert caught.value.kind == "truncated"
    assert cut.name(6) == "train-000.tar/(all that follows)"
    assert [b.kind for b in scan(cut).bad] == ["truncated", "truncated"]


def test_a_damaged_header_does_not_hide_what_follows(folder):
    path = folder / "train-000.tar"
    at = int(open_source(path)._offset[4]) - 512
    data = bytearray(path.read_bytes())
    data[at : at + 100] = b"\xff" * 100
    path.write_bytes(data)
    found = open_source(path)
    assert len(found) == 5
    with pytest.raises(BadImage, match="cut off or damaged"):
        found.read(4)
    assert found.name(4).endswith("(all that follows)")


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_whatever_is_overwritten_gives_pictures_or_names(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("fuzz") / "x.tar"
    write(path, [(f"{i}.png", picture(i, size=(40, 40))) for i in range(3)])
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    what = data.draw(st.binary(min_size=1, max_size=700))
    content[at : at + len(what)] = what
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        source = open_shards(str(path), path, path.parent / "index")
    except FovealError as error:
        assert error.hint
        return
    for i in range(len(source)):
        try:
            assert source.read(i).dtype == np.uint8
        except BadImage as error:
            assert error.kind and error.message


def test_what_cannot_be_read_is_told_to_a_person(tmp_path, folder):
    packed = tmp_path / "packed"
    packed.mkdir()
    (packed / "a.tar.gz").write_bytes(b"\x1f\x8b")
    (tmp_path / "no.tar").write_bytes(b"this is no tar file" * 100)
    write(tmp_path / "text.tar", [("a.txt", b"x"), ("b.json", b"{}")])
    for text, says in (
        (packed, "is compressed: a picture in it cannot be found"),
        (tmp_path / "no.tar", "cannot be read as a tar file"),
        (tmp_path / "text.tar", r"holds no pictures \(other members: 1 .json, 1 .txt\)"),
        (f"{folder}/train-{{000..004}}.tar", "train-003.tar does not exist"),
        (f"{folder}/train-{{002..000}}.tar", "counts backwards"),
        (f"{folder}/none-*.tar", "no file matches"),
    ):
        with pytest.raises(FovealError, match=says) as caught:
            open_source(text)
        assert caught.value.hint


def test_a_folder_of_pictures_stays_one(folder):
    Path(folder / "a.png").write_bytes(picture(0))
    source = open_source(folder)
    assert len(source) == 1 and source.ignored == {".tar": 3}


def test_the_cache_folder_follows_the_system(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert files.cache_home() == Path.home() / ".cache" / "foveal"
