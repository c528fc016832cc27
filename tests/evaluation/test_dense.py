"""Segmentation, depth and normals on scenes where colour tells all three."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from foveal.backbones.encoder import Encoder
from foveal.backbones.registry import build_backbone
from foveal.data.scenes import open_scenes
from foveal.errors import FovealError
from foveal.evaluation.dense.bench import DenseBench
from foveal.evaluation.dense.settings import DenseSettings
from foveal.evaluation.features import Store, weights_digest
from foveal.evaluation.own_data import own_settings
from foveal.evaluation.result import table
from foveal.evaluation.run import evaluate

H, W, PARTS = 32, 40, {"train": 24, "val": 8}
SMALL = {"size": 32, "width": 16, "epochs": 12, "batch": 4, "lr": 3e-3, "codewords": 2}
TRIVIAL = {"segmentation": "most_frequent", "depth": "mean_depth", "normals": "mean_normal"}


def write_scenes(folder):
    """A near red wall on one side, a far green one at a slant on the other, in any proportion."""
    for name in ("JPEGImages", "SegmentationClass", "Depth", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    draw = np.random.default_rng(0)
    about = {"fx": 20, "fy": 20, "cx": 19.5, "cy": 15.5, "depth": {"unit": "cm"}}
    (folder / "intrinsics.json").write_text(json.dumps(about))
    (folder / "classes.txt").write_text("wall\nnothing\n")
    u = np.mgrid[:H, :W][1]
    far = 3000 / (1 + 0.5 * (u - 19.5) / 20)
    for part, n in PARTS.items():
        names = [f"{part}{i}" for i in range(n)]
        (folder / "ImageSets" / "Segmentation" / f"{part}.txt").write_text("\n".join(names))
        for name in names:
            red = (u < draw.integers(10, 30)) ^ (draw.random() < 0.5)
            pixels = np.where(red[..., None], [180, 40, 40], [40, 160, 60])
            pixels = (pixels + draw.normal(0, 15, pixels.shape)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "JPEGImages" / f"{name}.jpg", quality=95)
            numbers = red.astype(np.uint8)
            numbers[:2] = 255
            Image.fromarray(numbers).save(folder / "SegmentationClass" / f"{name}.png")
            depth = np.where(red, 500, far).astype(np.uint16)
            Image.fromarray(depth).save(folder / "Depth" / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes") / "s")


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return Encoder([build_backbone("small", width=0.25)], [[]], channels=3, size=16)


@pytest.fixture(scope="module")
def found(scenes, encoder):
    before = weights_digest(encoder)
    results = evaluate(encoder, scenes, protocols=list(TRIVIAL), changes=SMALL)
    assert weights_digest(encoder) == before
    return {(r.protocol, r.metric): r for r in results}


def test_heads_beat_the_trivial_prediction(found):
    for protocol, metric in (
        ("segmentation", "mean_iou"),
        ("segmentation", "accuracy"),
        ("depth", "delta1"),
        ("depth", "rel"),
        ("normals", "mean"),
        ("normals", "within_11"),
    ):
        r = found[protocol, metric]
        base = r.baselines[TRIVIAL[protocol]]
        low, high = base["difference_interval"]
        assert low > 0 if r.higher_is_better else high < 0, (protocol, metric, r.value, base)


def test_every_figure_has_its_unit_intervals_and_baselines(found):
    assert len(found) == 4 + 9 + 6
    for (protocol, metric), r in found.items():
        assert r.n == 8 and set(r.baselines) == {"random_init", TRIVIAL[protocol]}
        assert r.interval[0] <= r.value + 0.1 * abs(r.value) and r.interval[1] >= 0.9 * r.value
        share = metric.startswith(("mean_", "acc", "weighted", "delta", "within"))
        assert (r.unit == "share") == share and r.higher_is_better == share
    assert found["depth", "rms"].unit == "cm" and found["normals", "median"].unit == "degree"
    about = found["segmentation", "mean_iou"].configuration
    assert about["layer"] == "stage3" and about["cells"] == 4 and about["view"]["crop"] == "whole"
    assert about["chosen"]["trained"]["iou"]["nothing"] is None


def test_the_table_names_baselines_and_units(found):
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(table(list(found.values())))
    text = console.export_text()
    for word in ("most frequent class", "mean depth", "mean normal", "rms (cm)", "mean (degree)"):
        assert word in text
    assert "raw pixels" not in text


def test_fine_tuning_trains_a_copy(scenes, encoder):
    before = weights_digest(encoder)
    changes = {**SMALL, "epochs": 2, "finetune": True}
    results = evaluate(encoder, scenes, protocols=["depth"], changes=changes)
    assert weights_digest(encoder) == before
    assert all(p.requires_grad for p in encoder.parameters())
    assert {r.protocol for r in results} == {"depth-finetune"}
    frozen = evaluate(encoder, scenes, protocols=["depth"], changes={**SMALL, "epochs": 2})
    assert results[3].metric == "rel" and results[3].value != frozen[3].value


def bench(scenes, encoder, folder, kind="segmentation", **changes):
    train, test = open_scenes(scenes, kind)
    settings = DenseSettings(**{**SMALL, "epochs": 1, **changes})
    return DenseBench(encoder, kind, train, test, Store(folder), settings)


def test_targets_are_mirrored_with_the_view(scenes, encoder, tmp_path):
    for kind in TRIVIAL:
        b = bench(scenes, encoder, tmp_path, kind)
        straight, mirrored = b.targets(), b.targets(mirrored=True)
        back = mirrored[:, :, ::-1].astype(np.float32)
        if kind == "normals":
            back = back * [-1, 1, 1]
        assert straight.shape[:3] == (24, 16, 16)
        # A border between two pixels may fall to either side.
        assert (np.abs(straight - back) > 1e-2 * (1 + np.abs(straight))).mean() < 0.05
    assert bench(scenes, encoder, tmp_path).targets().max() == 255


def test_what_was_measured_is_read_again(scenes, encoder, tmp_path):
    first, _ = bench(scenes, encoder, tmp_path).sums(encoder)
    files = {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    again, _ = bench(scenes, encoder, tmp_path).sums(encoder)
    assert np.array_equal(first, again)
    assert files == {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    other, _ = bench(scenes, encoder, tmp_path, epochs=2).sums(encoder)
    assert not np.array_equal(first, other)


def test_an_unreadable_picture_is_left_out_and_named(tmp_path, encoder):
    folder = write_scenes(tmp_path / "s")
    (folder / "JPEGImages" / "val3.jpg").write_bytes(b"no picture")
    (folder / "JPEGImages" / "train0.jpg").write_bytes(b"no picture")
    r = evaluate(encoder, folder, protocols=["segmentation"], changes={**SMALL, "epochs": 1})[0]
    unreadable = r.configuration["unreadable"]
    assert r.n == 7 and unreadable["train"] == 1 and unreadable["test"] == 1
    assert unreadable["files"] == ["train0.jpg", "val3.jpg"]


def test_wrong_settings_are_named(scenes, encoder):
    with pytest.raises(FovealError, match="epoch"):
        own_settings("depth", {"epoch": 3})
    with pytest.raises(FovealError, match="knn has no setting 'finetune'"):
        evaluate(encoder, scenes, protocols=["knn"], changes={"finetune": True})
    with pytest.raises(FovealError) as caught:
        evaluate(encoder, scenes, protocols=["segmentatio"])
    assert "segmentation" in caught.value.hint
