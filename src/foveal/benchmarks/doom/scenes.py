"""Scenes with several objects in Pascal VOC's layout, with depth and the camera.

``JPEGImages/*.jpg``, ``Annotations/*.xml`` (boxes from 1, both ends inside), ``SegmentationClass``
and ``SegmentationObject`` (palette PNG; 0 background, 255 left out), ``Depth/*.png`` (16 bit, map
units, see ``world.DEPTH_UNIT``), ``ImageSets/{Main,Segmentation}/{train,val}.txt``,
``intrinsics.json``, ``classes.txt``. Layout: Everingham et al., "The Pascal Visual Object Classes
(VOC) Challenge", IJCV 2010.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from foveal.benchmarks.doom.classes import CLASSES, name_of
from foveal.benchmarks.doom.jobs import Job
from foveal.benchmarks.doom.objects import covered_outline
from foveal.benchmarks.doom.world import (
    TEST_MAPS,
    TRAIN_MAPS,
    Dice,
    Frame,
    World,
    clear_view,
    intrinsics,
    map_units,
    save_jpeg,
    set_scene,
    spread,
)
from foveal.core.files import write_json, write_text

RESOLUTION = (320, 240)
VOID = 255
_SCENES = {"train": 800, "val": 200}
_OBJECTS = 2  # at least, in a frame
_AREA = 60  # px; what is smaller is left out of the annotation
_DIFFICULT = 0.4  # share of the outline that is covered
_LOOKS = 5
_FRAMES_PER_SCENE = 2
_SCENES_PER_EPISODE = 12
_TRIES = 12  # scenes for each frame, at most
_CLASS_NUMBER = {name: i + 1 for i, name in enumerate(CLASSES)}


@dataclass(frozen=True)
class Annotated:
    """One object of a scene.

    Attributes:
        name: Its class.
        value: Its value in the frame's masks.
        box: xmin, ymin, xmax, ymax in pixels from 0, both ends inside: the mask's extent.
        truncated: It reaches the frame's edge.
        difficult: Much of its outline is covered.
    """

    name: str
    value: int
    box: tuple[int, int, int, int]
    truncated: bool
    difficult: bool


def plan(folder: Path, *, size: float, seed: int) -> list[Job]:
    """One job a map."""
    return [
        Job("scenes", str(folder), {"map_name": m, "split": split, "seed": seed, "frames": n})
        for split, maps in (("train", TRAIN_MAPS), ("val", TEST_MAPS))
        for m, n in spread(max(1, round(_SCENES[split] * size)), maps, at_least=_FRAMES_PER_SCENE)
    ]


def finish(folder: Path, parts: dict[str, list[dict[str, Any]]], *, size: float) -> dict[str, Any]:
    """Writes the lists, the class names and the camera; returns ``counts``."""
    counts: dict[str, int] = {}
    objects: Counter[str] = Counter()
    for split, maps in parts.items():
        names = [name for part in maps for name in part["names"]]
        for part in maps:
            objects.update(part["objects"])
        for kind in ("Main", "Segmentation"):
            write_text(
                folder / "ImageSets" / kind / f"{split}.txt", "".join(f"{n}\n" for n in names)
            )
        counts[f"{split} frames"] = len(names)
    write_text(folder / "classes.txt", "".join(f"{name}\n" for name in CLASSES))
    write_json(folder / "intrinsics.json", intrinsics(RESOLUTION))
    return {
        "counts": {**counts, "objects": sum(objects.values())},
        "objects": {name: objects[name] for name in CLASSES},
    }


def render_map(
    folder: Path, *, map_name: str, split: str, seed: int, frames: int
) -> dict[str, Any]:
    """Writes the pictures and annotations of one map below ``folder``.

    Args:
        folder: Where to write.
        map_name: The map.
        split: ``train`` or ``val``.
        seed: Of the data set.
        frames: How many.

    Returns:
        ``names`` of the frames and ``objects``, how many of each class.
    """
    dice = Dice(seed, "scenes", map_name)
    actors = tuple(CLASSES.values())
    names: list[str] = []
    objects: Counter[str] = Counter()
    with World(map_name, dice.integer(2**31 - 1), RESOLUTION) as world:
        for scene in range(_TRIES * frames + 20):
            if len(names) == frames:
                break
            if scene and scene % _SCENES_PER_EPISODE == 0:
                world.restart()
            set_scene(world, dice, [dice.choice(actors) for _ in range(5 + dice.integer(5))])
            kept = 0
            for _ in range(_LOOKS):
                world.step(
                    dice.uniform(-45, 20),
                    dice.uniform(-40, 40),
                    dice.uniform(-35, 35),
                    tics=3 + dice.integer(6),
                )
                frame = world.look()
                found = annotate(frame)
                if len(found) < _OBJECTS or not clear_view(frame):
                    continue
                names.append(f"{map_name.lower()}_{len(names):05d}")
                _write(folder, names[-1], frame, found)
                objects.update(o.name for o in found)
                kept += 1
                if kept == _FRAMES_PER_SCENE or len(names) == frames:
                    break
    return {"names": names, "objects": dict(objects)}


def annotate(frame: Frame) -> list[Annotated]:
    """The objects of known classes that are large enough, nearest last."""
    height, width = frame.masks.shape
    found = []
    for seen in frame.seen:
        name = name_of(seen.name)
        mask = frame.masks == seen.value
        if name is None or mask.sum() < _AREA:
            continue
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = (int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1]))
        truncated = box[0] == 0 or box[1] == 0 or box[2] == width - 1 or box[3] == height - 1
        covered = covered_outline(np.pad(mask, 1), np.pad(frame.depth, 1, constant_values=255))
        found.append(Annotated(name, seen.value, box, truncated, covered > _DIFFICULT))
    return found


def _write(folder: Path, name: str, frame: Frame, found: list[Annotated]) -> None:
    save_jpeg(frame.image, folder / "JPEGImages" / f"{name}.jpg")
    classes, numbers = _segmentation(frame, found)
    for kind, image in (("SegmentationClass", classes), ("SegmentationObject", numbers)):
        picture = Image.fromarray(image, mode="P")
        picture.putpalette(_voc_palette())
        _save(picture, folder / kind / f"{name}.png")
    _save(Image.fromarray(map_units(frame.depth)), folder / "Depth" / f"{name}.png")
    text = _annotation(name, frame, found)
    path = folder / "Annotations" / f"{name}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def _segmentation(
    frame: Frame, found: list[Annotated]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Class and object numbers, uint8 [H, W]; VOID where another object stands."""
    class_of, number_of = np.zeros(256, np.uint8), np.zeros(256, np.uint8)
    for seen in frame.seen:
        class_of[seen.value] = number_of[seen.value] = VOID
    for i, each in enumerate(found):
        class_of[each.value], number_of[each.value] = _CLASS_NUMBER[each.name], i + 1
    return class_of[frame.masks], number_of[frame.masks]


def _annotation(name: str, frame: Frame, found: list[Annotated]) -> str:
    root = ElementTree.Element("annotation")

    def put(parent: ElementTree.Element, tag: str, text: Any = None) -> ElementTree.Element:
        child = ElementTree.SubElement(parent, tag)
        child.text = None if text is None else str(text)
        return child

    put(root, "folder", "scenes")
    put(root, "filename", f"{name}.jpg")
    put(put(root, "source"), "database", "foveal Doom world")
    size = put(root, "size")
    for tag, value in zip(("height", "width", "depth"), frame.image.shape, strict=True):
        put(size, tag, value)
    put(root, "segmented", 1)
    for each in found:
        item = put(root, "object")
        put(item, "name", each.name)
        put(item, "pose", "Unspecified")
        put(item, "truncated", int(each.truncated))
        put(item, "difficult", int(each.difficult))
        box = put(item, "bndbox")
        for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), each.box, strict=True):
            put(box, tag, value + 1)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _voc_palette() -> list[int]:
    """VOC's colours: the bits of the number, dealt to red, green and blue from the top."""
    palette = []
    for number in range(256):
        colour = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                colour[channel] |= (number >> channel & 1) << (7 - bit)
            number >>= 3
        palette += colour
    return palette
