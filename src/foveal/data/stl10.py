"""STL-10 in its binary layout, with the ten official folds of its training part.

::

    DATA/train_X.bin, train_y.bin    (96 x 96 pictures, one channel after the other, by columns)
    DATA/test_X.bin, test_y.bin      (classes from 1)
    DATA/class_names.txt             (one a line)
    DATA/fold_indices.txt            (a fold a line: rows of the training part, from 0)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foveal.data.arrays import ArraySource
from foveal.errors import FovealError

SIDE, CHANNELS = 96, 3
LAYOUT = ("DATA/{train,test}_X.bin (96 x 96 x 3 bytes a picture), DATA/{train,test}_y.bin (classes "
          "from 1), DATA/class_names.txt and DATA/fold_indices.txt")  # fmt: skip


class StlSource(ArraySource):
    """One part.

    Attributes:
        folds: Rows of every official fold; empty for the test part.
    """

    folds: list[NDArray[np.int64]]


def is_stl10(root: Path) -> bool:
    """Whether a folder is meant to be STL-10's."""
    return root.is_dir() and (root / "train_X.bin").is_file()


def stl10_splits(root: Path, *, channels: int | None = None) -> tuple[StlSource, StlSource]:
    """The training and the test part.

    Raises:
        FovealError: A file is missing or not what it should be; the message names it.
    """
    names = _lines(root / "class_names.txt")
    train, test = (_part(root, part, names, channels) for part in ("train", "test"))
    for number, line in enumerate(_lines(root / "fold_indices.txt"), 1):
        try:
            rows = np.sort(np.array(line.split(), np.int64))
        except ValueError:
            raise _wrong(f"{root / 'fold_indices.txt'}: line {number} is no list of rows") from None
        if not len(rows) or rows[0] < 0 or rows[-1] >= len(train):
            raise _wrong(f"{root / 'fold_indices.txt'}: line {number} names rows that "
                         f"train_X.bin ({len(train)} pictures) does not have")  # fmt: skip
        train.folds.append(rows)
    return train, test


def _part(root: Path, part: str, names: list[str], channels: int | None) -> StlSource:
    pictures, classes = root / f"{part}_X.bin", root / f"{part}_y.bin"
    for path in (pictures, classes):
        if not path.is_file():
            raise _wrong(f"{path} does not exist")
    labels = np.fromfile(classes, np.uint8)
    size, each = pictures.stat().st_size, CHANNELS * SIDE * SIDE
    if not len(labels) or size != len(labels) * each:
        raise _wrong(f"{pictures} has {size:,} bytes, and {len(labels)} labels make "
                     f"{len(labels) * each:,}")  # fmt: skip
    if labels.min() < 1 or labels.max() > len(names):
        raise _wrong(f"{classes} holds class {labels.max()} (least {labels.min()}), and there are "
                     f"{len(names)} names")  # fmt: skip
    raw = np.memmap(pictures, np.uint8, "r", shape=(len(labels), CHANNELS, SIDE, SIDE))
    source = StlSource(f"{root} ({part})", raw.transpose(0, 3, 2, 1), channels=channels)
    source.labels, source.classes = labels.astype(np.int64) - 1, list(names)
    source.folds = []
    return source


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise _wrong(f"{path} does not exist")
    found = [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
    if not found:
        raise _wrong(f"{path} is empty")
    return found


def _wrong(message: str) -> FovealError:
    return FovealError(message, hint=f"STL-10's layout: {LAYOUT}")
