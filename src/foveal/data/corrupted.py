"""Corrupted copies of a test set, in ImageNet-C's layout beside the clean pictures.

::

    DATA/train/CLASS/*.jpg
    DATA/val/CLASS/*.jpg                          (or test/)
    DATA/corrupted/CORRUPTION/SEVERITY/CLASS/*.jpg    (severities are numbers: 1 to 5)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.data.files import FileSource
from foveal.data.sources import Source
from foveal.data.splits import open_class_folder
from foveal.errors import FovealError

LAYOUT = "DATA/train/CLASS, DATA/val/CLASS and DATA/corrupted/CORRUPTION/SEVERITY/CLASS/*.jpg"


def check_corrupted(data: Any) -> None:
    """Raises where there are no corrupted sets, before anything is opened."""
    if not (Path(str(data)).expanduser() / "corrupted").is_dir():
        raise FovealError(f"{data} has no corrupted/", hint=LAYOUT)


def open_corrupted(data: Any, clean: Source) -> dict[str, list[FileSource]]:
    """The corrupted sets by corruption, severities ascending.

    Args:
        data: The folder.
        clean: The clean test pictures; every set must hold the same ones (by class and name, the
            ending may differ), in ``clean``'s order afterwards.

    Raises:
        FovealError: Another layout, a severity that is no number, another number of severities, or
            other pictures; names the folder or picture.
    """
    root = Path(str(data)).expanduser() / "corrupted"
    check_corrupted(data)
    if not isinstance(clean, FileSource):
        raise FovealError(f"the clean pictures of {data} are no files", hint=LAYOUT)
    found: dict[str, list[FileSource]] = {}
    for kind in sorted(p for p in root.iterdir() if p.is_dir()):
        levels = sorted(p for p in kind.iterdir() if p.is_dir())
        wrong = [p for p in levels if not p.name.isdigit()]
        if wrong or not levels:
            raise FovealError(
                f"{wrong[0]} is no severity: a number is expected" if wrong
                else f"{kind} holds no severities",
                hint=LAYOUT,
            )  # fmt: skip
        levels.sort(key=lambda p: int(p.name))
        found[kind.name] = [_same_pictures(level, clean) for level in levels]
    if not found:
        raise FovealError(f"{root} is empty", hint=LAYOUT)
    counts = {name: len(sets) for name, sets in found.items()}
    if len(set(counts.values())) > 1:
        few, many = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
        raise FovealError(
            f"{root / few} has {counts[few]} severities and {many} {counts[many]}", hint=LAYOUT
        )
    return found


def _same_pictures(folder: Path, clean: FileSource) -> FileSource:
    source = open_class_folder(folder, clean.classes, clean.channels)
    row_of = {_stem(name): i for i, name in enumerate(source.names)}
    lacking = [name for name in clean.names if _stem(name) not in row_of]
    if lacking or len(row_of) != len(clean.names):
        what = f"has no {lacking[0]}" if lacking else (
            f"holds {len(row_of)} pictures, the clean set {len(clean.names)}"
        )  # fmt: skip
        raise FovealError(f"{folder} {what}: the same pictures are expected", hint=LAYOUT)
    rows: NDArray[np.int64] = np.array([row_of[_stem(name)] for name in clean.names])
    ordered = FileSource(
        source.root, [source.paths[i] for i in rows], [source.names[i] for i in rows],
        labels=None if source.labels is None else source.labels[rows], classes=source.classes,
    )  # fmt: skip
    ordered.channels = clean.channels
    return ordered


def _stem(name: str) -> str:
    return str(Path(name).with_suffix(""))
