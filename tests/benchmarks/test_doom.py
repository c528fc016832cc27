"""The Doom world at its smallest: the same bytes from the same seed, maps apart, labels exact."""

import contextlib
import csv
import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("vizdoom", reason="needs foveal[worlds]")

from foveal.benchmarks.doom import SETS, make_doom
from foveal.benchmarks.doom.classes import CLASSES, MONSTERS
from foveal.benchmarks.doom.jobs import Job, run_jobs
from foveal.benchmarks.doom.objects import covered_outline, even_shares, render_map
from foveal.benchmarks.doom.world import (
    MAPS,
    TEST_MAPS,
    TRAIN_MAPS,
    Dice,
    World,
    intrinsics,
    map_units,
    spots,
    spread,
)
from foveal.errors import FovealError

SIZE = 0.004
LIGHT = ("pile", "clips", "scenes", "watch")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    out = tmp_path_factory.mktemp("doom")
    return out, make_doom(out, size=SIZE, processes=2)


def digests(folder):
    return {
        str(p.relative_to(folder)): hashlib.md5(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def maps_of(names):
    return {name[:5].upper() for name in names}


def test_maps_are_apart():
    assert len(MAPS) == 32
    assert set(TRAIN_MAPS) | set(TEST_MAPS) == set(MAPS)
    assert not set(TRAIN_MAPS) & set(TEST_MAPS)


def test_every_map_has_places():
    assert all(len(spots(m)) > 20 for m in MAPS)


def test_same_seed_same_bytes_whatever_the_number_of_processes(world, tmp_path):
    out, _ = world
    make_doom(tmp_path, what=LIGHT, size=SIZE, processes=1)
    for name in LIGHT:
        assert digests(out / name) == digests(tmp_path / name)
    make_doom(tmp_path / "other", what=("pile",), size=SIZE, seed=1)
    assert digests(tmp_path / "other" / "pile") != digests(out / "pile")


def test_same_seed_same_crops(world, tmp_path, monkeypatch):
    """One map alone, in this process, gives the bytes that a worker wrote."""
    out, _ = world
    monkeypatch.chdir(tmp_path)
    render_map(tmp_path / "test", map_name=TEST_MAPS[0], split="test", seed=0, share=1)
    for path in (out / "objects" / "test").rglob("*.png"):
        again = tmp_path / path.relative_to(out / "objects")
        assert path.read_bytes() == again.read_bytes()


def test_nothing_is_left_behind(world):
    out, sets = world
    assert sorted(p.name for p in out.iterdir()) == sorted(SETS)
    for name, made in sets.items():
        meta = json.loads((out / name / "META.json").read_text())
        assert meta["counts"] == made.counts
        assert (meta["size"], meta["seed"]) == (SIZE, 0)
        assert f"{made.path}: " in str(made)


def test_pile(world):
    out, sets = world
    with (out / "pile" / "sources.csv").open() as f:
        rows = list(csv.DictReader(f))
    files = sorted(str(p.relative_to(out / "pile")) for p in (out / "pile").rglob("*.jpg"))
    assert sorted(r["file"] for r in rows) == files
    assert len(files) == sets["pile"].counts["frames"] == 16
    assert {r["map"] for r in rows} <= set(TRAIN_MAPS)
    for name in files:
        pixels = np.asarray(Image.open(out / "pile" / name))
        assert pixels.shape == (240, 320, 3)
        assert pixels.mean() > 15


def test_clips(world):
    out, _ = world
    for split, maps in (("train", TRAIN_MAPS), ("test", TEST_MAPS)):
        clips = [p for p in (out / "clips" / split).iterdir() if p.is_dir()]
        assert clips
        assert maps_of(p.name for p in clips) <= set(maps)
        for clip in clips:
            frames = sorted(clip.glob("*.jpg"))
            assert [p.name for p in frames] == [f"{i:05d}.jpg" for i in range(32)]
            assert len((clip / "poses.csv").read_text().splitlines()) == 33
            pixels = np.stack([np.asarray(Image.open(p), np.int16) for p in frames])
            assert np.abs(np.diff(pixels, axis=0)).mean() > 3


def test_objects(world):
    out, sets = world
    for split, maps in (("train", TRAIN_MAPS), ("test", TEST_MAPS)):
        folder = out / "objects" / split
        assert sorted(p.name for p in folder.iterdir()) == sorted(CLASSES)
        files = {name: sorted((folder / name).glob("*.png")) for name in CLASSES}
        assert len({len(found) for found in files.values()}) == 1
        crops = [p for found in files.values() for p in found]
        assert len(crops) == sets["objects"].counts[f"{split} crops"]
        assert maps_of(p.name for p in crops) <= set(maps)
        for path in crops:
            with Image.open(path) as image:
                assert (image.mode, image.size) == ("RGB", (64, 64))
                assert np.asarray(image).std() > 5


def test_scenes(world):
    out, _ = world
    folder = out / "scenes"
    names = {
        s: (folder / "ImageSets/Main" / f"{s}.txt").read_text().split() for s in ("train", "val")
    }
    assert maps_of(names["train"]) <= set(TRAIN_MAPS)
    assert maps_of(names["val"]) <= set(TEST_MAPS)
    classes = (folder / "classes.txt").read_text().split()
    assert classes == list(CLASSES)
    camera = json.loads((folder / "intrinsics.json").read_text())
    for name in names["train"] + names["val"]:
        image = Image.open(folder / "JPEGImages" / f"{name}.jpg")
        assert image.size == (camera["width"], camera["height"])
        class_image = Image.open(folder / "SegmentationClass" / f"{name}.png")
        assert class_image.mode == "P"
        assert class_image.getpalette()[:12] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]
        class_mask = np.asarray(class_image)
        object_mask = np.asarray(Image.open(folder / "SegmentationObject" / f"{name}.png"))
        depth = np.asarray(Image.open(folder / "Depth" / f"{name}.png"))
        assert depth.dtype == np.uint16
        assert depth.max() <= camera["depth"]["farthest"]
        objects = ElementTree.parse(folder / "Annotations" / f"{name}.xml").findall("object")
        assert len(objects) >= 2
        assert set(np.unique(object_mask)) <= {0, 255, *range(1, len(objects) + 1)}
        for number, item in enumerate(objects, 1):
            rows, columns = np.nonzero(object_mask == number)
            box = [int(item.find(f"bndbox/{t}").text) for t in ("xmin", "ymin", "xmax", "ymax")]
            extent = [columns.min(), rows.min(), columns.max(), rows.max()]
            assert box == [v + 1 for v in extent]
            assert set(class_mask[object_mask == number]) == {
                classes.index(item.find("name").text) + 1
            }
            # A sprite is flat: it has one depth.
            own = depth[object_mask == number]
            assert (own == np.median(own)).mean() > 0.9


def test_a_finished_set_is_kept_and_another_one_refused(world):
    out, sets = world
    before = digests(out / "pile")
    again = make_doom(out, what="pile", size=SIZE)["pile"]
    assert again.kept
    assert "was complete" in str(again)
    assert again.counts == sets["pile"].counts
    assert digests(out / "pile") == before
    with pytest.raises(FovealError, match=r"seed 0, not 3") as error:
        make_doom(out, what=("pile",), size=SIZE, seed=3)
    assert "another folder" in error.value.hint


def test_what_an_interrupted_run_left_is_made_anew(world, tmp_path, monkeypatch):
    """In a folder named from where the command stands, as people type it."""
    out, _ = world
    rest = tmp_path / ".clips.partial" / "train" / "map01_000"
    rest.mkdir(parents=True)
    (rest / "00099.jpg").write_bytes(b"half")
    monkeypatch.chdir(tmp_path.parent)
    make_doom(tmp_path.name, what=("clips",), size=SIZE)
    assert digests(tmp_path / "clips") == digests(out / "clips")


def test_wrong_requests(tmp_path, monkeypatch):
    with pytest.raises(FovealError, match="no set heaven"):
        make_doom(tmp_path, what=("pile", "heaven"))
    for size in (0, -1, float("nan"), float("inf")):
        with pytest.raises(FovealError, match="above 0"):
            make_doom(tmp_path, size=size)
    (tmp_path / "pile").mkdir()
    with pytest.raises(FovealError, match=r"no META\.json"):
        make_doom(tmp_path, what=("pile",))
    monkeypatch.setitem(sys.modules, "vizdoom", None)
    with pytest.raises(FovealError) as error:
        make_doom(tmp_path)
    assert "foveal[worlds]" in error.value.hint


def test_the_camera_and_the_depth_agree_with_where_things_are(tmp_path, monkeypatch):
    """A pillar's feet and its distance, from the game's own coordinates."""
    monkeypatch.chdir(tmp_path)  # ViZDoom leaves a folder where it stands
    camera, dice = intrinsics((320, 240)), Dice(0, "camera")
    along, across, feet = [], [], []
    with World("MAP10", 1) as world:
        for place in spots("MAP10")[::12]:
            world.warp(*place)
            world.step(turn=dice.uniform(0, 360), tics=4)
            world.summon("TechPillar")
            for _ in range(3):
                world.step(dice.uniform(-50, -20), dice.uniform(-20, 20), tics=6)
                world.step(tics=20)  # the eye swings while the agent walks
                frame = world.look()
                for seen in frame.seen:
                    x, y, w, h = seen.box
                    mask = frame.masks == seen.value
                    if seen.name != "TechPillar" or x < 2 or x + w > 318 or y + h > 238:
                        continue
                    ahead = frame.ahead(seen)
                    if mask.sum() < 100 or not world.inside():
                        continue
                    along.append(np.median(map_units(frame.depth[mask])) - ahead)
                    turn = np.radians(frame.angle)
                    dx = seen.position[0] - frame.position[0]
                    dy = seen.position[1] - frame.position[1]
                    right = dx * np.sin(turn) - dy * np.cos(turn)
                    across.append(camera["fx"] * right / ahead + camera["cx"] - (x + w / 2 - 0.5))
                    below = frame.position[2] + 41 - seen.position[2]
                    feet.append(camera["fy"] * below / ahead + camera["cy"] - (y + h - 1))
    assert len(along) > 20
    assert np.max(np.abs(along)) < 6
    assert np.max(np.abs(across)) < 2
    assert np.median(np.abs(feet)) < 2


def test_covered_outline_sees_what_hides_an_object():
    mask = np.zeros((12, 12), bool)
    mask[3:9, 3:9] = True
    far = np.full((12, 12), 200, np.uint8)
    far[mask] = 50
    assert covered_outline(mask, far) == 0
    wall = far.copy()
    wall[9:] = 20  # a wall before its feet: one side of four
    assert covered_outline(mask, wall) == pytest.approx(0.25)
    floor = far.copy()
    floor[9:] = 48
    assert covered_outline(mask, floor) == 0


def test_shares():
    assert even_shares([5, 1, 9], 9) == [4, 1, 4]
    assert even_shares([1, 1], 5) == [1, 1]
    assert spread(5, ["a", "b", "c"]) == [("a", 1), ("b", 2), ("c", 2)]
    assert spread(5, ["a", "b", "c", "d"], at_least=2) == [("a", 2), ("c", 3)]
    assert spread(1, MAPS, at_least=4) == [("MAP01", 1)]
    assert sum(n for _, n in spread(4000, TRAIN_MAPS, at_least=4)) == 4000


def test_draws_are_keyed():
    first, again, other = Dice(0, "x"), Dice(0, "x"), Dice(1, "x")
    draws = [first.uniform() for _ in range(600)]
    assert draws == [again.uniform() for _ in range(600)]
    assert draws != [other.uniform() for _ in range(600)]
    assert abs(np.mean(draws) - 0.5) < 0.05
    assert {Dice(0, i).integer(3) for i in range(50)} == {0, 1, 2}


def test_thirty_to_forty_classes():
    assert 30 <= len(CLASSES) <= 40
    assert len(set(CLASSES.values())) == len(CLASSES)
    assert len(MONSTERS) == 13


def test_a_worker_that_dies_says_why(tmp_path):
    job = Job("nowhere", str(tmp_path), {"map_name": "MAP01"})
    with pytest.raises(FovealError, match=r"rendering MAP01 ended with code 1[\s\S]*nowhere"):
        run_jobs([job, job], 2, lambda text: None)


def test_errors_of_a_worker_and_of_the_caller_arrive(tmp_path):
    job = Job("pile", str(tmp_path), {"map_name": "MAP01", "split": "train", "seed": 0})
    good = Job("pile", job.folder, {**job.arguments, "frames": 1})

    def stop(text):
        raise RuntimeError(text)

    with pytest.raises(RuntimeError, match="pile: MAP01"):
        run_jobs([good], 1, stop)
    bad = Job("pile", job.folder, {**good.arguments, "map_name": "MAP99"})
    with pytest.raises(FovealError, match="no map MAP99"):
        run_jobs([bad], 1, lambda text: None)


def test_a_worker_that_is_ended_takes_its_game_along(tmp_path):
    arguments = {"map_name": "MAP01", "split": "train", "seed": 0, "frames": 10_000}
    job = {"module": "pile", "folder": str(tmp_path), "arguments": arguments}
    with subprocess.Popen(
        [sys.executable, "-m", "foveal.benchmarks.doom.worker"],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        cwd=tmp_path, start_new_session=True, text=True,
    ) as worker:  # fmt: skip
        worker.stdin.write(json.dumps(job) + "\n")
        worker.stdin.flush()
        wait_until(lambda: len(processes_of(worker.pid)) > 1)
        worker.terminate()
        assert worker.wait(60) == 1
    wait_until(lambda: not processes_of(worker.pid))


def processes_of(session):
    """Of one session, as Linux lists them; those that ended and were not asked for do not count."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, its_session = stat.read_text().rpartition(")")[2].split()[:4]
            if int(its_session) == session and state != "Z":
                found.append(int(stat.parent.name))
    return found


def wait_until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_watch(world):
    """DAVIS's layout; what is annotated moves, and most of the picture does not."""
    out, sets = world
    for split, maps in (("train", TRAIN_MAPS), ("test", TEST_MAPS)):
        root = out / "watch" / split
        clips = (root / "ImageSets" / f"{split}.txt").read_text().split()
        assert len(clips) == sets["watch"].counts[f"{split} clips"] == 1
        assert maps_of(clips) <= set(maps)
        frames = sorted((root / "JPEGImages" / clips[0]).glob("*.jpg"))
        masks = np.stack(
            [np.asarray(Image.open(root / "Annotations" / clips[0] / f"{p.stem}.png"))
             for p in frames]
        )  # fmt: skip
        assert masks.shape == (20, 240, 320) and set(np.unique(masks)) == {0, 1}
        pictures = np.stack([np.asarray(Image.open(p)) for p in frames]).astype(np.int16)
        change = np.abs(np.diff(pictures, axis=0)).mean(-1)
        moves = masks[1:] > 0
        assert change[moves].mean() > 2 * change[~moves].mean()
