"""Every kind of input goes all the way: scan, pretrain, evaluate, embed."""

import io
import json
import tarfile

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
from films import write_film
from PIL import Image

import foveal
from foveal.errors import FovealError

CLASSES = 3
FAST = ["network.width=0.25", "batch=16", "machine.cores=1", "schedule.warmup=0"]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))


def drawn(i, channels=3):
    """Stripes whose direction is the class: floats in [0, 1], [36, 40, C]."""
    draw = np.random.default_rng(i)
    y, x = np.mgrid[:36, :40]
    wave = np.sin((x, y, x + y)[i % CLASSES] * draw.uniform(0.4, 0.7) + draw.uniform(0, 6))
    return 0.5 + wave[..., None] * draw.uniform(0.2, 0.45, channels)


def eight(i):
    return (drawn(i) * 255).round().astype(np.uint8)


def goes_all_the_way(data, folder, *, changes=(), **arguments):
    """Trains a little and measures; returns the scan, the features found and the run's recipe."""
    report = foveal.scan(data)
    arguments = {"method": "rotation", "epochs": 1, **arguments}
    run = folder / "run"
    trained = foveal.pretrain(data, run, changes=[*FAST, *changes], quiet=True, **arguments)
    assert trained.outcome.finished
    if report.classes is not None:
        (result,) = foveal.evaluate(run, data, protocols=["knn"], k=3)
        assert 0 <= result.value <= 1
    found = np.load(foveal.embed(run, data, folder / "found.npz"))
    assert len(found["features"]) == len(report.good)
    assert np.isfinite(found["features"]).all() and found["features"].std() > 0
    return report, found, trained.recipe


def last_weights(run):
    """The end of the file of weights; its beginning tells the recipes."""
    return (run / "backbone.safetensors").read_bytes()[-4096:]


def test_tar_shards(tmp_path):
    """Two shards with classes, and one that was cut off while it was copied."""
    folder = tmp_path / "data"
    folder.mkdir()
    for s in range(3):
        with tarfile.open(folder / f"part-{s}.tar", "w") as tar:
            for i in range(s * 30, s * 30 + 30):
                file = io.BytesIO()
                Image.fromarray(eight(i)).save(file, "PNG")
                members = (("png", file.getvalue()), ("cls", str(i % CLASSES).encode()))
                for suffix, content in members:
                    info = tarfile.TarInfo(f"{i:04d}.{suffix}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    path = folder / "part-2.tar"
    path.write_bytes(path.read_bytes()[:-12_000])
    changes = ["max_bad=0.1", "cache.tier=raw"]
    report, _, _ = goes_all_the_way(folder, tmp_path, changes=changes)
    assert 75 <= len(report.good) < 90 and report.classes == ["0", "1", "2"]
    # A copy of it is one input more: the run that reads none is no other.
    changes = [*FAST, "max_bad=0.1"]
    foveal.pretrain(
        folder, tmp_path / "plain", method="rotation", epochs=1, changes=changes, quiet=True
    )
    runs = [tmp_path / "run", tmp_path / "plain"]
    assert last_weights(runs[0]) == last_weights(runs[1])
    for run in runs:
        assert "(all that follows)" in (run / "bad_files.csv").read_text()


def test_shards_behind_an_address(tmp_path):
    """In fsspec's memory, fetched in pieces."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for i in range(48):
            for suffix, content in (("png", encoded(i)), ("cls", b"%d" % (i % CLASSES))):
                info = tarfile.TarInfo(f"{i:04d}.{suffix}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    fsspec.filesystem("memory").pipe("/end/to/end-00.tar", file.getvalue())
    report, found, _ = goes_all_the_way("memory://end/to/end-{00..00}.tar", tmp_path)
    assert report.classes == ["0", "1", "2"] and "end-00.tar/0047.png" in found["names"]
    assert list((tmp_path / "home" / "foveal" / "remote").glob("*/0"))


def test_video_files(tmp_path):
    """Three classes of films, one of them torn; what is trained on is no part of the test."""
    for v in range(9):
        frames = [eight(CLASSES * (10 * v + i) + v % CLASSES) for i in range(10)]
        write_film(tmp_path / "films" / "abc"[v % CLASSES] / f"{v}.mp4", frames, rate=5)
    torn = tmp_path / "films" / "a" / "torn.avi"
    write_film(torn, frames, "mjpeg", rate=5)
    torn.write_bytes(torn.read_bytes()[: torn.stat().st_size * 3 // 4])
    report, found, _ = goes_all_the_way(
        f"{tmp_path / 'films'}#fps=5", tmp_path, changes=["max_bad=0.1"]
    )
    assert report.classes == ["a", "b", "c"] and 90 <= len(report.good) < 100
    assert "a/0.mp4@0.200s" in found["names"]
    assert "a/torn.avi (all that follows)" in (tmp_path / "run" / "bad_files.csv").read_text()


def encoded(i):
    file = io.BytesIO()
    Image.fromarray(eight(i)).save(file, "PNG")
    return file.getvalue()


def test_parquet_and_arrow(tmp_path):
    """Encoded pictures in row groups, pixels in a stream; a row without a picture is named."""
    labels = pa.array(["abc"[i % CLASSES] for i in range(48)])
    column = pa.array([None if i == 7 else {"bytes": encoded(i), "path": None} for i in range(48)])
    (tmp_path / "parquet").mkdir()
    for part in (0, 24):
        table = pa.table({"image": column, "label": labels}).slice(part, 24)
        pq.write_table(table, tmp_path / "parquet" / f"{part:02d}.parquet", row_group_size=5)
    changes = ["max_bad=0.1", "cache.tier=raw"]
    report, found, _ = goes_all_the_way(tmp_path / "parquet", tmp_path, changes=changes)
    assert report.classes == ["a", "b", "c"] and len(report.good) == 47
    assert "00.parquet[7]" in (tmp_path / "run" / "bad_files.csv").read_text()
    assert "24.parquet[3]" in found["names"]
    pixels = pa.array(
        [eight(i).tolist() for i in range(48)], pa.list_(pa.list_(pa.list_(pa.uint8())))
    )
    table = pa.table({"pixels": pixels, "kind": labels})
    (tmp_path / "saved").mkdir()
    path = tmp_path / "saved" / "data-00000-of-00001.arrow"
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    (tmp_path / "second").mkdir()
    report, _, _ = goes_all_the_way(f"{tmp_path / 'saved'}#label=kind", tmp_path / "second")
    assert report.formats == {"array": 48} and len(report.classes) == 3


def class_folders(folder, channels, dtype, write, suffix, count=48):
    top = np.iinfo(dtype).max
    for i in range(count):
        path = folder / f"{'abc'[i % CLASSES]}" / f"{i:03d}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, (drawn(i, channels) * top).round().astype(dtype))
    return folder


def tiff_bands(path, pixels):
    tifffile.imwrite(path, pixels, photometric="minisblack", planarconfig="contig")


def test_tiffs_of_16_bits_and_five_bands_just_work(tmp_path):
    """What the planner chooses by itself, colour operations left out by name."""
    data = class_folders(tmp_path / "data", 5, np.uint16, tiff_bands, ".tif")
    report, found, recipe = goes_all_the_way(data, tmp_path, method=None)
    assert report.channels == 5 and report.bits == {16: 48} and report.modes == {"5 bands": 48}
    view = recipe.options["view"]
    assert recipe.method == "simclr" and view["grey"] == 0 and view["jitter"]["hue"] == 0
    assert view["jitter"]["brightness"] > 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "saturation, hue, grey off: the pictures have 5 channels" in page
    encoder = foveal.load(tmp_path / "run")
    assert encoder.channels == 5
    # The same run again is finished; another number of channels is another run.
    again = foveal.pretrain(data, tmp_path / "run", epochs=1, changes=FAST, quiet=True)
    assert again.outcome is None
    page = tmp_path / "similar.html"
    similar = foveal.search(tmp_path / "run", data, data / "a" / "003.tif", top=2, out=page)
    assert len(similar.found[0].matches) == 2 and page.read_text().count("data:image") == 3
    assert foveal.bench_data(data, size=24).to_json()["views_ms"] > 0
    # None of them is shrunk: a copy changes no bit.
    copied = {"epochs": 1, "quiet": True, "changes": [*FAST, "cache.tier=raw"]}
    foveal.pretrain(data, tmp_path / "copied", **copied)
    assert last_weights(tmp_path / "run") == last_weights(tmp_path / "copied")
    # Shards of the same files are the same pictures.
    shard = tmp_path / "bands.tar"
    with tarfile.open(shard, "w") as tar:
        for path in sorted(data.rglob("*.tif")):
            tar.add(path, f"{path.parent.name}{path.stem}.tif")
    again = np.load(foveal.embed(tmp_path / "run", shard, tmp_path / "of_shards.npz"))
    assert np.array_equal(again["features"], found["features"])
    # Whoever loads it elsewhere is told what white is.
    foveal.export(tmp_path / "run", format="hf", out=tmp_path / "hf")
    about = json.loads((tmp_path / "hf" / "preprocessor_config.json").read_text())
    assert about["rescale_factor"] == 1 / 65535
    assert "divide by 65535" in (tmp_path / "hf" / "README.md").read_text()


def test_arrays_of_8_bits_and_grey_png_of_16(tmp_path):
    arrays = class_folders(tmp_path / "npy", 4, np.uint8, np.save, ".npy")
    goes_all_the_way(arrays, tmp_path)
    grey = class_folders(
        tmp_path / "png", 1, np.uint16, lambda p, x: Image.fromarray(x[:, :, 0]).save(p), ".png"
    )
    (tmp_path / "grey").mkdir()
    report, _, _ = goes_all_the_way(grey, tmp_path / "grey")
    assert report.channels == 1 and report.bits == {16: 48}


def test_weights_of_rgb_start_a_run_on_bands(tmp_path):
    rgb = np.stack([eight(i) for i in range(32)])
    foveal.pretrain(rgb, tmp_path / "rgb", method="rotation", epochs=1, changes=FAST, quiet=True)
    bands = np.stack([drawn(i, 6) * 65535 for i in range(32)]).round().astype(np.uint16)
    init = {"init": str(tmp_path / "rgb"), "changes": ["init_channels=inflated"]}
    goes_all_the_way(bands, tmp_path, **init)


def test_a_domain_is_part_of_what_a_run_is(tmp_path):
    pictures = np.stack([eight(i) for i in range(32)])
    run, options = tmp_path / "run", {"epochs": 1, "changes": FAST, "quiet": True}
    first = foveal.pretrain(pictures, run, domain="satellite", **options)
    view = first.recipe.options["view"]
    assert view["turns"] == [0, 1, 2, 3] and view["jitter"]["hue"] == view["grey"] == 0
    assert "satellite: no side is up" in (run / "report.html").read_text()
    assert foveal.pretrain(pictures, run, domain="satellite", **options).outcome is None
    with pytest.raises(FovealError, match=r"options.view.flip: 0\.5 -> 0"):
        foveal.pretrain(pictures, run, domain="radiology", **options)
    with pytest.raises(FovealError, match="rotation learns which side of a picture is up"):
        foveal.pretrain(pictures, tmp_path / "b", method="rotation", domain="microscopy", **options)
