"""Unlabelled frames of the training maps, one folder a map: the pile to learn from.

``sources.csv`` says where each frame was taken, as a real pile seldom does.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from foveal.benchmarks.doom.classes import CLASSES
from foveal.benchmarks.doom.jobs import Job
from foveal.benchmarks.doom.world import (
    TRAIN_MAPS,
    Dice,
    World,
    clear_view,
    save_jpeg,
    set_scene,
    spread,
)

RESOLUTION = (320, 240)
_FRAMES = 4000
_FRAMES_PER_SCENE = 4
_SCENES_PER_EPISODE = 15
_SCENES_PER_FRAME = 2  # at most, where a map is dark


def plan(folder: Path, *, size: float, seed: int) -> list[Job]:
    """One job a map."""
    return [
        Job("pile", str(folder), {"map_name": m, "split": "train", "seed": seed, "frames": n})
        for m, n in spread(max(1, round(_FRAMES * size)), TRAIN_MAPS, at_least=_FRAMES_PER_SCENE)
    ]


def finish(folder: Path, parts: dict[str, list[dict[str, Any]]], *, size: float) -> dict[str, Any]:
    """Writes ``sources.csv``; returns ``counts``."""
    rows = [row for part in parts["train"] for row in part["rows"]]
    with (folder / "sources.csv").open("w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(["file", "map", "x", "y", "z", "angle"])
        writer.writerows(rows)
    return {"counts": {"frames": len(rows), "maps": len(parts["train"])}}


def render_map(
    folder: Path, *, map_name: str, split: str, seed: int, frames: int
) -> dict[str, Any]:
    """Writes ``<map>/<number>.jpg`` below ``folder``.

    Args:
        folder: Where to write.
        map_name: The map.
        split: Always ``train``.
        seed: Of the data set.
        frames: How many.

    Returns:
        ``rows`` of ``sources.csv``.
    """
    dice = Dice(seed, "pile", map_name)
    actors = tuple(CLASSES.values())
    rows: list[list[Any]] = []
    with World(map_name, dice.integer(2**31 - 1), RESOLUTION) as world:
        for scene in range(_SCENES_PER_FRAME * frames + 20):
            if scene and scene % _SCENES_PER_EPISODE == 0:
                world.restart()
            # Every other scene is the map as its author left it.
            summoned = [dice.choice(actors) for _ in range(5)] if scene % 2 else []
            set_scene(world, dice, summoned)
            for _ in range(_FRAMES_PER_SCENE):
                if len(rows) == frames:
                    return {"rows": rows}
                world.step(
                    dice.uniform(-30, 50),
                    dice.uniform(-30, 30),
                    dice.uniform(-70, 70),
                    tics=4 + dice.integer(12),
                )
                frame = world.look()
                if clear_view(frame):
                    name = f"{map_name.lower()}/{len(rows):05d}.jpg"
                    save_jpeg(frame.image, folder / name)
                    place = [*frame.position, frame.angle]
                    rows.append([name, map_name, *(round(v, 1) for v in place)])
    return {"rows": rows}
