"""The scan: what is there, what is broken and why, what is there twice."""

import csv
import io
import json
import os

import numpy as np
import pytest
import zoo
from PIL import Image
from rich.console import Console

from foveal.data import duplicates
from foveal.data import scan as module
from foveal.data.badfiles import BadFile, check_bad_share, write_bad_files
from foveal.data.scan import render, scan
from foveal.data.sources import open_source
from foveal.errors import FovealError


@pytest.fixture(scope="module")
def park(tmp_path_factory):
    path = tmp_path_factory.mktemp("zoo")
    return path, zoo.make_zoo(path, good=500)


@pytest.fixture(scope="module")
def report(park):
    return scan(park[0])


def test_exactly_the_thirty_are_named_each_with_its_kind(park, report):
    _, (good, bad) = park
    assert sum(len(names) for names in bad.values()) == 30 and len(bad) == 10
    found = {}
    for b in report.bad:
        found.setdefault(b.kind, []).append(b.name)
    assert {kind: sorted(names) for kind, names in found.items()} == bad
    source = open_source(park[0])
    assert sorted(source.name(i) for i in report.good) == good
    assert report.count == 530 and report.scanned == 530
    assert report.bad_kinds() == dict.fromkeys(bad, 3)
    assert len({b.reason for b in report.bad}) >= 10


def test_what_the_good_ones_are(park, report):
    assert set(report.formats) == {"JPEG", "PNG", "WEBP", "TIFF", "BMP", "DIB", "GIF"}
    assert set(report.modes) == {"RGB", "grey", "CMYK", "palette", "RGBA"}
    assert sum(report.formats.values()) == sum(report.modes.values()) == 500
    assert report.bits == {8: 500}
    assert report.channels == 3 and report.classes is None
    assert report.ignored == {".txt": 1}
    source = open_source(park[0])
    for i in report.good[::41]:
        pixels = source.read(int(i))
        assert pixels.shape == (*report.sizes[i], 3)
    bad = np.setdiff1d(np.arange(530), report.good)
    assert (report.sizes[bad] == 0).all()
    assert 40 <= report.short_side <= 72
    for i in report.good[:5]:
        found = os.stat(source.paths[i])
        assert report.stats[i].tolist() == [found.st_size, found.st_mtime_ns]


def test_mean_and_deviation_are_those_of_the_pixels(park, report):
    source = open_source(park[0])
    mean, square = np.zeros(3), np.zeros(3)
    for i in report.good:
        x = source.read(int(i)) / 255
        mean += x.mean(axis=(0, 1)) / 500
        square += (x**2).mean(axis=(0, 1)) / 500
    assert np.allclose(report.mean, mean, atol=1e-9)
    assert np.allclose(report.std, np.sqrt(square - mean**2), atol=1e-9)


def test_the_report_does_not_depend_on_threads(park, report, monkeypatch):
    monkeypatch.setattr(module, "available_cores", lambda: 7)
    again = scan(park[0])
    assert again.mean == report.mean and again.std == report.std
    assert json.dumps(again.to_json()) == json.dumps(report.to_json())


def test_json_is_small_and_complete(park, report):
    found = report.to_json()
    assert list(found) == [
        "data", "count", "readable", "unreadable", "scanned", "bytes", "formats", "modes", "bits",
        "channels", "height", "width", "short_side", "mean", "std", "classes", "class_counts",
        "classes_used_for", "exact_duplicates", "near_duplicates", "bad", "bad_kinds", "ignored",
    ]  # fmt: skip
    for key in found:
        assert f"``{key}``" in report.to_json.__doc__
    text = json.dumps(found, allow_nan=False)
    assert len(text) < 10_000
    assert json.loads(text) == found
    assert {b["name"] for b in found["bad"]} == {n for names in park[1].bad.values() for n in names}
    assert found["readable"] == 500 and found["unreadable"] == 30


def test_the_terminal_names_every_broken_file_whole(park, report):
    file = io.StringIO()
    Console(file=file, width=200).print(render(report))
    text = file.getvalue()
    for b in report.bad:
        assert b.name in text and b.kind in text
    assert "500 of 530 files" in text


def structured(seed, size=(120, 90)):
    return zoo.drawn(np.random.default_rng(seed), size)


def test_duplicates_by_content_and_by_look(tmp_path):
    for i in range(30):
        structured(i).save(tmp_path / f"{i:02d}.png")
    first = structured(3)
    (tmp_path / "copy.png").write_bytes((tmp_path / "03.png").read_bytes())
    first.save(tmp_path / "encoded.jpg", quality=40)
    first.resize((60, 45)).save(tmp_path / "small.webp")
    exif = Image.Exif()
    exif[274] = 3
    first.transpose(Image.Transpose.ROTATE_180).save(tmp_path / "turned.jpg", exif=exif)
    structured(4).point(lambda x: min(255, x + 3)).save(tmp_path / "brighter.png")
    first.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "mirrored.png")
    report = scan(tmp_path)
    source = open_source(tmp_path)
    equal = [sorted(source.name(i) for i in g) for g in report.duplicates]
    near = [sorted(source.name(i) for i in g) for g in report.near]
    assert equal == [["03.png", "copy.png"]]
    assert near == [
        ["03.png", "encoded.jpg", "small.webp", "turned.jpg"],
        ["04.png", "brighter.png"],
    ]
    found = report.to_json()
    assert found["exact_duplicates"] == {
        "groups": 1, "pictures": 2, "examples": [["03.png", "copy.png"]]
    }  # fmt: skip
    assert found["near_duplicates"]["pictures"] == 6


def test_flat_pictures_of_other_colours_do_not_look_alike(tmp_path):
    for i, colour in enumerate(["red", "green", "blue", "black", "white", "#010101", "grey"]):
        Image.new("RGB", (30, 30), colour).save(tmp_path / f"{i}.png")
    source = open_source(tmp_path)
    near = [[source.name(i) for i in g] for g in scan(source).near]
    assert near == [["3.png", "5.png"]]


def test_near_groups_are_those_of_all_pairs():
    """Against the plain definition, on hashes made to collide."""
    draw = np.random.default_rng(0)
    hashes = draw.integers(0, 2**12, 300).astype(np.uint64)
    hashes |= draw.integers(0, 3, 300).astype(np.uint64) << np.uint64(60)
    means = draw.uniform(0, 40, (300, 3)).astype(np.float32)
    rows = np.sort(draw.permutation(1000)[:300])
    bits = np.array([[bin(int(a ^ b)).count("1") for b in hashes] for a in hashes])
    apart = np.abs(means[:, None] - means[None]).max(axis=2)
    reach = (bits <= duplicates.NEAR_BITS) & (apart <= duplicates.NEAR_MEAN)
    for _ in range(10):
        reach = reach @ reach
    want = sorted({tuple(rows[r]) for r in reach if r.sum() > 1})
    got = [tuple(g.tolist()) for g in duplicates.near_groups(hashes, means, rows)]
    assert got == want and len(want) > 3


def test_classes_are_counted_and_said_to_be_for_evaluation(tmp_path):
    for name, n, first in (("cat", 4, 0), ("dog", 3, 50)):
        (tmp_path / name).mkdir()
        for i in range(n):
            structured(first + i, (20, 20)).save(tmp_path / name / f"{i}.png")
    (tmp_path / "dog" / "bad.png").touch()
    report = scan(tmp_path)
    assert report.classes == ["cat", "dog"]
    assert report.class_counts.tolist() == [4, 3]
    found = report.to_json()
    assert found["classes"] == 2 and found["class_counts"] == {"cat": 4, "dog": 3}
    assert found["classes_used_for"] == "evaluation only"
    file = io.StringIO()
    Console(file=file, width=100).print(render(report))
    assert "used for evaluation only" in file.getvalue()


def test_beyond_the_limit_a_sample_is_decoded(tmp_path, monkeypatch):
    for i in range(40):
        structured(i, (20 + i, 30)).save(tmp_path / f"{i:02d}.bmp")
    for i in range(40, 60):
        (tmp_path / f"{i}.bmp").touch()
    monkeypatch.setattr(module, "DECODED", 30)
    report = scan(tmp_path)
    assert report.scanned == 30 and report.count == 60
    assert 0 < len(report.bad) < 20
    assert len(report.good) == 60 - len(report.bad)
    assert len(report.known_sizes) == 30 - len(report.bad)
    assert report.short_side > 0
    assert (report.stats[:, 0] >= 0).all()
    again = scan(tmp_path)
    assert again.bad == report.bad and again.mean == report.mean


@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_and_sequences_have_no_files(channels):
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 10, channels)).astype(np.uint8)
    images[4] = images[1]
    for data in (images, list(images)):
        report = scan(data)
        assert len(report.good) == 6 and not report.bad
        assert (report.stats == -1).all() and report.to_json()["bytes"] is None
        assert report.channels == channels and len(report.mean) == channels
        assert np.allclose(report.mean, images.mean(axis=(0, 1, 2)) / 255)
        assert np.allclose(report.std, images.std(axis=(0, 1, 2)) / 255)
        assert [g.tolist() for g in report.duplicates] == [[1, 4]]


def test_arrays_of_equal_bytes_and_other_shapes_differ():
    flat = np.arange(48, dtype=np.uint8)
    report = scan([flat.reshape(6, 8), flat.reshape(8, 6), flat.reshape(4, 4, 3)])
    assert report.duplicates == []


def test_nothing_readable_is_a_report_too(tmp_path):
    (tmp_path / "a.jpg").touch()
    report = scan(tmp_path)
    assert len(report.good) == 0 and report.short_side == 0
    found = report.to_json()
    assert found["height"] is None
    json.dumps(found, allow_nan=False)
    Console(file=io.StringIO()).print(render(report))


def test_names_that_are_no_utf8_and_markup_can_be_written(tmp_path):
    folder = os.fsencode(tmp_path)
    for name in (b"\xe9t\xe9.jpg", b"[bold]x[.jpg", b'q",\n.png'):
        with open(os.path.join(folder, name), "wb"):
            pass
    report = scan(tmp_path)
    assert len(report.bad) == 3
    json.dumps(report.to_json(), ensure_ascii=False).encode()
    file = io.StringIO()
    Console(file=file, width=120).print(render(report))
    assert "[bold]x[.jpg" in file.getvalue() and "\\udce9t\\udce9.jpg" in file.getvalue()
    write_bad_files(tmp_path / "bad.csv", report.bad)
    with (tmp_path / "bad.csv").open(encoding="utf-8", newline="") as f:
        rows = list(csv.reader(f))
    assert rows[0] == ["name", "kind", "reason"]
    assert {r[0] for r in rows[1:]} == {"\\udce9t\\udce9.jpg", "[bold]x[.jpg", 'q",\n.png'}


def test_too_many_bad_files_stop():
    bad = [BadFile(f"{i}.jpg", "empty", "the file holds no bytes") for i in range(3)]
    check_bad_share(bad, 150, 0.02)
    check_bad_share([], 0, 0.02)
    with pytest.raises(FovealError, match=r"3 of 149 files \(2\.0%\).*3 empty.*0\.jpg") as caught:
        check_bad_share(bad, 149, 0.02)
    assert "max_bad=" in caught.value.hint


def test_a_file_is_written_once_by_name(tmp_path):
    bad = [BadFile("b", "empty", "1"), BadFile("a", "zeros", "2"), BadFile("b", "changed", "3")]
    write_bad_files(tmp_path / "bad.csv", bad)
    lines = (tmp_path / "bad.csv").read_text().splitlines()
    assert lines == ["name,kind,reason", "a,zeros,2", "b,empty,1"]
