"""Pictures in PASCAL VOC's layout: any number of classes a picture, boxes, and what to leave out.

::

    DATA/JPEGImages/NAME.jpg        (or .png)
    DATA/Annotations/NAME.xml       (object: name, difficult, bndbox counted from 1, ends inside)
    DATA/ImageSets/Main/PART.txt    (names, one a line; trainval and test, or train and val)

``voc_years`` joins two folders of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from foveal.data.boxes import Boxes, MarkedSource
from foveal.data.files import peeked
from foveal.errors import FovealError

LAYOUT = ("DATA/JPEGImages/NAME.jpg, DATA/Annotations/NAME.xml and DATA/ImageSets/Main/"
          "{trainval,test}.txt (or {train,val}.txt) with one NAME a line")  # fmt: skip
_FOLDERS = ("Annotations", "ImageSets", "JPEGImages")
_ENDINGS = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class VocObject:
    """One object of an annotation.

    Attributes:
        name: Its class.
        box: xmin, ymin, xmax, ymax in pixels counted from 1, ends inside, as the file has them.
        difficult: Hard to see; no test counts it, found or missed.
        truncated: It goes on outside the picture.
    """

    name: str
    box: tuple[float, float, float, float]
    difficult: bool
    truncated: bool


class VocSource(MarkedSource):
    """Pictures with the objects in them.

    Args:
        root: For messages.
        paths: The pictures.
        names: Their names, without folder and ending.
        objects: The objects of each.
        classes: Names of the classes to count in.

    A mark is -1 where every object of the class is difficult.
    """

    def __init__(
        self,
        root: str,
        paths: Sequence[Path],
        names: Sequence[str],
        objects: Sequence[Sequence[VocObject]],
        classes: Sequence[str],
    ) -> None:
        super().__init__(root, paths, names, classes=list(classes))
        self.objects = [tuple(found) for found in objects]
        number = {name: i for i, name in enumerate(classes)}
        self.marks = np.zeros((len(names), len(classes)), np.int8)
        for row, found in zip(self.marks, self.objects, strict=True):
            # An easy object counts, whatever else of its class is there: easy ones come last.
            for each in sorted(found, key=lambda one: not one.difficult):
                row[number[each.name]] = -1 if each.difficult else 1

    @property
    def things(self) -> list[str]:
        """The classes, as what pictures hold."""
        return self.classes or []

    def boxes(self, i: int) -> Boxes:
        """The objects of a picture, counted from the corner of its first pixel."""
        found = self.objects[i]
        corners = np.array([each.box for each in found], np.float64).reshape(-1, 4)
        corners -= [1, 1, 0, 0]  # from 1, ends inside
        number = {name: k for k, name in enumerate(self.things)}
        return Boxes(
            corners,
            np.array([number[each.name] for each in found], np.int64),
            np.array([each.difficult for each in found], bool),
            np.prod(corners[:, 2:] - corners[:, :2], axis=1),
        )

    def fingerprint(self) -> str:
        """See ``Source``: names, sizes, times of change, the marks and boxes."""
        digest = hashlib.blake2b(super().fingerprint().encode(), digest_size=16)
        digest.update("\0".join(self.classes or []).encode())
        digest.update(self.marks.tobytes())
        for found in self.objects:
            digest.update(repr([(each.box, each.difficult) for each in found]).encode())
        return digest.hexdigest()


def is_voc(root: Path) -> bool:
    """Whether a folder is meant to be in VOC's layout: it has one of its folders."""
    return root.is_dir() and any((root / name).is_dir() for name in _FOLDERS)


def voc_splits(root: Path, *, channels: int | None = None) -> tuple[VocSource, VocSource]:
    """The training and the test part.

    ``trainval`` (``train`` where there is none) and ``test`` where there is a ``test.txt``, else
    ``train`` and ``val``.

    Returns:
        Both count in the classes of the training part, sorted by name.

    Raises:
        FovealError: A file or folder is missing or not what it should be; the message names it.
    """
    missing = [name for name in _FOLDERS if not (root / name).is_dir()]
    if missing:
        raise _wrong(f"{root} has no folder {missing[0]}/")
    parts = root / "ImageSets" / "Main"
    if not parts.is_dir():
        raise _wrong(f"{root} has no folder ImageSets/Main/")
    have = [name for name in ("trainval", "train", "val", "test")
            if (parts / f"{name}.txt").is_file()]  # fmt: skip
    if "test" in have and {"trainval", "train"} & set(have):
        train, test = have[0], "test"
    elif {"train", "val"} <= set(have):
        train, test = "train", "val"
    else:
        raise _wrong(f"{parts} has {_listed(have)}: no training and test part")
    first = open_voc(root, train, channels=channels)
    second = open_voc(root, test, classes=first.classes, channels=channels)
    first.channels = second.channels = max(first.channels, second.channels)
    first.bits = second.bits = max(first.bits, second.bits)
    return first, second


def voc_years(
    first: Path, second: Path, *, channels: int | None = None
) -> tuple[VocSource, VocSource]:
    """What is called 07+12: the training parts of both years, and the test part of the first.

    Raises:
        FovealError: See ``voc_splits``; the second year has a class the first has not.
    """
    train, test = voc_splits(first, channels=channels)
    part = "trainval" if (second / "ImageSets" / "Main" / "trainval.txt").is_file() else "train"
    more = open_voc(second, part, classes=train.classes, channels=channels)
    names = [f"{year.name}/{name}" for year, source in ((first, train), (second, more))
             for name in source.names]  # fmt: skip
    both = VocSource(
        f"{train.root} and {more.root}", [*train.paths, *more.paths], names,
        [*train.objects, *more.objects], train.classes or [],
    )  # fmt: skip
    both.channels = test.channels = max(train.channels, more.channels)
    both.bits = test.bits = max(train.bits, more.bits)
    return both, test


def open_voc(
    root: Path, part: str, *, classes: Sequence[str] | None = None, channels: int | None = None
) -> VocSource:
    """The pictures of one part.

    Args:
        root: The folder with ``Annotations``, ``ImageSets`` and ``JPEGImages``.
        part: ``trainval``, ``test``, ...: a file in ``ImageSets/Main``.
        classes: The classes to count in; None: those that occur, sorted by name.
        channels: 1 or 3; None: 1 where all pictures looked at are grey, else 3.

    Raises:
        FovealError: See ``voc_splits``; an object's class is not among ``classes``.
    """
    listed = root / "ImageSets" / "Main" / f"{part}.txt"
    names = listed_names(listed)
    objects = [read_annotation(root / "Annotations" / f"{name}.xml") for name in names]
    found = sorted({each.name for some in objects for each in some})
    if not found:
        raise _wrong(f"{listed} lists pictures without a single object in {root / 'Annotations'}")
    unknown = [] if classes is None else [name for name in found if name not in classes]
    if unknown:
        raise FovealError(
            f"{root} has {unknown[0]} in {part} and not in the training part",
            hint="the same classes in both parts",
        )
    paths = [_picture(root / "JPEGImages", name) for name in names]
    if not any(path.is_file() for path in paths):
        raise _wrong(f"{paths[0]} does not exist, nor does any other picture that {listed} lists")
    source = VocSource(f"{root} ({part})", paths, names, objects, classes or found)
    return peeked(source, channels)


def listed_names(path: Path, layout: str = LAYOUT) -> list[str]:
    """The pictures of a list: the first word of every line (lists of one class have a second).

    Raises:
        FovealError: It is not there, empty, or names a picture twice.
    """
    if not path.is_file():
        raise _wrong(f"{path} does not exist", layout)
    names = [line.split()[0] for line in path.read_text("utf-8").splitlines() if line.strip()]
    if not names:
        raise _wrong(f"{path} lists no pictures", layout)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise _wrong(f"{path} lists {twice} more than once", layout)
    return names


def read_annotation(path: Path) -> list[VocObject]:
    """The objects of one annotation file.

    Raises:
        FovealError: It is not there, not XML, or an object lacks its name or box.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except FileNotFoundError:
        raise _wrong(f"{path} does not exist") from None
    except ElementTree.ParseError as error:
        raise _wrong(f"{path} is not XML ({error})") from None
    found = []
    for number, item in enumerate(root.iter("object"), 1):
        name = (item.findtext("name") or "").strip()
        if not name:
            raise _wrong(f"{path}: object {number} has no <name>")
        try:
            xmin, ymin, xmax, ymax = (
                float(item.findtext(f"bndbox/{side}") or "")
                for side in ("xmin", "ymin", "xmax", "ymax")
            )
        except ValueError:
            raise _wrong(f"{path}: object {number} ({name}) has no <bndbox> with four numbers",
                         ) from None  # fmt: skip
        difficult, truncated = (
            (item.findtext(tag) or "0").strip() == "1" for tag in ("difficult", "truncated")
        )
        found.append(VocObject(name, (xmin, ymin, xmax, ymax), difficult, truncated))
    return found


def _picture(folder: Path, name: str) -> Path:
    """The file of a picture; that of the usual ending where there is none."""
    paths = [folder / f"{name}{ending}" for ending in _ENDINGS]
    return next((path for path in paths if path.is_file()), paths[0])


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"{name}.txt" for name in names) or "no list of pictures"


def _wrong(message: str, layout: str = LAYOUT) -> FovealError:
    return FovealError(message, hint=f"VOC's layout: {layout}")
