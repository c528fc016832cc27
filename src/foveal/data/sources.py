"""Where pictures come from: files, arrays, sequences. A source only reads; it never writes back.

A source is numbered 0 to N-1 in an order that depends on names alone, so the same data give the
same stream on every machine.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from foveal.data.address import check_options, number_option, split_options
from foveal.data.arrays import ArraySource, SequenceSource, open_array
from foveal.data.blocks import blocks_of, together_of
from foveal.data.files import LISTS, FileSource, open_folder, open_glob, open_list, peeked
from foveal.data.images import EXTENSIONS
from foveal.data.kinds import kind_of
from foveal.data.masked import is_masked, open_masked
from foveal.data.picture import MAX_CHANNELS, Picture, Pixels
from foveal.data.remote import is_address
from foveal.data.shards import ShardSource, is_shards, open_remote_shards, open_shards
from foveal.data.tables import OPTIONS, TableSource, open_tables
from foveal.data.videos import RATE, VideoSource, open_videos
from foveal.errors import BadImage, FovealError

__all__ = [
    "ArraySource",
    "FileSource",
    "SequenceSource",
    "ShardSource",
    "Source",
    "Subset",
    "TableSource",
    "VideoSource",
    "open_source",
]


def open_source(data: Any, *, channels: int | None = None, bits: int | None = None) -> Source:
    """A source from anything a user may point at.

    Args:
        data: A folder (flat, nested, of classes, or of ``foveal data motion``), a glob, tar shards
            (a folder of them, a glob, ``train-{000..146}.tar``, ``scheme://`` addresses of them),
            video files (``videos/#fps=2`` takes two frames a second), parquet or Arrow tables, a
            list file (``.txt``, ``.csv``: one path a line, first column, relative to the file),
            ``.npy`` or ``.npz`` (arrays ``images`` and ``labels``), a map-style dataset or a
            sequence of pictures, an array [N, H, W(, C)], or a source.
        channels: Of what is read; None: 1 where all pictures looked at are grey, 3 where some are
            in colour, more where most have more.
        bits: 8 or 16; None: 16 where some of the pictures looked at have 16.

    Raises:
        FovealError: There is nothing, or nothing that is a picture.
    """
    if channels is not None and not 1 <= channels <= MAX_CHANNELS:
        raise FovealError(
            f"channels={channels}: pictures have 1 to {MAX_CHANNELS}", hint="channels=3"
        )
    if bits not in (None, 8, 16):
        raise FovealError(f"bits={bits}: pictures are read with 8 or 16", hint="bits=16")
    if isinstance(data, str | Path):
        source = _open_path(data, channels, bits)
    elif isinstance(data, np.ndarray):
        source = ArraySource("array", data, channels=channels, bits=bits)
    elif all(hasattr(data, name) for name in ("read", "content", "fingerprint", "stat")):
        if channels not in (None, data.channels):
            raise FovealError(
                f"{data.root} gives {data.channels} channels, and {channels} are asked for",
                hint="open the source itself with that number of channels",
            )
        return data  # type: ignore[no-any-return]
    elif hasattr(data, "__len__") and hasattr(data, "__getitem__"):
        source = SequenceSource(data, channels, bits)
    else:
        raise FovealError(
            f"cannot read pictures from {type(data).__name__}",
            hint="a folder, glob, list file, .npy/.npz, or something with len() and [i]",
        )
    return source


def _open_path(data: str | Path, channels: int | None, bits: int | None) -> Source:
    text, options = split_options(str(data))
    if is_address(text):
        check_options(text, options, ("cache",))
        return peeked(open_remote_shards(text, options), channels, bits)
    path = Path(text).expanduser()
    kind = kind_of(path)
    if kind == "videos":
        check_options(text, options, ("fps",))
        rate = number_option(text, options, "fps", RATE)
        return open_videos(text, path, rate=rate, channels=channels, bits=bits)
    if kind == "tables":
        check_options(text, options, OPTIONS)
        return peeked(open_tables(text, path, options), channels, bits)
    check_options(text, options)
    if path.is_dir() and is_masked(path):
        return peeked(open_masked(text, path), channels, bits)
    if is_shards(text, path):
        return peeked(open_shards(text, path), channels, bits)
    if path.is_dir():
        return peeked(open_folder(text, path), channels, bits)
    if path.is_file():
        suffix = path.suffix.lower()
        if suffix in (".npy", ".npz"):
            return open_array(path, channels, bits)
        if suffix in LISTS:
            return peeked(open_list(text, path), channels, bits)
        if suffix in EXTENSIONS:
            return peeked(FileSource(text, [path], [path.name]), channels, bits)
        raise FovealError(
            f"{text} is a {suffix or 'file without extension'}, not a picture or a list of them",
            hint=f"a folder, a glob, a list ({', '.join(LISTS)}), .npy or .npz",
        )
    if any(c in text for c in "*?["):
        return peeked(open_glob(text), channels, bits)
    parent = path.parent if path.parent.is_dir() else None
    raise FovealError(
        f"{text} does not exist" + ("" if parent else f" (nor does {path.parent})"),
        hint=f"ls {parent}" if parent else "check the path",
    )


class Source(Protocol):
    """Numbered pictures.

    Attributes:
        root: What the user typed, for messages.
        channels, bits: Of what ``read`` returns; 8 bits are uint8, 16 are uint16.
        classes: Names of classes, if the data hold any.
        labels: int64 [N], -1 unknown; None without classes.
        ignored: How many other files lie there, by extension.

    A source may have two attributes more: ``blocks`` (``foveal.data.blocks``), where rows are read
    together, and ``together`` (int64 [N]), equal for rows that must not be parted into training and
    test, such as frames of one video.
    """

    root: str
    channels: int
    bits: int
    classes: list[str] | None
    labels: NDArray[np.int64] | None
    ignored: dict[str, int]

    def __len__(self) -> int: ...

    def name(self, i: int) -> str:
        """A name that finds it again: a path below the root, or ``file.npy[12]``."""
        ...

    def read(self, i: int) -> Pixels:
        """Pixels, uint8 or uint16 [H, W, channels]. Safe to call from many threads.

        Raises:
            BadImage: It cannot be decoded.
        """
        ...

    def content(self, i: int) -> bytes | None:
        """Its file's bytes, which ``read`` decodes; None where pictures are not encoded.

        Raises:
            BadImage: The file cannot be read.
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
        self.channels, self.bits, self.classes = source.channels, source.bits, source.classes
        self.labels = None if source.labels is None else source.labels[self.rows]
        self.ignored: dict[str, int] = {}
        blocks = blocks_of(source)
        self.blocks = None if blocks is None else blocks.rows(self.rows)
        self.together = together_of(source)[self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, i: int) -> str:
        """See ``Source``."""
        return self.source.name(int(self.rows[i]))

    def read(self, i: int) -> Pixels:
        """See ``Source``."""
        return self.source.read(int(self.rows[i]))

    def content(self, i: int) -> bytes | None:
        """See ``Source``."""
        return self.source.content(int(self.rows[i]))

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


def is_encoded(source: Source, i: int) -> bool:
    """Whether row ``i`` has to be decoded; a row that cannot be read does not."""
    try:
        return source.content(i) is not None
    except BadImage:
        return False
