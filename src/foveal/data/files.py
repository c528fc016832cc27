"""Pictures that are files: a folder, a glob, a list.

The order depends on names alone, so the same files give the same stream on every machine.
"""

from __future__ import annotations

import csv
import glob as globbing
import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from foveal.core.files import file_stat
from foveal.data.images import ARRAYS, EXTENSIONS, decode, read_bytes
from foveal.data.picture import Picture, Pixels, common_layout, with_channels
from foveal.errors import BadImage, FovealError

LISTS = (".txt", ".csv", ".lst")
_SPLITS = {"train", "test", "val", "valid", "validation"}
_PEEK = 24  # pictures looked at to tell channels and depth


def open_folder(text: str, root: Path) -> FileSource:
    """All pictures below a folder; arrays (``.npy``) where there is no other picture.

    Hidden files and folders are passed over. A folder that has the name of a picture and holds
    none counts as a (bad) picture: somebody takes it for one.
    """
    found: list[str] = []
    arrays: list[str] = []
    disguised: list[str] = []
    ignored: dict[str, int] = {}

    for folder, folders, files in os.walk(root, followlinks=True, onerror=cannot_list):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        _refuse_loops(root, Path(folder))
        disguised += [
            os.path.relpath(os.path.join(folder, name), root)
            for name in folders
            if os.path.splitext(name)[1].lower() in EXTENSIONS
        ]
        for name in files:
            if name.startswith("."):
                continue
            suffix = os.path.splitext(name)[1].lower()
            if suffix in EXTENSIONS + ARRAYS:
                named = os.path.relpath(os.path.join(folder, name), root)
                (found if suffix in EXTENSIONS else arrays).append(named)
            else:
                ignored[suffix or "none"] = ignored.get(suffix or "none", 0) + 1
    if arrays and found:  # beside pictures they are something else: features, masks, labels
        ignored[ARRAYS[0]] = len(arrays)
    found = found or arrays
    if not found:
        others = ", ".join(f"{n} {suffix}" for suffix, n in sorted(ignored.items())[:8])
        raise FovealError(
            f"{text} holds no pictures" + (f" (other files: {others})" if others else ""),
            hint=f"known endings: {' '.join(EXTENSIONS + ARRAYS)}",
        )
    found += [d for d in disguised if not any(f.startswith(d + os.sep) for f in found)]
    names = sorted(found)
    labels, classes = folder_classes(names)
    paths = [root / name for name in names]
    return FileSource(text, paths, names, labels=labels, classes=classes, ignored=ignored)


def cannot_list(error: OSError) -> None:
    """Stops at a folder that cannot be looked into."""
    raise FovealError(
        f"cannot list {error.filename}: {error.strerror}", hint="check its permissions"
    ) from None


def _refuse_loops(root: Path, folder: Path) -> None:
    """Refuses a link to a folder that the walk is inside of."""
    if folder == root or not folder.is_symlink():
        return
    target = folder.resolve()
    inside = [p.resolve() for p in folder.parents if p == root or p.is_relative_to(root)]
    if target in inside or root.resolve().is_relative_to(target):
        raise FovealError(
            f"{folder} is a link to a folder around it: an endless loop", hint="remove the link"
        )


def folder_classes(
    names: Sequence[str], least: int = 2
) -> tuple[NDArray[np.int64] | None, list[str] | None]:
    """Classes where every file lies in a folder: two or more folders, ``least`` files in each.

    The folder is the first below the root; below ``train`` and ``test`` (ImageNet's layout), the
    second.
    """
    parts = [Path(name).parts for name in names]
    depth = 1 if all(len(p) > 2 and p[0].lower() in _SPLITS for p in parts) else 0
    if any(len(p) < depth + 2 for p in parts):
        return None, None
    classes, labels, counts = np.unique(
        [p[depth] for p in parts], return_inverse=True, return_counts=True
    )
    if len(classes) < 2 or counts.min() < least:
        return None, None
    return labels.astype(np.int64), [str(c) for c in classes]


def open_list(text: str, path: Path) -> FileSource:
    """The pictures that a list file names."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise FovealError(f"{text} is not a UTF-8 text file", hint="one path a line") from None
    entries = [line.strip() for line in lines]
    if path.suffix.lower() == ".csv":
        entries = [row[0].strip() if row else "" for row in csv.reader(lines)]
        if entries and not Path(entries[0]).suffix:
            entries = entries[1:]  # a header
    names = [e for e in entries if e and not e.startswith("#")]
    if not names:
        raise FovealError(f"{text} lists no pictures", hint="one path a line, relative to the file")
    doubled = len(names) - len(set(names))
    if doubled:
        first = next(name for name, times in Counter(names).items() if times > 1)
        raise FovealError(
            f"{text} lists some pictures more than once ({doubled} too many), e.g. {first}",
            hint="list each picture once: a doubled one would be drawn twice as often",
        )
    paths = [path.parent / Path(name).expanduser() for name in names]
    return FileSource(text, paths, names)


def open_glob(text: str) -> FileSource:
    """The pictures that a pattern finds."""
    found = sorted(p for p in globbing.glob(os.path.expanduser(text), recursive=True))
    files = [p for p in found if os.path.isfile(p) and Path(p).suffix.lower() in EXTENSIONS]
    files = files or [p for p in found if os.path.isfile(p) and p.lower().endswith(ARRAYS)]
    if not files:
        raise FovealError(
            f"no picture matches {text} ({len(found)} other entries do)",
            hint="quote the pattern, so that foveal sees it and not the shell: 'photos/**/*.jpg'",
        )
    return FileSource(text, [Path(p) for p in files], files)


class Readable(Protocol):
    """What ``peeked`` needs of a source."""

    root: str
    channels: int
    bits: int

    def __len__(self) -> int: ...

    def picture(self, i: int) -> tuple[Picture, bytes]:
        """The picture as stored, and its bytes."""
        ...


R = TypeVar("R", bound=Readable)


def peeked(source: R, channels: int | None, bits: int | None = None) -> R:
    """Sets channels and bits by a few pictures, as far as they are not given.

    Raises:
        FovealError: None of the pictures looked at can be read with the channels asked for.
    """
    seen = []
    for i in np.unique(np.linspace(0, len(source) - 1, min(_PEEK, len(source))).astype(int)):
        try:
            seen.append(source.picture(int(i))[0].pixels)
        except BadImage:
            continue
    source.channels, source.bits = common_layout(source.root, seen, channels, bits)
    return source


class FileSource:
    """Picture files.

    Args:
        root: For messages.
        paths: The files, in order.
        names: Their names.
        labels, classes: Classes, if any.
        ignored: Other files found there, by extension.
        channels, bits: Of what ``read`` returns.
    """

    def __init__(
        self,
        root: str,
        paths: Sequence[Path],
        names: Sequence[str],
        *,
        labels: NDArray[np.int64] | None = None,
        classes: list[str] | None = None,
        ignored: dict[str, int] | None = None,
        channels: int = 3,
        bits: int = 8,
    ) -> None:
        self.root, self.channels, self.bits = root, channels, bits
        self.paths, self.names = list(paths), list(names)
        self.labels, self.classes = labels, classes
        self.ignored = ignored or {}

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, i: int) -> str:
        """See ``Source``."""
        return self.names[i]

    def read(self, i: int) -> Pixels:
        """See ``Source``."""
        return with_channels(decode(read_bytes(self.paths[i])).pixels, self.channels, self.bits)

    def content(self, i: int) -> bytes:
        """See ``Source``."""
        return read_bytes(self.paths[i])

    def picture(self, i: int) -> tuple[Picture, bytes]:
        """See ``Source``."""
        data = read_bytes(self.paths[i])
        return decode(data), data

    def stat(self, i: int) -> tuple[int, int] | None:
        """See ``Source``."""
        return file_stat(self.paths[i])

    def fingerprint(self) -> str:
        """See ``Source``: names, sizes and times of change."""
        digest = hashlib.blake2b(digest_size=16)
        for i, name in enumerate(self.names):
            digest.update(f"{name}\0{self.stat(i)}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()
