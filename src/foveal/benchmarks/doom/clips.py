"""Ordered frames: an agent walks through a map while monsters come after it.

``clips/<split>/<clip>/00000.jpg ...``, and ``poses.csv`` beside them with the agent's pose.
"""

from __future__ import annotations

import csv
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from foveal.benchmarks.doom.classes import MONSTERS
from foveal.benchmarks.doom.jobs import Job
from foveal.benchmarks.doom.world import (
    TEST_MAPS,
    TRAIN_MAPS,
    Dice,
    Frame,
    World,
    clear_view,
    save_jpeg,
    set_scene,
    spread,
)
from foveal.errors import FovealError

RESOLUTION = (320, 240)
FRAMES = 32
TICS = 2  # between frames: 17.5 frames a second of game time
_CLIPS = {"train": 45, "test": 15}
_TRIES = 40
# The arch-vile's fire fills the whole picture.
_ACTORS = tuple(actor for actor in MONSTERS if actor != "Archvile")
_MOVED = 0.6  # share of steps in which the agent gets on
_CHANGE = 4.0  # mean absolute difference of neighbouring frames, of 255


def plan(folder: Path, *, size: float, seed: int) -> list[Job]:
    """One job a map."""
    return [
        Job(
            "clips",
            str(folder / split),
            {"map_name": m, "split": split, "seed": seed, "clips": n},
        )
        for split, maps in (("train", TRAIN_MAPS), ("test", TEST_MAPS))
        for m, n in spread(max(1, round(_CLIPS[split] * size)), maps)
    ]


def finish(folder: Path, parts: dict[str, list[dict[str, Any]]], *, size: float) -> dict[str, Any]:
    """Returns ``counts`` and what the frames mean."""
    counts = {f"{s} clips": sum(part["clips"] for part in maps) for s, maps in parts.items()}
    if not all(counts.values()):
        raise FovealError(f"too few lively clips: {counts}", hint="another seed or a larger size")
    return {
        "counts": {**counts, "frames each": FRAMES},
        "frames_per_second": 35 / TICS,
    }


def render_map(folder: Path, *, map_name: str, split: str, seed: int, clips: int) -> dict[str, Any]:
    """Writes ``<map>_<number>/<frame>.jpg`` and ``poses.csv`` below ``folder``.

    Args:
        folder: Where to write.
        map_name: The map.
        split: ``train`` or ``test``.
        seed: Of the data set.
        clips: How many.

    Returns:
        ``clips``: how many were written; fewer than asked for where the map gives no more.
    """
    dice = Dice(seed, "clips", map_name)
    done = 0
    with World(map_name, dice.integer(2**31 - 1), RESOLUTION, hunted=True) as world:
        for _ in range(_TRIES * clips):
            if done == clips:
                break
            world.restart()
            set_scene(world, dice, [dice.choice(_ACTORS) for _ in range(6)])
            frames = _walk(world, dice)
            if _lively(frames):
                _save(frames, folder / f"{map_name.lower()}_{done:03d}")
                done += 1
    return {"clips": done}


def _walk(world: World, dice: Dice) -> list[Frame]:
    """A smooth walk: speed and turning drift; at a wall the agent turns on until it is free."""
    frames: list[Frame] = []
    turn, escape = 0.0, dice.choice((-9.0, 9.0))
    while len(frames) < FRAMES:
        turn = 0.8 * turn + dice.uniform(-2.5, 2.5)
        stuck = len(frames) > 1 and _distance(frames[-2], frames[-1]) < 2.0
        world.step(
            dice.uniform(18, 30),
            dice.uniform(-4, 4),
            escape if stuck else turn,
            tics=TICS,
            use=stuck,
        )
        frames.append(world.look())
    return frames


def _distance(a: Frame, b: Frame) -> float:
    return float(np.hypot(a.position[0] - b.position[0], a.position[1] - b.position[1]))


def _lively(frames: list[Frame]) -> bool:
    """Whether the agent gets on, the picture changes, it is not dark, and a monster is in view."""
    pairs = list(pairwise(frames))
    # A jump is a teleporter or the start after an exit: a cut, not motion.
    steps = [_distance(a, b) for a, b in pairs]
    change = [np.abs(a.image.astype(np.int16) - b.image).mean() for a, b in pairs]
    actors = {actor.lower() for actor in _ACTORS}
    monsters = sum(any(s.name.lower() in actors for s in f.seen) for f in frames)
    return (
        max(steps) < 60
        and float(np.mean([s > 2.0 for s in steps])) >= _MOVED
        and float(np.mean(change)) >= _CHANGE
        and sum(map(clear_view, frames)) >= 0.9 * len(frames)
        and monsters >= len(frames) // 4
    )


def _save(frames: list[Frame], folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for i, frame in enumerate(frames):
        save_jpeg(frame.image, folder / f"{i:05d}.jpg")
    with (folder / "poses.csv").open("w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(["frame", "x", "y", "z", "angle"])
        for i, frame in enumerate(frames):
            writer.writerow([i, *(round(v, 2) for v in (*frame.position, frame.angle))])
