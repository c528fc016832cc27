"""Where pictures come from: files, arrays, sequences. A source only reads; it never writes back.

A source is numbered 0 to N-1 in an order that depends on names alone, so the same data give the
same stream on every machine.
"""

from __future__ import annotations

import glob as globbing
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from foveal.data.images import EXTENSIONS, Picture, decode, read_bytes, with_channels
from foveal.errors import BadImage, FovealError

_SPLITS = {"train", "test", "val", "valid", "validation"}
_LISTS = (".txt", ".csv", ".lst")
_PEEK = 24  # pictures looked at to tell grey from colour


class Source(Protocol):
    """Numbered pictures.

    Attributes:
        root: What the user typed, for messages.
        channels: What ``read`` returns: 1 or 3.
        classes: Names of classes, if the data hold any.
        labels: int64 [N], -1 unknown; None without classes.
        ignored: How many other files lie there, by extension.
    """

    root: str
    channels: int
    classes: list[str] | None
    labels: NDArray[np.int64] | None
    ignored: dict[str, int]

    def __len__(self) -> int: ...

    def name(self, i: int) -> str:
        """A name that finds it again: a path below the root, or ``file.npy[12]``."""
        ...

    def read(self, i: int) -> NDArray[np.uint8]:
        """Pixels, uint8 [H, W, channels]. Safe to call from many threads.

        Raises:
            BadImage: It cannot be decoded.
        """
        ...

    def picture(self, i: int) -> tuple[Picture, bytes]:
        """The picture as stored, and bytes that identify its content (for the scan)."""
        ...

    def stat(self, i: int) -> tuple[int, int] | None:
        """(bytes, mtime in ns) of its file now; None where there is no file."""
        ...

    def fingerprint(self) -> str:
        """A hash that changes when the data change."""
        ...


class FileSource:
    """Picture files.

    Args:
        root: For messages.
        paths: The files, in order.
        names: Their names.
        labels, classes: Classes, if any.
        ignored: Other files found there, by extension.
        channels: 1 or 3.
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
    ) -> None:
        self.root, self.channels = root, channels
        self.paths, self.names = list(paths), list(names)
        self.labels, self.classes = labels, classes
        self.ignored = ignored or {}

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, i: int) -> str:
        """See ``Source``."""
        return self.names[i]

    def read(self, i: int) -> NDArray[np.uint8]:
        """See ``Source``."""
        return with_channels(decode(read_bytes(self.paths[i])).pixels, self.channels)

    def picture(self, i: int) -> tuple[Picture, bytes]:
        """See ``Source``."""
        data = read_bytes(self.paths[i])
        return decode(data), data

    def stat(self, i: int) -> tuple[int, int] | None:
        """See ``Source``."""
        try:
            found = os.stat(self.paths[i])
        except OSError:
            return (-1, -1)
        return found.st_size, found.st_mtime_ns

    def fingerprint(self) -> str:
        """See ``Source``: names, sizes and times of change."""
        digest = hashlib.blake2b(digest_size=16)
        for i, name in enumerate(self.names):
            digest.update(f"{name}\0{self.stat(i)}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


class ArraySource:
    """Pictures in one array.

    Args:
        root: For messages.
        images: uint8 [N, H, W] or [N, H, W, C], C 1 or 3.
        labels: int [N], if any.
        channels: 1 or 3; None: as the array is.
    """

    def __init__(
        self,
        root: str,
        images: NDArray[Any],
        labels: NDArray[Any] | None = None,
        channels: int | None = None,
    ) -> None:
        if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3)):
            raise FovealError(
                f"{root} holds an array of shape {images.shape}",
                hint="pictures are [N, H, W] or [N, H, W, C] with 1 or 3 channels last",
            )
        if images.dtype != np.uint8:
            raise FovealError(
                f"{root} holds {images.dtype} values",
                hint="pictures are uint8, 0 to 255: (x * 255).round().astype('uint8') for [0, 1]",
            )
        self.root = root
        self.images = images if images.ndim == 4 else images[..., None]
        self.channels = channels or self.images.shape[3]
        self.ignored: dict[str, int] = {}
        self.labels, self.classes = _class_numbers(root, labels, len(images))

    def __len__(self) -> int:
        return len(self.images)

    def name(self, i: int) -> str:
        """See ``Source``."""
        return f"{Path(self.root).name}[{i}]"

    def read(self, i: int) -> NDArray[np.uint8]:
        """See ``Source``."""
        return with_channels(np.ascontiguousarray(self.images[i]), self.channels)

    def picture(self, i: int) -> tuple[Picture, bytes]:
        """See ``Source``."""
        pixels = np.ascontiguousarray(self.images[i])
        return Picture(pixels, "array", _colour_word(pixels)), pixels.tobytes()

    def stat(self, i: int) -> tuple[int, int] | None:
        """See ``Source``: arrays have no files of their own."""
        return None

    def fingerprint(self) -> str:
        """See ``Source``: the content."""
        digest = hashlib.blake2b(str(self.images.shape).encode(), digest_size=16)
        for start in range(0, len(self.images), 1024):
            digest.update(np.ascontiguousarray(self.images[start : start + 1024]))
        return digest.hexdigest()


class SequenceSource:
    """Any sequence or map-style dataset of pictures, or of (picture, label).

    Args:
        items: Anything with ``len`` and ``[i]``; pictures are uint8 arrays [H, W] or [H, W, C],
            uint8 tensors [C, H, W], or PIL images.
        channels: 1 or 3; None: as the first picture is.
    """

    def __init__(self, items: Any, channels: int | None = None) -> None:
        self.root = f"{type(items).__module__}.{type(items).__name__}"
        self.items = items
        self.ignored: dict[str, int] = {}
        if len(items) == 0:
            raise FovealError(f"{self.root} is empty")
        self.channels = channels or self._pixels(0).shape[2]
        self.labels, self.classes = _class_numbers(self.root, self._labels(), len(items))

    def __len__(self) -> int:
        return len(self.items)

    def name(self, i: int) -> str:
        """See ``Source``."""
        return f"{type(self.items).__name__}[{i}]"

    def read(self, i: int) -> NDArray[np.uint8]:
        """See ``Source``."""
        return with_channels(self._pixels(i), self.channels)

    def picture(self, i: int) -> tuple[Picture, bytes]:
        """See ``Source``."""
        pixels = self._pixels(i)
        return Picture(pixels, "array", _colour_word(pixels)), pixels.tobytes()

    def stat(self, i: int) -> tuple[int, int] | None:
        """See ``Source``."""
        return None

    def fingerprint(self) -> str:
        """See ``Source``: the length and the content of up to 256 pictures spread over it."""
        digest = hashlib.blake2b(f"{self.root} {len(self)}".encode(), digest_size=16)
        for i in np.unique(np.linspace(0, len(self) - 1, min(256, len(self))).astype(int)):
            try:
                digest.update(np.ascontiguousarray(self._pixels(int(i))))
            except BadImage as error:
                digest.update(error.kind.encode())
        return digest.hexdigest()

    def _pixels(self, i: int) -> NDArray[np.uint8]:
        try:
            item = self.items[i]
        except (OSError, ValueError) as error:
            raise BadImage("dataset", f"the dataset raised {error!r}") from None
        picture = item[0] if isinstance(item, tuple | list) else item
        return _as_pixels(picture, self.name(i))

    def _labels(self) -> NDArray[Any] | None:
        """Labels without decoding every picture where the dataset has them as a list."""
        for attribute in ("targets", "labels"):
            found = getattr(self.items, attribute, None)
            if found is not None and len(found) == len(self.items):
                return np.asarray(found)
        first = self.items[0]
        if isinstance(self.items, Sequence) and isinstance(first, tuple) and len(first) > 1:
            return np.asarray([item[1] for item in self.items])
        return None


class Subset:
    """Some rows of another source.

    Args:
        source: The whole.
        rows: Its rows, int64 [M].
        name: What it is called in messages; None keeps the root.
    """

    def __init__(self, source: Source, rows: NDArray[np.int64], name: str | None = None) -> None:
        self.source, self.rows = source, np.asarray(rows, np.int64)
        self.root = name or source.root
        self.channels, self.classes = source.channels, source.classes
        self.labels = None if source.labels is None else source.labels[self.rows]
        self.ignored: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, i: int) -> str:
        """See ``Source``."""
        return self.source.name(int(self.rows[i]))

    def read(self, i: int) -> NDArray[np.uint8]:
        """See ``Source``."""
        return self.source.read(int(self.rows[i]))

    def picture(self, i: int) -> tuple[Picture, bytes]:
        """See ``Source``."""
        return self.source.picture(int(self.rows[i]))

    def stat(self, i: int) -> tuple[int, int] | None:
        """See ``Source``."""
        return self.source.stat(int(self.rows[i]))

    def fingerprint(self) -> str:
        """See ``Source``."""
        digest = hashlib.blake2b(self.source.fingerprint().encode(), digest_size=16)
        digest.update(self.rows.tobytes())
        return digest.hexdigest()


def open_source(data: Any, *, channels: int | None = None) -> Source:
    """A source from anything a user may point at.

    Args:
        data: A folder (flat, nested, or of classes), a glob, a list file (``.txt``, ``.csv``: one
            path a line, first column, relative to the file), ``.npy`` or ``.npz`` (arrays
            ``images`` and ``labels``), a map-style dataset or a sequence of pictures, an array
            [N, H, W(, C)], or a source.
        channels: 1 or 3; None: 1 where all pictures looked at are grey, else 3.

    Raises:
        FovealError: There is nothing, or nothing that is a picture.
    """
    if channels not in (None, 1, 3):
        raise FovealError(f"channels={channels}: pictures have 1 or 3", hint="channels=3")
    if isinstance(data, str | Path):
        source = _open_path(data, channels)
    elif isinstance(data, np.ndarray):
        source = ArraySource("array", data, channels=channels)
    elif all(hasattr(data, name) for name in ("read", "fingerprint", "channels", "stat")):
        return data  # type: ignore[no-any-return]
    elif hasattr(data, "__len__") and hasattr(data, "__getitem__"):
        source = SequenceSource(data, channels)
    else:
        raise FovealError(
            f"cannot read pictures from {type(data).__name__}",
            hint="a folder, glob, list file, .npy/.npz, or something with len() and [i]",
        )
    return source


def _open_path(data: str | Path, channels: int | None) -> Source:
    text = str(data)
    path = Path(text).expanduser()
    if path.is_dir():
        return _peeked(_open_folder(text, path), channels)
    if path.is_file():
        suffix = path.suffix.lower()
        if suffix in (".npy", ".npz"):
            return _open_array(path, channels)
        if suffix in _LISTS:
            return _peeked(_open_list(text, path), channels)
        if suffix in EXTENSIONS:
            return _peeked(FileSource(text, [path], [path.name]), channels)
        raise FovealError(
            f"{text} is a {suffix or 'file without extension'}, not a picture or a list of them",
            hint=f"a folder, a glob, a list ({', '.join(_LISTS)}), .npy or .npz",
        )
    if any(c in text for c in "*?["):
        return _peeked(_open_glob(text), channels)
    parent = path.parent if path.parent.is_dir() else None
    raise FovealError(
        f"{text} does not exist" + ("" if parent else f" (nor does {path.parent})"),
        hint=f"ls {parent}" if parent else "check the path",
    )


def _open_folder(text: str, root: Path) -> FileSource:
    found: list[str] = []
    ignored: dict[str, int] = {}

    def note(error: OSError) -> None:
        raise FovealError(
            f"cannot list {error.filename}: {error.strerror}", hint="check its permissions"
        ) from None

    for folder, folders, files in os.walk(root, followlinks=True, onerror=note):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        _refuse_loops(root, Path(folder))
        for name in files:
            if name.startswith("."):
                continue
            suffix = os.path.splitext(name)[1].lower()
            if suffix in EXTENSIONS:
                found.append(os.path.relpath(os.path.join(folder, name), root))
            else:
                ignored[suffix or "none"] = ignored.get(suffix or "none", 0) + 1
    if not found:
        others = ", ".join(f"{n} {suffix}" for suffix, n in sorted(ignored.items())[:8])
        raise FovealError(
            f"{text} holds no pictures" + (f" (other files: {others})" if others else ""),
            hint=f"known endings: {' '.join(EXTENSIONS)}",
        )
    names = sorted(found)
    labels, classes = _folder_classes(names)
    paths = [root / name for name in names]
    return FileSource(text, paths, names, labels=labels, classes=classes, ignored=ignored)


def _refuse_loops(root: Path, folder: Path) -> None:
    if folder.is_symlink() and root.resolve().is_relative_to(folder.resolve()):
        raise FovealError(f"{folder} is a link to a folder around it: an endless loop")


def _folder_classes(
    names: Sequence[str],
) -> tuple[NDArray[np.int64] | None, list[str] | None]:
    """Classes where every picture lies in a folder, two or more folders, two or more pictures each.

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
    if len(classes) < 2 or counts.min() < 2:
        return None, None
    return labels.astype(np.int64), [str(c) for c in classes]


def _open_list(text: str, path: Path) -> FileSource:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise FovealError(f"{text} is not a UTF-8 text file", hint="one path a line") from None
    entries = [line.strip() for line in lines]
    if path.suffix.lower() == ".csv":
        import csv

        entries = [row[0].strip() if row else "" for row in csv.reader(lines)]
    if entries and Path(entries[0]).suffix.lower() not in EXTENSIONS:
        entries = entries[1:]  # a header
    names = [e for e in entries if e and not e.startswith("#")]
    if not names:
        raise FovealError(f"{text} lists no pictures", hint="one path a line, relative to the file")
    doubled = len(names) - len(set(names))
    if doubled:
        raise FovealError(f"{text} lists {doubled} paths twice", hint=f"sort -u {text}")
    paths = [path.parent / Path(name).expanduser() for name in names]
    return FileSource(text, paths, names)


def _open_glob(text: str) -> FileSource:
    found = sorted(p for p in globbing.glob(os.path.expanduser(text), recursive=True))
    files = [p for p in found if os.path.isfile(p) and Path(p).suffix.lower() in EXTENSIONS]
    if not files:
        raise FovealError(
            f"no picture matches {text} ({len(found)} other entries do)",
            hint="quote the pattern, so that foveal sees it and not the shell: 'photos/**/*.jpg'",
        )
    return FileSource(text, [Path(p) for p in files], files)


def _open_array(path: Path, channels: int | None) -> ArraySource:
    try:
        loaded = np.load(path, mmap_mode="r" if path.suffix == ".npy" else None)
        if isinstance(loaded, np.ndarray):
            return ArraySource(str(path), loaded, channels=channels)
        names = list(loaded.keys())
        images = next((n for n in ("images", "x", "x_train", "arr_0") if n in names), None)
        labels = next((n for n in ("labels", "y", "y_train") if n in names), None)
        if images is None:
            raise FovealError(
                f"{path} holds {', '.join(names) or 'nothing'}",
                hint="save pictures as np.savez(path, images=..., labels=...)",
            )
        return ArraySource(
            str(path), loaded[images], None if labels is None else loaded[labels], channels
        )
    except (ValueError, OSError, EOFError) as error:
        raise FovealError(
            f"{path} cannot be read: {error}", hint="an array saved by numpy, without objects"
        ) from None


def _peeked(source: FileSource, channels: int | None) -> FileSource:
    """Sets the channels: 1 where all of a few pictures are grey."""
    if channels is not None:
        source.channels = channels
        return source
    seen = set()
    for i in np.unique(np.linspace(0, len(source) - 1, min(_PEEK, len(source))).astype(int)):
        try:
            seen.add(decode(read_bytes(source.paths[int(i)])).pixels.shape[2])
        except BadImage:
            continue
    source.channels = 1 if seen == {1} else 3
    return source


def _class_numbers(
    root: str, labels: NDArray[Any] | None, n: int
) -> tuple[NDArray[np.int64] | None, list[str] | None]:
    """Labels of any kind as 0..C-1 with names; negative numbers stay unknown."""
    if labels is None:
        return None, None
    labels = np.asarray(labels)
    if labels.shape != (n,):
        raise FovealError(f"{root} has {n} pictures and labels of shape {labels.shape}")
    unknown = labels < 0 if np.issubdtype(labels.dtype, np.number) else np.zeros(n, bool)
    names, numbers = np.unique(labels[~unknown], return_inverse=True)
    out = np.full(n, -1, np.int64)
    out[~unknown] = numbers
    return out, [str(name) for name in names]


def _as_pixels(picture: Any, name: str) -> NDArray[np.uint8]:
    """uint8 [H, W, 1 or 3] from an array, a tensor or a PIL image."""
    from PIL import Image

    from foveal.data.images import pixels_of

    if isinstance(picture, Image.Image):
        return pixels_of(picture)
    if type(picture).__module__.startswith("torch"):
        picture = picture.numpy()
        if picture.ndim == 3 and picture.shape[0] in (1, 3):
            picture = picture.transpose(1, 2, 0)
    array = np.asarray(picture)
    if array.ndim == 2:
        array = array[..., None]
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in (1, 3):
        raise BadImage(
            "shape",
            f"{name} is {array.dtype} of shape {array.shape}; pictures are uint8 [H, W, C] "
            "arrays, uint8 [C, H, W] tensors or PIL images",
        )
    return np.ascontiguousarray(array)


def _colour_word(pixels: NDArray[np.uint8]) -> str:
    return "grey" if pixels.shape[2] == 1 else "RGB"
