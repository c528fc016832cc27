"""Detection of coloured squares: detectors on frozen and trained networks, both layouts."""

import io
import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from foveal.backbones.encoder import Encoder
from foveal.backbones.registry import build_backbone
from foveal.data.scenes import open_boxes
from foveal.errors import FovealError
from foveal.evaluation.detection.bench import DetectionBench
from foveal.evaluation.detection.detector import build_detector
from foveal.evaluation.detection.settings import RECIPES, DetectionSettings, detection_settings
from foveal.evaluation.features import Store, weights_digest
from foveal.evaluation.own_data import own_settings
from foveal.evaluation.result import table
from foveal.evaluation.run import evaluate
from foveal.metrics.detection import mean_ap, voc_rankings
from foveal.report.boxes import examples

H, W, PARTS = 48, 64, {"train": 12, "val": 6}
NAMES = ("red", "green")
SMALL = {
    "steps": 40, "batch": 2, "rois": 16, "proposals": 24, "cells": 4, "hidden": 32, "width": 16,
    "detections": 8, "optimiser": {"lr": 3e-3}, "schedule": {"warmup": 4},
}  # fmt: skip


def draw_part(part):
    """Pictures [H, W, 3] with one or two squares, and (class, left, top, right, bottom) of each."""
    draw = np.random.default_rng(len(part))
    for _ in range(PARTS[part]):
        pixels = draw.normal(90, 8, (H, W, 3))
        objects = []
        for k in range(int(draw.integers(1, 3))):
            side, kind = int(draw.integers(14, 22)), int(draw.integers(0, 2))
            left, top = int(draw.integers(0, 10)) + 32 * k, int(draw.integers(0, H - side))
            pixels[top : top + side, left : left + side] = [(220, 40, 40), (40, 220, 40)][kind]
            objects.append((kind, left, top, left + side, top + side))
        yield pixels.clip(0, 255).astype(np.uint8), objects


def write_voc(folder):
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    for part in PARTS:
        names = []
        for i, (pixels, objects) in enumerate(draw_part(part)):
            names.append(f"{part}{i}")
            Image.fromarray(pixels).save(folder / "JPEGImages" / f"{names[-1]}.jpg", quality=95)
            xml = "".join(
                f"<object><name>{NAMES[k]}</name><difficult>{int(i == 1)}</difficult><bndbox>"
                f"<xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
                "</bndbox></object>"
                for k, x0, y0, x1, y1 in objects
            )
            path = folder / "Annotations" / f"{names[-1]}.xml"
            path.write_text(f"<annotation>{xml}</annotation>")
        (folder / "ImageSets" / "Main" / f"{part}.txt").write_text("\n".join(names))
    return folder


def write_coco(folder):
    (folder / "annotations").mkdir(parents=True)
    for part in PARTS:
        (folder / f"{part}2017").mkdir()
        about = {"images": [], "annotations": [],
                 "categories": [{"id": 3 + k, "name": n} for k, n in enumerate(NAMES)]}  # fmt: skip
        for i, (pixels, objects) in enumerate(draw_part(part)):
            Image.fromarray(pixels).save(folder / f"{part}2017" / f"{i}.jpg", quality=95)
            about["images"].append({"id": i, "file_name": f"{i}.jpg"})
            for k, x0, y0, x1, y1 in objects:
                about["annotations"].append(
                    {"id": len(about["annotations"]), "image_id": i, "category_id": 3 + k,
                     "bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) ** 2, "iscrowd": 0}
                )  # fmt: skip
        path = folder / "annotations" / f"instances_{part}2017.json"
        path.write_text(json.dumps(about))
    return folder


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    return write_voc(tmp_path_factory.mktemp("voc") / "d")


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    return write_coco(tmp_path_factory.mktemp("coco") / "d")


def make(name="small", **extra):
    torch.manual_seed(0)
    return Encoder([build_backbone(name, **extra)], [[]], channels=3, size=16)


@pytest.fixture(scope="module")
def encoder():
    return make(width=0.25)


@pytest.fixture(scope="module")
def found(voc, encoder):
    before = weights_digest(encoder)
    results = evaluate(encoder, voc, protocols=["detection"], changes=SMALL)
    assert weights_digest(encoder) == before
    return {r.metric: r for r in results}


def test_squares_are_found(found):
    assert set(found) == {"ap50_envelope", "ap50_eleven_point"}
    for r in found.values():
        assert r.value > 0.2 and r.interval[0] < r.value < r.interval[1]
        assert set(r.baselines) == {"random_init"} and r.n == 6
    about = found["ap50_envelope"].configuration
    assert about["layer"] == "stage2" and about["view"]["size"] == H
    # A picture with difficult objects alone is none to learn from.
    assert about["data"]["train"]["n"] == 11 and about["classes"] == 2
    assert "VOC07" in found["ap50_eleven_point"].configuration["average_precision"]
    by_class = about["chosen"]["trained"]["ap_per_class"]
    assert np.mean(by_class) == pytest.approx(found["ap50_envelope"].value)


def test_the_report_draws_what_was_found(found, tmp_path):
    (tmp_path / "detection.json").write_text(json.dumps([r.to_json() for r in found.values()]))
    sheet = examples(tmp_path)
    assert sheet.size == (3 * 240 + 2 * 4, 2 * 180 + 4)
    drawn = (np.asarray(sheet) == (255, 196, 0)).all(-1).sum()
    assert drawn > 200 and examples(tmp_path / "nothing") is None
    first = found["ap50_envelope"].configuration["chosen"]["trained"]["examples"][0]
    x0, y0, x1, y1, score, name = first["boxes"][0]
    assert 0 <= x0 < x1 <= W and 0 <= y0 < y1 <= H and 0 < score <= 1 and name in NAMES


def test_the_table_names_the_form(found):
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(table(list(found.values())))
    text = console.export_text()
    assert "AP50 (VOC07, 11 points)" in text and "raw pixels" not in text


def test_coco_with_a_pyramid(coco, encoder):
    changes = {**SMALL, "form": "fpn", "steps": 80}
    results = evaluate(encoder, coco, protocols=["detection"], changes=changes)
    values = {r.metric: r for r in results}
    assert set(values) == {"ap", "ap50", "ap75", "ap_small"}  # no object is larger
    assert values["ap50"].value > 0.1 and values["ap"].value < values["ap50"].value
    assert values["ap"].configuration["layer"] == "stage2, stage3"
    assert "pycocotools" in values["ap"].configuration["average_precision"]
    by_class = values["ap"].configuration["chosen"]["trained"]["ap_per_class"]
    assert np.mean(by_class) == pytest.approx(values["ap"].value, abs=0.01)
    low, high = values["ap50"].interval
    assert 0 <= low <= values["ap50"].value <= high


def test_svms_read_the_same_layout(coco, encoder):
    r = evaluate(encoder, coco, protocols=["svm"])[0]
    assert r.metric == "map_envelope" and r.n == 6 and 0 < r.value <= 1
    assert r.configuration["class_names"] == list(NAMES)
    with pytest.raises(FovealError, match="several"):
        evaluate(encoder, coco, protocols=["knn"])


def bench(data, encoder, folder, **changes):
    settings = detection_settings({**SMALL, **changes})
    return DetectionBench(encoder, *open_boxes(data), Store(folder), settings)


def test_fine_tuning_trains_a_copy(voc, encoder, tmp_path):
    before = weights_digest(encoder)
    b = bench(voc, encoder, tmp_path, finetune=True, norm="batch", train_sizes=[40, 48])
    found, notes = b.found(encoder)
    assert weights_digest(encoder) == before and notes["head"] == "the last stage"
    assert mean_ap(voc_rankings(b.truth, found, 2), "envelope") > 0.2


def test_what_was_found_is_read_again(voc, encoder, tmp_path):
    first, _ = bench(voc, encoder, tmp_path, steps=2).found(encoder)
    files = {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    again, _ = bench(voc, encoder, tmp_path, steps=2).found(encoder)
    assert files == {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    fresh, _ = bench(voc, encoder, tmp_path / "other", steps=2).found(encoder)
    for a, b, c in zip(first, again, fresh, strict=True):
        assert np.array_equal(a.corners, b.corners) and np.array_equal(a.score, c.score)


@pytest.mark.parametrize(
    ("name", "extra", "layers", "head"),
    [
        ("resnet18", {"width": 0.125}, "stage3", "the last stage"),
        ("resnetv2_50", {"width": 0.25, "layers": [1, 1, 1, 1]}, "stage3", "the last stage"),
        ("alexnet_rotnet", {"width": 0.125}, "conv5", "the last stage"),
        ("vit_tiny", {"depth": 2, "img_size": 32}, "block1", "two fully connected layers"),
        ("revnet50", {"width": 0.125}, None, "two fully connected layers"),
    ],
)
def test_any_network_carries_a_detector(voc, tmp_path, name, extra, layers, head):
    own = make(name, **extra)
    b = bench(voc, own, tmp_path)
    detector = build_detector(own, b.settings, classes=2, size=64, seed=0).train()
    assert detector.head == head
    if layers:
        assert detector.net.backbone.ends == [layers]
    loss = next(b._losses(detector, set(), 1))
    assert loss.isfinite() and detector.size == 64
    loss.backward()
    trained = [p for group in detector.groups() for p in group.parameters]
    assert trained and all(p.grad is not None for p in trained)


def test_what_is_frozen_stays(voc, encoder, tmp_path):
    b = bench(voc, encoder, tmp_path)
    detector = build_detector(encoder, b.settings, classes=2, size=48, seed=0).train()
    body = detector.net.backbone.encoder
    stage = detector.net.roi_heads.box_head
    below = {n for n, p in body.named_parameters() if p.requires_grad}
    # The last stage is trained with the head, its batch norms are not.
    assert below and all("stage3" in n and "norm" not in n for n in below)
    assert not any(m.training for m in stage.modules() if isinstance(m, torch.nn.BatchNorm2d))
    tuned = build_detector(
        encoder, b.settings.model_copy(update={"finetune": True, "norm": "batch"}),
        classes=2, size=48, seed=0,
    ).train()  # fmt: skip
    assert all(p.requires_grad for p in tuned.parameters())
    assert len(tuned.groups()) == 2 and tuned.groups()[1].lr == b.settings.body
    norms = [m for m in tuned.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    assert all(m.training for m in norms)
    new = {n: p for n, p in detector.net.rpn.named_parameters()}
    assert all(torch.equal(p, new[n]) for n, p in tuned.net.rpn.named_parameters())


def test_mirrored_boxes_stay_on_their_objects(voc, encoder, tmp_path):
    b = bench(voc, encoder, tmp_path)
    seen = set()
    for i, pixels, mirrored in b._stream(set(), 1):
        from foveal.evaluation.detection.bench import _example

        moved, target = _example(pixels, b.train.boxes(i), mirrored, torch.device("cpu"))
        for (x0, y0, x1, y1), label in zip(target["boxes"].int(), target["labels"], strict=True):
            inside = moved[:, y0 + 2 : y1 - 2, x0 + 2 : x1 - 2].mean((1, 2))
            assert NAMES[inside.argmax()] == b.train.things[label - 1]
        seen.add(mirrored)
        if seen == {False, True}:
            break


def test_what_cannot_be_measured_is_named(voc, coco, encoder, tmp_path, monkeypatch):
    with pytest.raises(FovealError, match="step"):
        own_settings("detection", {"stpes": 3})
    with pytest.raises(FovealError) as caught:
        detection_settings({"recipe": "goyal_voc7"})
    assert "goyal_voc07" in caught.value.hint
    with pytest.raises(FovealError, match="JPEGImages"):
        evaluate(encoder, tmp_path, protocols=["detection"])
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(FovealError) as caught:
        evaluate(encoder, coco, protocols=["detection"], changes=SMALL)
    assert "foveal[scenes]" in caught.value.hint
    bad = write_voc(tmp_path / "d")
    for path in (bad / "Annotations").glob("val*.xml"):
        path.write_text(path.read_text().replace("<difficult>0", "<difficult>1"))
    with pytest.raises(FovealError, match="no object to find"):
        evaluate(encoder, bad, protocols=["detection"], changes=SMALL)
    (bad / "JPEGImages" / "train3.jpg").write_bytes(b"no picture")
    b = bench(bad, encoder, tmp_path / "store", steps=12)
    assert b.found(encoder)[1]["train"] == ["train3"]


def test_recipes_are_those_of_the_papers():
    for make_settings in RECIPES.values():
        assert isinstance(make_settings(), DetectionSettings)
    goyal = detection_settings({"recipe": "goyal_voc0712", "steps": 10})
    assert goyal.steps == 10 and goyal.schedule.milestones == (65_000,) and not goyal.finetune
    assert goyal.optimiser.lr == 0.002 and goyal.form == "c4"
    tuned = RECIPES["tuned_voc0712"]()
    assert (tuned.steps, tuned.batch, tuned.norm) == (24_000, 16, "batch") and tuned.finetune


def test_both_years_of_voc_are_joined(tmp_path):
    for year in ("VOC2007", "VOC2012"):
        write_voc(tmp_path / year)
        lists = tmp_path / year / "ImageSets" / "Main"
        (lists / "train.txt").rename(lists / "trainval.txt")
        (lists / "val.txt").rename(lists / "test.txt")
    train, test = open_boxes(tmp_path)
    assert len(train) == 24 and len(test) == 6
    assert train.name(0) == "VOC2007/train0" and train.name(23) == "VOC2012/train11"
    assert np.array_equal(train.boxes(2).corners, train.boxes(14).corners)
    assert train.read(12).shape == (H, W, 3)
