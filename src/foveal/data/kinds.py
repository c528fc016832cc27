"""What kind of data a path names, told by the endings of its files."""

from __future__ import annotations

import glob as globbing
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from foveal.data.arrow import TABLES
from foveal.data.files import cannot_list
from foveal.data.images import EXTENSIONS
from foveal.data.video import VIDEOS
from foveal.errors import FovealError

Kind = Literal["pictures", "videos", "tables"]
_KINDS: dict[str, Kind] = {
    **{ending: "videos" for ending in VIDEOS},
    **{ending: "tables" for ending in TABLES},
}


def kind_of(path: Path) -> Kind:
    """The kind of a file, of a glob's files or of a folder.

    In a folder pictures come first, then what most other files are: it is known by its first
    picture, whatever else lies there.
    """
    if not path.is_dir():
        return _KINDS.get(path.suffix.lower(), "pictures")
    seen: Counter[Kind] = Counter()
    for _, folders, files in os.walk(path, followlinks=True, onerror=cannot_list):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in files:
            ending = os.path.splitext(name)[1].lower()
            if ending in EXTENSIONS and not name.startswith("."):
                return "pictures"
            if ending in _KINDS and not name.startswith("."):
                seen[_KINDS[ending]] += 1
    return max(seen, key=lambda kind: (seen[kind], kind)) if seen else "pictures"


class Files(NamedTuple):
    """Files of one kind.

    Attributes:
        root: The folder they lie below.
        names: Below it, sorted.
        ignored: Other files found there, by extension.
    """

    root: Path
    names: list[str]
    ignored: dict[str, int]


def find_files(text: str, path: Path, endings: Sequence[str]) -> Files:
    """The files of one kind that a user points at: one, a folder of them, a glob.

    Hidden files and folders are passed over.

    Raises:
        FovealError: There is none.
    """
    if path.is_file():
        return Files(path.parent, [path.name], {})
    if not path.is_dir():
        found = [p for p in globbing.glob(os.path.expanduser(text), recursive=True)
                 if os.path.isfile(p) and p.lower().endswith(tuple(endings))]  # fmt: skip
        if not found:
            raise FovealError(
                f"{text} does not exist",
                hint="quote a pattern, so that foveal sees it and not the shell",
            )
        root = Path(os.path.commonpath([os.path.dirname(p) or "." for p in found]))
        return Files(root, sorted(Path(os.path.relpath(p, root)).as_posix() for p in found), {})
    names: list[str] = []
    ignored: Counter[str] = Counter()
    for below, folders, files in os.walk(path, followlinks=True, onerror=cannot_list):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in (f for f in files if not f.startswith(".")):
            ending = os.path.splitext(name)[1].lower()
            if ending in endings:
                names.append(Path(below, name).relative_to(path).as_posix())
            else:
                ignored[ending or "none"] += 1
    return Files(path, sorted(names), dict(ignored))
