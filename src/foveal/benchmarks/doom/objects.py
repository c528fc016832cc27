"""Crops of objects, 64 px, one folder a class: loosely cropped, off-centre, in clutter.

One job renders one map. It stops when every class has its share or its states are used up.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from foveal.benchmarks.doom.classes import CLASSES, name_of
from foveal.benchmarks.doom.jobs import Job
from foveal.benchmarks.doom.world import (
    TEST_MAPS,
    TRAIN_MAPS,
    Dice,
    Frame,
    Seen,
    World,
    pick,
    set_scene,
)
from foveal.errors import FovealError

SIDE = 64
_PER_CLASS = {"train": 305, "test": 102}
_SURPLUS = 2.0
_CROPS_PER_MAP = 4  # of a class, at least
_SCENES_AT_LEAST = 46
# Fewer maps must make up for each other where a class does not fit into one.
_SCENES_PER_CROP = {"train": 38, "test": 54}
RESOLUTION = (640, 480)
LOOSE = (1.5, 2.8)  # side of the crop / larger side of the object's box
_OVER = 0.1  # share of the box that may lie outside of the crop, on each side
_BOX = (28, 300)  # px, larger side of the box
_MASK = 220  # px
_COVERED = 0.2  # share of the outline that may touch something nearer
_RIVAL = 0.75  # the largest other object in the crop / the object
_DARK = (20.0, 20.0)  # mean luma of the object and of the crop, of 255
_CONTRAST = 9.0  # standard deviation of luma in the crop
_LOOKS = 8
_CROPS_PER_OBJECT = 2
_SCENES_PER_EPISODE = 10

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def plan(folder: Path, *, size: float, seed: int) -> list[Job]:
    """One job a map; a small set comes from few maps, see ``spread``."""
    jobs = []
    for split, maps in (("train", TRAIN_MAPS), ("test", TEST_MAPS)):
        per_class = _per_class(split, size)
        used = min(len(maps), max(1, per_class // _CROPS_PER_MAP))
        share = math.ceil(per_class / used)
        for map_name in pick(maps, used):
            arguments = {"map_name": map_name, "split": split, "seed": seed, "share": share}
            jobs.append(Job("objects", str(folder / split), arguments))
    return jobs


def finish(folder: Path, parts: dict[str, list[dict[str, Any]]], *, size: float) -> dict[str, Any]:
    """Keeps the same number of crops of every class, spread evenly over the maps.

    Maps differ in what fits into them (an arachnotron needs a hall), so some hold more of a class
    than their share, to make up for others.

    Returns:
        ``counts``, ``classes``, ``per_class``, ``available`` (before balancing) and ``states``.
    """
    counts: dict[str, int] = {}
    per_class: dict[str, int] = {}
    available: dict[str, dict[str, int]] = {}
    for split, maps in parts.items():
        found = {name: [m["crops"][name] for m in maps] for name in CLASSES}
        kept = min(_per_class(split, size), *(sum(numbers) for numbers in found.values()))
        if kept == 0:
            empty = ", ".join(name for name, numbers in found.items() if not sum(numbers))
            raise FovealError(f"no {split} crop of {empty} was seen", hint="a larger size")
        available[split] = {name: sum(numbers) for name, numbers in found.items()}
        for name, numbers in found.items():
            for m, keep, n in zip(maps, even_shares(numbers, kept), numbers, strict=True):
                for i in range(keep, n):
                    (folder / split / name / crop_name(m["map_name"], i)).unlink()
        per_class[split] = kept
        counts[f"{split} crops"] = kept * len(CLASSES)
    states = sum(m["states"] for maps in parts.values() for m in maps)
    return {
        "counts": {**counts, "classes": len(CLASSES)},
        "classes": CLASSES,
        "per_class": per_class,
        "available": available,
        "states": states,
    }


def even_shares(numbers: Sequence[int], total: int) -> list[int]:
    """How many of each to take, as even as the numbers allow, ``total`` in all."""
    shares = [0] * len(numbers)
    left = total
    while left and any(n > s for n, s in zip(numbers, shares, strict=True)):
        for i, n in enumerate(numbers):
            if left and n > shares[i]:
                shares[i] += 1
                left -= 1
    return shares


def crop_name(map_name: str, number: int) -> str:
    """The file name of a crop, the same width for all, so that names sort by number."""
    return f"{map_name.lower()}_{number:05d}.png"


def _per_class(split: str, size: float) -> int:
    return max(1, round(_PER_CLASS[split] * size))


def render_map(folder: Path, *, map_name: str, split: str, seed: int, share: int) -> dict[str, Any]:
    """Writes ``<class>/<map>_<number>.png`` below ``folder``.

    Args:
        folder: Where to write.
        map_name: The map.
        split: ``train`` or ``test``.
        seed: Of the data set.
        share: Crops of each class that are enough; up to ``_SURPLUS`` times as many are written.

    Returns:
        ``map_name``; ``crops``: for each class how many there are; ``states``: frames rendered.
    """
    most = math.ceil(share * _SURPLUS)
    dice = Dice(seed, "objects", map_name)
    counts: Counter[str] = Counter()
    states = 0
    with World(map_name, dice.integer(2**31 - 1), RESOLUTION) as world:
        for scene in range(_SCENES_AT_LEAST + _SCENES_PER_CROP[split] * share):
            wanted = [name for name in CLASSES if counts[name] < share]
            if not wanted:
                break
            if scene and scene % _SCENES_PER_EPISODE == 0:
                world.restart()
            wanted.sort(key=lambda name: counts[name])
            set_scene(world, dice, _actors(dice, wanted))
            taken: Counter[int] = Counter()
            for _ in range(_LOOKS):
                world.step(
                    dice.uniform(-45, 30),
                    dice.uniform(-40, 40),
                    dice.uniform(-35, 35),
                    tics=2 + dice.integer(6),
                )
                states += 1
                for name, seen, crop in _crops(world.look(), dice):
                    if counts[name] < most and taken[seen.id] < _CROPS_PER_OBJECT:
                        path = folder / name / crop_name(map_name, counts[name])
                        path.parent.mkdir(parents=True, exist_ok=True)
                        Image.fromarray(crop).save(path)
                        counts[name] += 1
                        taken[seen.id] += 1
    return {
        "map_name": map_name,
        "crops": {name: counts[name] for name in CLASSES},
        "states": states,
    }


def _actors(dice: Dice, wanted: list[str]) -> list[str]:
    """Six to nine actors, two thirds of them among the classes that lag most."""
    lagging = wanted[: max(4, len(wanted) // 4)]
    count = 6 + dice.integer(4)
    return [CLASSES[dice.choice(lagging if i % 3 else wanted)] for i in range(count)]


def _crops(frame: Frame, dice: Dice) -> Iterator[tuple[str, Seen, NDArray[np.uint8]]]:
    """Crops uint8 [SIDE, SIDE, 3] of what is really visible in a frame."""
    height, width = frame.masks.shape
    for seen in frame.seen:
        # Drawn for every object, used or not, so that thresholds do not shift the draws.
        loose, right, down = dice.uniform(*LOOSE), dice.uniform(), dice.uniform()
        name = name_of(seen.name)
        if name is None or not visible(frame, seen):
            continue
        x, y, w, h = seen.box
        side = min(round(max(w, h) * loose), height)
        # The object lies anywhere in the crop, and may stick out of it a little.
        left = _start(x, w, side, right, width)
        top = _start(y, h, side, down, height)
        part = np.s_[top : top + side, left : left + side]
        own = frame.masks[part] == seen.value
        counts = np.bincount(frame.masks[part].ravel(), minlength=256)
        others = [counts[o.value] for o in frame.seen if o.value != seen.value]
        if max(others, default=0) > _RIVAL * counts[seen.value]:
            continue
        luma = frame.image[part].astype(np.float32) @ _LUMA
        if luma[own].mean() < _DARK[0] or luma.mean() < _DARK[1] or luma.std() < _CONTRAST:
            continue
        crop = Image.fromarray(frame.image[part])
        # Box averages where it shrinks; where it grows, pixels get soft edges.
        how = Image.Resampling.BOX if side >= 2 * SIDE else Image.Resampling.BILINEAR
        yield name, seen, np.asarray(crop.resize((SIDE, SIDE), how))


def _start(at: int, length: int, side: int, share: float, limit: int) -> int:
    """Where a crop begins so that an object at ``at`` lies ``share`` of the way along it."""
    over = _OVER * length
    start = at + over - share * (side - length + 2 * over)
    return int(np.clip(round(start), 0, limit - side))


def visible(frame: Frame, seen: Seen) -> bool:
    """Whether an object is large enough, inside the frame, and not hidden behind something."""
    height, width = frame.masks.shape
    x, y, w, h = seen.box
    if not _BOX[0] <= max(w, h) <= _BOX[1] or x < 1 or y < 1 or x + w >= width or y + h >= height:
        return False
    around = np.s_[y - 1 : y + h + 1, x - 1 : x + w + 1]
    mask = frame.masks[around] == seen.value
    if mask.sum() < _MASK:
        return False
    return covered_outline(mask, frame.depth[around]) <= _COVERED


def covered_outline(mask: NDArray[np.bool_], depth: NDArray[np.uint8]) -> float:
    """Share of a mask's outline behind which something nearer begins.

    A sprite has one depth, so whatever hides a part of it is nearer by a jump; the floor at its
    feet is not.

    Args:
        mask: [H, W], with a margin of one pixel.
        depth: [H, W].
    """
    own = float(np.median(depth[mask]))
    nearer = depth < own - max(2.0, 0.06 * own)
    inner = mask[1:-1, 1:-1]
    outline = covered = 0
    for shifted in (np.s_[:-2, 1:-1], np.s_[2:, 1:-1], np.s_[1:-1, :-2], np.s_[1:-1, 2:]):
        edge = inner & ~mask[shifted]
        outline += int(edge.sum())
        covered += int((edge & nearer[shifted]).sum())
    return covered / max(outline, 1)
