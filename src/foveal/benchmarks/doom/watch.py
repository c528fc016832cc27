"""Watching monsters move: the camera stands, with exact masks of what moves.

In DAVIS's layout, ``watch/<split>/JPEGImages/<clip>/00000.jpg ...``, ``Annotations`` (1 is what
moves) and ``ImageSets/<split>.txt``: what motion masks are made from and measured by.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

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
from foveal.core.files import write_text
from foveal.errors import FovealError

RESOLUTION = (320, 240)
FRAMES = 20
TICS = 3  # between frames: 11.7 frames a second of game time
_CLIPS = {"train": 64, "test": 16}
_TRIES = 40
_ACTORS = tuple(actor for actor in MONSTERS if actor != "Archvile")
_MOVED = 1.0  # map units between neighbouring frames
_SHARE = (0.01, 0.5)  # of a frame that moves, in a third of the frames or more
_SWAY = 24.0  # map units: hits push the agent


def plan(folder: Path, *, size: float, seed: int) -> list[Job]:
    """One job a map."""
    return [
        Job(
            "watch",
            str(folder / split),
            {"map_name": m, "split": split, "seed": seed, "clips": n},
        )
        for split, maps in (("train", TRAIN_MAPS), ("test", TEST_MAPS))
        for m, n in spread(max(1, round(_CLIPS[split] * size)), maps)
    ]


def finish(folder: Path, parts: dict[str, list[dict[str, Any]]], *, size: float) -> dict[str, Any]:
    """Lists the clips; returns ``counts``."""
    for split in parts:
        names = sorted(p.name for p in (folder / split / "JPEGImages").glob("*"))
        write_text(folder / split / "ImageSets" / f"{split}.txt", "\n".join(names) + "\n")
    counts = {f"{s} clips": sum(part["clips"] for part in maps) for s, maps in parts.items()}
    if not all(counts.values()):
        raise FovealError(f"too few lively clips: {counts}", hint="another seed or a larger size")
    return {"counts": {**counts, "frames each": FRAMES}, "frames_per_second": 35 / TICS}


def render_map(folder: Path, *, map_name: str, split: str, seed: int, clips: int) -> dict[str, Any]:
    """Writes frames and masks of ``<map>_<number>`` below ``folder``. See ``clips.render_map``."""
    dice = Dice(seed, "watch", map_name)
    done = 0
    with World(map_name, dice.integer(2**31 - 1), RESOLUTION, hunted=True) as world:
        for _ in range(_TRIES * clips):
            if done == clips:
                break
            world.restart()
            set_scene(world, dice, [dice.choice(_ACTORS) for _ in range(2 + dice.integer(3))])
            frames = []
            for _ in range(FRAMES):
                world.step(tics=TICS)
                frames.append(world.look())
            masks = moving(frames)
            if _lively(frames, masks):
                _save(frames, masks, folder, f"{map_name.lower()}_{done:03d}")
                done += 1
    return {"clips": done}


def moving(frames: list[Frame]) -> NDArray[np.bool_]:
    """[L, H, W]: the objects that are elsewhere in the frame before or after."""
    places = [{s.id: np.array(s.position) for s in f.seen} for f in frames]
    masks = []
    for t, frame in enumerate(frames):
        moved = []
        for s in frame.seen:
            others = [
                places[n][s.id]
                for n in (t - 1, t + 1)
                if 0 <= n < len(frames) and s.id in places[n]
            ]
            if any(np.linalg.norm(np.array(s.position) - o) > _MOVED for o in others):
                moved.append(s.value)
        masks.append(np.isin(frame.masks, moved))
    return np.stack(masks)


def _lively(frames: list[Frame], masks: NDArray[np.bool_]) -> bool:
    """Whether the agent stood, something moves in a third of the frames, and it is not dark."""
    share = masks.mean((1, 2))
    stood = np.ptp([f.position for f in frames], axis=0).max() < _SWAY
    inside = (share >= _SHARE[0]) & (share <= _SHARE[1])
    light = sum(map(clear_view, frames)) >= 0.6 * len(frames)
    return bool(stood and light and inside.mean() >= 1 / 3)


def _save(frames: list[Frame], masks: NDArray[np.bool_], folder: Path, name: str) -> None:
    pictures, annotations = folder / "JPEGImages" / name, folder / "Annotations" / name
    for each in (pictures, annotations):
        shutil.rmtree(each, ignore_errors=True)
        each.mkdir(parents=True)
    for i, (frame, mask) in enumerate(zip(frames, masks, strict=True)):
        save_jpeg(frame.image, pictures / f"{i:05d}.jpg")
        Image.fromarray(mask.astype(np.uint8)).save(annotations / f"{i:05d}.png")
