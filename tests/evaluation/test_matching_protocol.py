"""Regions found again under known warps, on drawn pictures."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from foveal.backbones.encoder import Encoder
from foveal.backbones.registry import build_backbone
from foveal.data.sources import open_source
from foveal.engine.runfolder import RunFolder
from foveal.errors import FovealError
from foveal.evaluation.features import weights_digest
from foveal.evaluation.matching.descriptors import GreyValues, Sift
from foveal.evaluation.matching.matcher import Matcher, ranked
from foveal.evaluation.matching.regions import (
    Regions,
    ellipse_of,
    find_regions,
    frames,
    grey,
    inside,
    overlaps,
    patches,
    projected,
)
from foveal.evaluation.matching.scenes import WARPS, MadeScene, open_sequences
from foveal.evaluation.matching.settings import MatchingSettings
from foveal.evaluation.result import table
from foveal.evaluation.run import evaluate
from foveal.evaluation.side_by_side import compare
from foveal.exporting.weights import save_encoder
from foveal.metrics.matching import ellipse_iou
from foveal.motion.packages import opencv
from foveal.recipe import Network, Recipe
from foveal.report.compare_text import render
from foveal.report.page import write_report

SMALL = {"pictures": 1, "side": 120, "patch": 32}


def drawn(seed, size=(160, 120)):
    """Soft blotches of several sizes: flat areas have no stable regions for OpenCV."""
    draw = np.random.default_rng(seed)
    x = np.zeros((size[1], size[0], 3), np.float32)
    for sigma in (1.5, 3, 6):
        noise = draw.normal(size=x.shape).astype(np.float32)
        x += sigma * opencv().GaussianBlur(noise, (0, 0), sigma)
    return (128 + 90 * x / x.std()).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("pictures")
    for i in range(3):
        Image.fromarray(drawn(i)).save(found / f"{i}.png")
    (found / "3.png").write_bytes(b"no picture")
    return found


def make_encoder(seed=0):
    torch.manual_seed(seed)
    return Encoder([build_backbone("small", width=0.25)], [[]], channels=3, size=16)


def one(x, y, shape):
    return Regions(np.array([[x, y]], np.float64), np.array([shape], np.float64))


def test_the_ellipse_of_a_region():
    turn = np.deg2rad(30)
    r = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    shape = r @ np.diag([30.0**2, 15.0**2]) @ r.T
    y, x = np.mgrid[:120, :160]
    d = np.stack([x - 70, y - 50], -1).astype(float)
    within = np.einsum("hwi,ij,hwj->hw", d, np.linalg.inv(shape), d) <= 1
    centre, found = ellipse_of(np.stack([x[within], y[within]], 1).astype(np.int32))
    same = ellipse_iou(centre[None], found[None], np.array([[70.0, 50.0]]), shape[None])
    assert same[0] > 0.98


def test_regions_move_with_the_picture():
    pixels = drawn(0)
    found = find_regions(pixels, 500)
    moved = find_regions(np.roll(pixels, 10, 1), 500)
    there = projected(found, np.array([[1.0, 0, 10], [0, 1, 0], [0, 0, 1]]))
    assert len(found) > 40 and overlaps(there, moved, 0.9).any(1).mean() > 0.7
    areas = np.linalg.det(find_regions(pixels, 5).shapes)
    assert len(areas) == 5 and areas.min() >= np.sort(np.linalg.det(found.shapes))[-5]
    assert not len(find_regions(np.full((60, 60, 3), 90, np.uint8), 10))


def test_a_region_follows_a_homography():
    homography = np.array([[1.1, 0.2, 5], [-0.1, 0.9, 8], [1e-3, 5e-4, 1]])
    before = one(60, 40, [[4.0, 1.0], [1.0, 2.0]])
    after = projected(before, homography)
    angle = np.linspace(0, 2 * np.pi, 50)
    edge = (
        before.centres + (np.linalg.cholesky(before.shapes[0]) @ [np.cos(angle), np.sin(angle)]).T
    )
    moved = np.column_stack([edge, np.ones(50)]) @ homography.T
    d = moved[:, :2] / moved[:, 2:] - after.centres
    # 1 on the edge, but for what the homography bends within two pixels.
    on = np.einsum("pi,ij,pj->p", d, np.linalg.inv(after.shapes[0]), d)
    assert np.abs(on - 1).max() < 0.03
    assert inside(after, (100, 100)).all() and not inside(after, (30, 100)).any()


def test_patches_show_the_region_and_turn_with_it():
    pixels = drawn(1)
    disc = one(80, 60, 100 * np.eye(2))
    linear = frames(pixels, disc, enlarge=1.6, upright=True)
    assert np.allclose(linear[0], 16 * np.eye(2))
    seen = patches(pixels, disc, linear, 32)
    # Its pixels lie between those of the picture.
    crop = pixels[44:77, 64:97].astype(float)
    between = (crop[1:, 1:] + crop[:-1, 1:] + crop[1:, :-1] + crop[:-1, :-1]) / 4
    assert np.abs(seen[0] - between).mean() < 1
    turned = np.ascontiguousarray(np.rot90(pixels))
    there = one(60, 159 - 80, 100 * np.eye(2))
    both = [
        patches(p, r, frames(p, r, enlarge=1.6, upright=False), 32)[0].astype(float).ravel()
        for p, r in ((pixels, disc), (turned, there))
    ]
    assert np.corrcoef(*both)[0, 1] > 0.95
    assert np.corrcoef(both[0], seen[0].ravel().astype(float))[0, 1] < 0.9


def test_a_large_region_is_read_without_aliasing():
    stripes = np.zeros((256, 256, 1), np.uint8)
    stripes[:, ::2] = 255
    wide = one(128, 128, 100**2 * np.eye(2))
    seen = patches(stripes, wide, frames(stripes, wide, enlarge=1.0, upright=True), 16)
    assert np.abs(seen.astype(float) - 127.5).max() < 20


def test_made_pairs_are_keyed_and_their_homographies_true(folder):
    source = open_source(str(folder), channels=3)
    scene = MadeScene(source, 0, 120, seed=5)
    first, others = scene.first(), list(scene.others())
    assert first.shape == (90, 120, 3) and len(others) == len(scene.pairs) == 24
    again = list(MadeScene(source, 0, 120, seed=5).others())
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(others, again, strict=True))
    other_seed = list(MadeScene(source, 0, 120, seed=6).others())
    assert not np.array_equal(others[8].homography, other_seed[8].homography)
    assert {kind for kind, _ in scene.pairs} == set(WARPS)
    y, x = np.mgrid[15:75:7, 20:100:7].reshape(2, -1)
    for (kind, strength), other in zip(scene.pairs, others, strict=True):
        if kind not in ("zoom", "rotation", "perspective"):
            assert np.array_equal(other.homography, np.eye(3))
            continue
        to = np.stack([x, y, np.ones(len(x))], 1) @ other.homography.T
        u, v = np.rint(to[:, :2] / to[:, 2:]).astype(int).T
        here = (u >= 0) & (v >= 0) & (u < 120) & (v < 90)
        assert here.mean() > 0.6, kind
        a, b = first[y[here], x[here]].astype(float), other.pixels[v[here], u[here]].astype(float)
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.7, (kind, strength)


def write_sequence(folder, names=("img{}.ppm", "H1to{}p"), seed=7):
    """A picture, itself again, and itself moved to the right."""
    folder.mkdir(parents=True)
    pixels = drawn(seed)
    for i, shift in enumerate((0, 0, 12), 1):
        Image.fromarray(np.roll(pixels, shift, 1)).save(folder / names[0].format(i))
        if i > 1:
            text = f"1 0 {shift}\n0 1 0\n0 0 1\n"
            (folder / names[1].format(i)).write_text(text)
    return folder


def test_the_same_picture_is_matched_without_a_mistake(tmp_path):
    (scene,) = open_sequences(write_sequence(tmp_path / "graf"))
    assert scene.pairs == [("graf", 2.0), ("graf", 3.0)]
    settings = MatchingSettings()
    matcher = Matcher(scene, settings)
    for describe, name in ((GreyValues(settings), "pixels"), (Sift(settings), "sift")):
        same, moved = matcher.precisions(describe, [name])[:, 0]
        # Regions in regions overlap too, and their partners are taken one by one.
        assert same == pytest.approx(1) and moved > 0.8


def test_the_precision_of_a_ranking():
    apart = np.array([[0.1, 0.9, 0.9, 9], [0.9, 0.2, 0.9, 9], [0.9, 0.9, 0.3, 9], [9, 9, 9, 0.4]])
    right = np.diag([True, True, False, True])
    assert ranked(apart, right, 4, "greedy") == pytest.approx((1 + 1 + 0.75) / 4)
    assert ranked(apart, right, 4, "nearest") == pytest.approx((1 + 1 + 0.75) / 4)


@pytest.fixture(scope="module")
def oxford(tmp_path_factory):
    """Two scenes, one in each layout."""
    found = tmp_path_factory.mktemp("oxford")
    write_sequence(found / "graf")
    write_sequence(found / "wall", ("{}.ppm", "H_1_{}"), seed=8)
    return found


@pytest.fixture(scope="module")
def runs(tmp_path_factory, oxford):
    root, found = tmp_path_factory.mktemp("runs"), []
    for seed, name in enumerate("ab"):
        run = RunFolder(root / name)
        recipe = Recipe(method="simclr", network=Network(name="small"), epochs=1, seed=seed)
        run.create(recipe, {"data": "pile", "fingerprint": "", "scan": {}})
        save_encoder(make_encoder(seed), run.backbone_file, {"recipe": recipe.to_json()})
        found.append(
            (run.path, evaluate(run.path, oxford, protocols=["matching"], changes={"patch": 32}))
        )
    return found


def test_every_map_is_measured_beside_its_baselines(runs):
    (_, results), _ = runs
    assert [r.metric for r in results] == [
        f"map_raw@{end}" for end in ("stem", "stage1", "stage2", "stage3")
    ]
    for r in results:
        assert set(r.baselines) == {"random_init", "pixels", "sift"}
        assert r.n == 4 and 0.5 < r.value < 1 and r.interval[0] <= r.value <= r.interval[1]
        about = r.configuration
        assert about["bootstrap"]["over"] == "scenes, with all their pairs"
        by_kind = about["chosen"]["trained"]["by_kind"]
        assert by_kind["graf"].keys() == by_kind["wall"].keys() == {"2", "3"}
        assert by_kind["graf"]["2"] == pytest.approx(1)
        assert r.baselines["sift"]["value"] != r.baselines["pixels"]["value"]
    assert len({r.baselines["sift"]["value"] for r in results}) == 1
    assert results[0].baselines["random_init"]["value"] != results[0].value


def test_pairs_are_made_of_pictures(folder):
    encoder = make_encoder()
    before = weights_digest(encoder)
    changes = {**SMALL, "end": "stage2", "matching": "nearest", "upright": True}
    (r,) = evaluate(encoder, folder, protocols=["matching"], changes=changes)
    assert weights_digest(encoder) == before
    about = r.configuration
    assert r.n + about["left_out"] == 24 and about["layer"] == "stage2" and 0.1 < r.value < 1
    assert set(about["chosen"]["trained"]["by_kind"]) == set(WARPS)
    assert about["bootstrap"]["over"] == "pairs" and about["data"]["test"]["n"] == 1


def test_two_runs_stand_in_one_table_for_every_map(runs):
    side = compare([path for path, _ in runs])
    assert side.warnings == () and [len(t.rows) for t in side.tables] == [2] * 4
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(render(side))
    console.print(table(runs[0][1]))
    text = console.export_text()
    for words in ("raw pixels, 32 px", "SIFT", "pairs of pictures", "map_raw@stage3"):
        assert words in text
    assert "training pictures" not in text
    page = write_report(runs[0][0]).read_text()
    assert "<small>SIFT</small>" in page and "map_raw@stage3" in page


def test_what_was_measured_is_read_again(oxford, runs, monkeypatch):
    path, results = runs[0]
    monkeypatch.setattr(Matcher, "precisions", None)
    again = evaluate(path, oxford, protocols=["matching"], changes={"patch": 32})
    assert [r.to_json() for r in again] == [r.to_json() for r in results]


def test_what_is_missing_or_wrong_is_named(tmp_path, folder):
    sequence = write_sequence(tmp_path / "graf")
    (sequence / "H1to3p").write_text("1 2 3")
    with pytest.raises(FovealError, match="H1to3p does not hold the nine numbers"):
        list(open_sequences(sequence)[0].others())
    (sequence / "img3.ppm").unlink()
    with pytest.raises(FovealError, match=r"img3.ppm is missing") as caught:
        open_sequences(tmp_path)
    assert "H1to2p" in caught.value.hint
    (sequence / "H1to2p").unlink()
    (sequence / "H1to3p").rename(sequence / "H1to9p")
    with pytest.raises(FovealError):
        open_sequences(sequence)
    (sequence / "H1to9p").unlink()
    with pytest.raises(FovealError, match="H1to2p is missing"):
        open_sequences(sequence)
    with pytest.raises(FovealError, match="no map 'stage9'"):
        evaluate(make_encoder(), folder, protocols=["matching"], changes={"end": "stage9"})
    blank = np.full((2, 64, 64, 3), 90, np.uint8)
    with pytest.raises(FovealError, match="no picture has a region"):
        evaluate(make_encoder(), blank, protocols=["matching"], changes=SMALL)
    with pytest.raises(FovealError, match="matching has no setting 'ends'"):
        evaluate(make_encoder(), folder, protocols=["matching"], changes={"ends": "stem"})


def test_grey_values_of_both_kinds_of_pictures():
    pixels = drawn(2)
    assert grey(pixels).shape == (120, 160)
    assert np.array_equal(grey(grey(pixels)[:, :, None]), grey(pixels))
