"""Boxes of objects, and COCO's JSON that holds them.

Lin et al., "Microsoft COCO: common objects in context", ECCV 2014.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.data.files import FileSource, peeked
from foveal.errors import FovealError

_COCO = "annotations/instances_train2017.json, train2017/*.jpg and the same for val2017"


@dataclass(frozen=True)
class Boxes:
    """The objects of one picture.

    Attributes:
        corners: Left, top, right, bottom, float64 [M, 4]; continuous, counted from the corner of
            the first pixel: a box over the first pixel alone is (0, 0, 1, 1).
        label: Number of the class, counted from 0, int64 [M].
        difficult: Not to be counted (VOC: difficult, COCO: crowd), bool [M].
        area: Pixels, float64 [M]: of the mask where the data say, else of the box.
    """

    corners: NDArray[np.float64]
    label: NDArray[np.int64]
    difficult: NDArray[np.bool_]
    area: NDArray[np.float64]


class MarkedSource(FileSource):
    """Pictures each of which may hold several classes, or none; they have no ``labels``.

    Attributes:
        marks: int8 [N, C], in the order of ``classes``: 1 where the class is there, 0 where it is
            not, -1 where it is not to be counted.
    """

    marks: NDArray[np.int8]


class CocoSource(MarkedSource):
    """Pictures of one COCO JSON file. A crowd alone marks its class as there.

    Attributes:
        things: Names of the classes, in the order of their ids.
        category_ids: The ids, in the same order.
    """

    def __init__(self, root: str, json_file: Path, folder: Path) -> None:
        try:
            about = json.loads(json_file.read_text(encoding="utf-8"))
            images: list[dict[str, Any]] = sorted(about["images"], key=lambda image: image["id"])
            categories = sorted(about["categories"], key=lambda category: category["id"])
            self._boxes = _coco_boxes(about["annotations"], images, categories)
            names = [image["file_name"] for image in images]
            self.things = [str(category["name"]) for category in categories]
            self.category_ids = [int(category["id"]) for category in categories]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FovealError(
                f"{json_file} cannot be read as COCO annotations ({error!r})",
                hint="images (id, file_name), annotations (image_id, category_id, bbox), "
                "categories (id, name)",
            ) from None
        super().__init__(root, [folder / name for name in names], names, classes=list(self.things))
        self.annotations = json_file
        self.marks = np.zeros((len(names), len(self.things)), np.int8)
        for row, found in zip(self.marks, self._boxes, strict=True):
            row[found.label] = 1

    def boxes(self, i: int) -> Boxes:
        """The objects of a picture."""
        return self._boxes[i]

    def fingerprint(self) -> str:
        """See ``Source``; the annotations count too."""
        stat = self.annotations.stat()
        return f"{super().fingerprint()}-{stat.st_size}-{stat.st_mtime_ns}"


def _coco_boxes(
    annotations: list[dict[str, Any]],
    images: list[dict[str, Any]],
    categories: list[dict[str, Any]],
) -> list[Boxes]:
    number = {category["id"]: i for i, category in enumerate(categories)}
    by_image: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in images}
    for each in annotations:
        by_image[each["image_id"]].append(each)
    found = []
    for image in images:
        own = by_image[image["id"]]
        xywh = np.array([each["bbox"] for each in own], np.float64).reshape(-1, 4)
        found.append(
            Boxes(
                np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1),
                np.array([number[each["category_id"]] for each in own], np.int64),
                np.array([bool(each.get("iscrowd", 0)) for each in own], bool),
                np.array([each.get("area", each["bbox"][2] * each["bbox"][3]) for each in own]),
            )
        )
    return found


def is_coco(folder: Path) -> bool:
    """Whether a folder has COCO's layout."""
    return any((folder / "annotations").glob("instances_*.json"))


def open_coco(
    text: str, folder: Path, *, channels: int | None = None
) -> tuple[CocoSource, CocoSource]:
    """The training and the validation part of a folder in COCO's layout.

    Args:
        text: What the user calls it.
        folder: Holds ``annotations`` and the pictures.
        channels: Of both parts; None: as the pictures are.

    Raises:
        FovealError: A file is missing or wrong.
    """
    parts = []
    for part in ("train", "val"):
        files = sorted((folder / "annotations").glob(f"instances_{part}*.json"))
        if len(files) != 1:
            raise FovealError(
                f"{folder / 'annotations'} holds {len(files)} files instances_{part}*.json, and "
                "one is needed",
                hint=_COCO,
            )
        year = files[0].stem.removeprefix("instances_")
        pictures = next((folder / n for n in (year, "images") if (folder / n).is_dir()), None)
        if pictures is None:
            raise FovealError(
                f"{folder} has no {year}/ with the pictures of {files[0].name}", hint=_COCO
            )
        source = CocoSource(f"{text}/{year}", files[0], pictures)
        if not any(path.is_file() for path in source.paths):
            raise FovealError(
                f"{pictures} holds none of the pictures that {files[0]} lists", hint=_COCO
            )
        parts.append(peeked(source, channels))
    train, val = parts
    train.channels = val.channels = max(train.channels, val.channels)
    train.bits = val.bits = max(train.bits, val.bits)
    if train.things != val.things:
        raise FovealError(f"the two files in {folder / 'annotations'} have different categories")
    return train, val
