"""Training and test parts of labelled pictures, with one numbering of classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.core import rng
from foveal.data.address import split_options
from foveal.data.arrow import TABLES
from foveal.data.blocks import together_of
from foveal.data.boxes import is_coco, open_coco
from foveal.data.files import FileSource, open_folder, peeked
from foveal.data.kinds import kind_of
from foveal.data.sources import Source, Subset, open_source
from foveal.data.stl10 import is_stl10, stl10_splits
from foveal.data.voc import is_voc, voc_splits
from foveal.errors import FovealError

_TEST_NAMES = ("test", "val", "valid", "validation")
_HELD_OUT = 5  # one picture in so many
_LAYOUT = "DATA/train/CLASS/*.jpg with DATA/test/CLASS/*.jpg, or DATA/CLASS/*.jpg"


def load_splits(data: Any, *, seed: int = 0, channels: int | None = None) -> tuple[Source, Source]:
    """The training and the test part of labelled pictures.

    A folder with ``train`` and ``test`` (or ``val``, ``valid``, ``validation``), or with tables
    whose names begin so, is taken as it is,
    and so is one in PASCAL VOC's or COCO's layout (``foveal.data.voc``, ``boxes``), whose pictures
    hold several classes: they have ``marks`` instead of ``labels``.
    Of anything else that ``open_source`` reads and that has labels, a fifth of every class (at
    least one picture) is held out, chosen by ``seed``; pictures without a label are left out.

    Args:
        data: What the user points at.
        seed: Of the choice.
        channels: Of both parts; None: as the pictures are.

    Returns:
        Train and test. Both have ``labels`` that count in the same ``classes``, those of the
        training part, and the same ``channels``. A class without test pictures keeps its number.

    Raises:
        FovealError: There are no classes, only one, a class with a single picture where a part
            has to be held out, or a class that only the test part has.
    """
    if isinstance(data, str | Path) and is_voc(Path(data).expanduser()):
        return voc_splits(Path(data).expanduser(), channels=channels)
    if isinstance(data, str | Path) and is_coco(Path(data).expanduser()):
        return open_coco(str(data), Path(data).expanduser(), channels=channels)
    if isinstance(data, str | Path) and is_stl10(Path(data).expanduser()):
        return stl10_splits(Path(data).expanduser(), channels=channels)
    parts = _split_tables(data)
    if parts is not None:
        return _labelled_alike(*(open_source(part, channels=channels) for part in parts))
    folders = _split_folders(data)
    if folders is not None:
        options = "" if isinstance(data, Path) else str(data)[len(split_options(str(data))[0]) :]
        if kind_of(folders[0]) != "pictures":
            sources = (open_source(f"{folder}{options}", channels=channels) for folder in folders)
            return _labelled_alike(*sources)
        return _given(str(data), *folders, channels)
    return _held_out(open_source(data, channels=channels), seed)


def open_class_folder(
    folder: str | Path, classes: list[str] | None = None, channels: int | None = None
) -> FileSource:
    """Pictures in one folder a class.

    Args:
        folder: Holds the class folders.
        classes: The classes to count in; None: the folders, sorted by name.
        channels: Of what is read; None: as the pictures are.

    Raises:
        FovealError: A picture lies outside the class folders, there are fewer than two classes,
            or one is not among ``classes``.
    """
    source = peeked(open_folder(str(folder), Path(folder)), channels)
    parts = [Path(name).parts for name in source.names]
    loose = [name for name, p in zip(source.names, parts, strict=True) if len(p) < 2]
    if loose:
        raise FovealError(
            f"{folder} holds {len(loose)} pictures outside of class folders, e.g. {loose[0]}",
            hint=f"one folder a class: {_LAYOUT}",
        )
    found = sorted({p[0] for p in parts})
    if classes is None:
        if len(found) < 2:
            raise FovealError(
                f"{folder} holds a single class, {found[0]}", hint=f"two or more: {_LAYOUT}"
            )
        classes = found
    unknown = [name for name in found if name not in classes]
    if unknown:
        raise FovealError(
            f"{folder} has {_named(unknown)}, which the training part does not have",
            hint="the same class folders in both parts",
        )
    number = {name: i for i, name in enumerate(classes)}
    source.classes = list(classes)
    source.labels = np.array([number[p[0]] for p in parts], np.int64)
    return source


def _split_folders(data: Any) -> tuple[Path, Path] | None:
    if not isinstance(data, str | Path):
        return None
    root = Path(split_options(str(data))[0]).expanduser()
    if not root.is_dir():
        return None
    folders = {p.name.lower(): p for p in sorted(root.iterdir()) if p.is_dir()}
    tests = [folders[name] for name in _TEST_NAMES if name in folders]
    if "train" not in folders:
        return None
    if not tests:
        raise FovealError(
            f"{data} has train/ and none of {', '.join(f'{n}/' for n in _TEST_NAMES)}",
            hint=f"{folders['train']}, of which a fifth is held out",
        )
    return folders["train"], tests[0]


def _split_tables(data: Any) -> tuple[str, str] | None:
    """Patterns of both parts of a folder as on the Hugging Face hub: ``train-*.parquet``."""
    if not isinstance(data, str | Path):
        return None
    text, _ = split_options(str(data))
    for root in (Path(text).expanduser(), Path(text).expanduser() / "data"):
        if not root.is_dir():
            continue
        names = sorted(p.name for p in root.iterdir() if p.suffix.lower() in TABLES)
        tests = [t for t in _TEST_NAMES if any(name.startswith(t) for name in names)]
        if tests and any(name.startswith("train") for name in names):
            options = str(data)[len(text) :]
            ending = next(Path(name).suffix for name in names if name.startswith("train"))
            return f"{root}/train*{ending}{options}", f"{root}/{tests[0]}*{ending}{options}"
    return None


def _labelled_alike(train: Source, test: Source) -> tuple[Source, Source]:
    """Two sources with labels of their own, both counted in the classes of the first."""
    for source in (train, test):
        if source.labels is None or source.classes is None:
            raise FovealError(
                f"{source.root} holds no labels to measure by",
                hint="a column called label (or #label=NAME); one folder a class for videos",
            )
    assert train.classes and test.classes and test.labels is not None
    number = {name: i for i, name in enumerate(train.classes)}
    used = np.unique(test.labels[test.labels >= 0]).tolist()
    unknown = [test.classes[i] for i in used if test.classes[i] not in number]
    if unknown:
        raise FovealError(
            f"{test.root} has {_named(unknown)}, which the training part does not have",
            hint="the same classes in both parts",
        )
    # One more at the end, where -1 finds it.
    moved = np.array([*(number.get(name, -1) for name in test.classes), -1], np.int64)
    test.labels, test.classes = moved[test.labels], list(train.classes)
    train.channels = test.channels = max(train.channels, test.channels)
    train.bits = test.bits = max(train.bits, test.bits)
    return train, test


def _given(
    root: str, train_folder: Path, test_folder: Path, channels: int | None
) -> tuple[Source, Source]:
    train = open_class_folder(train_folder, channels=channels)
    test = open_class_folder(test_folder, train.classes, channels)
    train.channels = test.channels = max(train.channels, test.channels)
    train.bits = test.bits = max(train.bits, test.bits)
    return train, test


def _held_out(source: Source, seed: int) -> tuple[Source, Source]:
    if source.labels is None or source.classes is None:
        raise FovealError(
            f"{source.root} holds no classes to measure by: every picture must lie in the folder "
            "of its class, with two or more classes of two or more pictures",
            hint=f"{_LAYOUT}, or an .npz with images and labels",
        )
    if len(source.classes) < 2:
        raise FovealError(f"{source.root} holds a single class, {source.classes[0]}")
    counts = np.bincount(source.labels[source.labels >= 0], minlength=len(source.classes))
    lonely = [name for name, n in zip(source.classes, counts, strict=True) if n == 1]
    if lonely:
        raise FovealError(
            f"{source.root} has a single picture of {_named(lonely)}, and one must be held out",
            hint="two or more pictures of each class",
        )
    together = together_of(source)
    test = np.zeros(len(source), bool)
    for number, name in enumerate(source.classes):
        test[_choose(np.flatnonzero(source.labels == number), together, seed, name)] = True
    known = source.labels >= 0
    parts = (np.flatnonzero(known & ~test), np.flatnonzero(known & test))
    names = (f"{source.root} (four fifths)", f"{source.root} (a fifth held out)")
    train_part, test_part = (
        Subset(source, rows, name) for rows, name in zip(parts, names, strict=True)
    )
    return train_part, test_part


def _choose(
    rows: NDArray[np.int64], together: NDArray[np.int64], seed: int, name: str
) -> NDArray[np.int64]:
    """A fifth of the rows of one class, at least one; rows that belong together all or none."""
    if len(rows) == 0:
        return rows
    parts = np.unique(together[rows])
    if len(parts) == 1:
        raise FovealError(
            f"all pictures of class {name} come from one video: one part of it would be tested "
            "against the other",
            hint="two or more videos of each class",
        )
    count = max(1, round(len(parts) / _HELD_OUT))
    first = rng.permute(rng.key(seed, "splits", name), len(parts), np.arange(count))
    return rows[np.isin(together[rows], parts[first])]


def _named(names: list[str]) -> str:
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"{'class' if len(names) == 1 else 'classes'} {shown}"
