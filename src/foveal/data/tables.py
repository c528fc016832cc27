"""Pictures in tables: parquet, and Arrow files as Hugging Face's ``datasets`` saves them.

A column of pictures holds encoded files (bytes, or ``{bytes, path}``) or pixels (nested lists, a
fixed shape). It is known by its type, then by its name; ``#image=NAME,label=NAME`` says otherwise.
A row group is read as a whole and is a block (``foveal.data.blocks``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.core.files import file_stat
from foveal.data.arrays import class_numbers
from foveal.data.arrow import TABLES, TableFile, open_table, pyarrow
from foveal.data.blocks import CACHE_BYTES, BlockCache, Blocks, window_of
from foveal.data.images import decode, read_bytes
from foveal.data.kinds import find_files
from foveal.data.picture import Picture, Pixels, as_pixels, bands, with_channels
from foveal.errors import BadImage, FovealError

OPTIONS = ("image", "label")
# Where several columns could be meant, the first of these.
_IMAGES = ("image", "img", "picture", "photo", "jpg", "jpeg", "png", "webp", "pixels")
_LABELS = ("label", "labels", "class", "cls", "target", "category", "fine_label")
_LARGEST = 2 * CACHE_BYTES  # bytes of a row group in memory


def open_tables(text: str, path: Path, options: dict[str, str]) -> TableSource:
    """The pictures of table files.

    Args:
        text: What the user typed, for messages: a file, a folder, a glob.
        path: The same as a path.
        options: ``image`` and ``label``: names of columns.

    Raises:
        FovealError: The extra ``parquet`` is missing, no file can be read, no column holds
            pictures or several do, or a row group is larger than memory should be.
    """
    pyarrow()  # a missing package shows before anything is looked at
    found = find_files(text, path, TABLES)
    # What ``datasets`` computed once lies beside the data.
    names = [n for n in found.names if not Path(n).name.startswith("cache-")]
    opened = [_opened_or_reason(found.root / name) for name in names]
    tables = [t for t in opened if isinstance(t, TableFile)]
    if not any(part.rows for t in tables for part in t.parts):
        reasons = [f.message for f in opened if isinstance(f, BadImage)]
        raise FovealError(
            f"{text} holds no rows that can be read" + "".join(f"; {r}" for r in reasons[:3]),
            hint="tables with a column of encoded pictures or of pixels",
        )
    first = next(t for t in tables if t.parts)
    image = _image_column(text, first.schema, options.get("image"))
    label = _label_column(text, first.schema, options.get("label"))
    return TableSource(text, found.root, names, opened, image, label, found.ignored)


class TableSource:
    """``Source`` over table files; see ``open_tables``.

    Attributes:
        blocks: Rows of one row group.

    Args:
        root: For messages.
        folder: Where the files lie.
        names: Of the files, below the folder.
        opened: The files, or why one cannot be read.
        image, label: Names of columns; no label column: None.
        ignored: Other files found there, by extension.
    """

    def __init__(
        self,
        root: str,
        folder: Path,
        names: Sequence[str],
        opened: Sequence[TableFile | BadImage],
        image: str,
        label: str | None,
        ignored: dict[str, int],
    ) -> None:
        self.root, self.ignored, self.channels, self.bits = root, ignored, 3, 8
        self.folder, self.names, self.image = folder, list(names), image
        self._opened = [_with_column(t, image) for t in opened]
        # A part is (file, part of it); a file that cannot be read is one part of one row.
        self._parts = [
            (f, p)
            for f, t in enumerate(self._opened)
            for p in range(1 if isinstance(t, BadImage) else len(t.parts))
        ]
        counts = np.array([self._rows_of(f, p) for f, p in self._parts], np.int64)
        self._first = np.concatenate([[0], np.cumsum(counts)])
        largest = max((self._bytes_of(f, p) for f, p in self._parts), default=0)
        if largest > _LARGEST:
            raise FovealError(
                f"a row group of {root} takes {largest / 1e9:.1f} GB, which is read as a whole",
                hint="write it anew: pyarrow.parquet.write_table(table, path, row_group_size=1000)",
            )
        self.blocks = Blocks(np.repeat(np.arange(len(counts)), counts), window_of(largest))
        files = [f for f, _ in self._parts]
        rows = np.bincount(files, counts, minlength=len(names)).astype(np.int64).tolist()
        self._file_rows = [np.int64(n) for n in np.concatenate([[0], np.cumsum(rows)])]
        self._size = [file_stat(folder / name)[0] for name in names]
        self._share = [size // max(1, n) for size, n in zip(self._size, rows, strict=True)]
        self.labels, self.classes = self._read_labels(label)
        self._cache: BlockCache[Any] = BlockCache(self._column, lambda column: int(column.nbytes))

    def __len__(self) -> int:
        return int(self._first[-1])

    def name(self, i: int) -> str:
        """See ``Source``: ``file.parquet[12]``, counted within the file."""
        f, p = self._parts[self.blocks.of[i]]
        table = self._opened[f]
        if isinstance(table, BadImage):
            return str(self.names[f])
        if table.parts[p].place < 0:
            return f"{self.names[f]} (all that follows)"
        return f"{self.names[f]}[{i - int(self._file_rows[f])}]"

    def read(self, i: int) -> Pixels:
        """See ``Source``."""
        return with_channels(self.picture(i)[0].pixels, self.channels, self.bits)

    def content(self, i: int) -> bytes | None:
        """See ``Source``."""
        found = self._stored(i)
        return found if isinstance(found, bytes) else None

    def picture(self, i: int) -> tuple[Picture, bytes]:
        """See ``Source``."""
        found = self._stored(i)
        if isinstance(found, bytes):
            return decode(found), found
        return Picture(found, "array", bands(found), found.itemsize * 8), found.tobytes()

    def stat(self, i: int) -> tuple[int, int] | None:
        """See ``Source``: the row's share of the file, and the file's time of change."""
        f = self._parts[self.blocks.of[i]][0]
        size, mtime = file_stat(self.folder / self.names[f])
        return (self._share[f] if size == self._size[f] else size), mtime

    def fingerprint(self) -> str:
        """See ``Source``: names, sizes and times of the files, and the column."""
        digest = hashlib.blake2b(self.image.encode(), digest_size=16)
        for name in self.names:
            text = f"{name}\0{file_stat(self.folder / name)}\n"
            digest.update(text.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def _rows_of(self, f: int, p: int) -> int:
        table = self._opened[f]
        return 1 if isinstance(table, BadImage) else table.parts[p].rows

    def _bytes_of(self, f: int, p: int) -> int:
        table = self._opened[f]
        return 0 if isinstance(table, BadImage) else table.parts[p].bytes.get(self.image, 0)

    def _column(self, block: int) -> Any:
        f, p = self._parts[block]
        table = self._opened[f]
        if isinstance(table, BadImage):
            raise BadImage(table.kind, table.message)
        return table.column(table.parts[p], self.image)

    def _stored(self, i: int) -> bytes | Pixels:
        """The encoded file or the pixels of a row."""
        block = int(self.blocks.of[i])
        column = self._cache.get(block)
        folder = (self.folder / self.names[self._parts[block][0]]).parent
        return _value(column, i - int(self._first[block]), folder)

    def _read_labels(self, label: str | None) -> tuple[NDArray[np.int64] | None, list[str] | None]:
        if label is None:
            return None, None
        values: list[Any] = []
        names: list[str] | None = None
        for table in self._opened:
            if isinstance(table, BadImage):
                values.append(None)
                continue
            values += table.whole_column(label).to_pylist()
            names = names or table.class_names(label)
        known = [v for v in values if v is not None]
        if not known:
            return None, None
        numbers = np.full(len(values), -1, np.int64)
        some = np.array([v is not None for v in values])
        if names is not None and all(isinstance(v, int) and v < len(names) for v in known):
            numbers[some] = np.maximum(np.array(known, np.int64), -1)
            return numbers, names
        found, classes = class_numbers(self.root, np.array(known), len(known))
        assert found is not None
        numbers[some] = found
        return numbers, classes


def _opened_or_reason(path: Path) -> TableFile | BadImage:
    try:
        return open_table(path)
    except BadImage as error:
        return error


def _with_column(table: TableFile | BadImage, image: str) -> TableFile | BadImage:
    if isinstance(table, BadImage) or image in table.schema.names:
        return table
    return BadImage("shape", f"{table.path.name} has no column {image}, as other files have")


def _image_column(text: str, schema: Any, asked: str | None) -> str:
    """The column of pictures.

    Raises:
        FovealError: There is none, or nothing tells which of several is meant.
    """
    able = [field.name for field in schema if _holds_pictures(field.type)]
    if asked is not None:
        if asked not in able:
            raise FovealError(
                f"column {asked} of {text} holds no pictures"
                if asked in schema.names
                else f"{text} has no column {asked}",
                hint=f"columns that could: {', '.join(able) or 'none'}",
            )
        return asked
    named = [name for name in _IMAGES if name in able]
    if len(able) == 1 or named:
        return (named or able)[0]
    if able:
        raise FovealError(
            f"several columns of {text} could hold the pictures: {', '.join(able)}",
            hint=f"{text}#image={able[0]}",
        )
    raise FovealError(
        f"no column of {text} holds pictures: {', '.join(schema.names)}",
        hint="encoded files as bytes, {bytes, path}, or pixels as nested lists of uint8",
    )


def _label_column(text: str, schema: Any, asked: str | None) -> str | None:
    types = pyarrow().types
    tests: list[Callable[[Any], bool]] = [
        types.is_integer, types.is_string, types.is_large_string, types.is_boolean,
        types.is_dictionary,
    ]  # fmt: skip
    able = [f.name for f in schema if any(test(f.type) for test in tests)]
    if asked is not None and asked not in able:
        raise FovealError(
            f"{text} has no labels in a column {asked}", hint=f"columns: {', '.join(able)}"
        )
    return asked or next((name for name in _LABELS if name in able), None)


def _holds_pictures(kind: Any) -> bool:
    types = pyarrow().types
    if types.is_struct(kind):
        return any(f.name == "bytes" and _is_bytes(f.type) for f in kind)
    if _is_shaped(kind):
        return bool(types.is_integer(kind.value_type))
    depth = 0
    while _is_list(kind):
        kind, depth = kind.value_type, depth + 1
    return _is_bytes(kind) if depth == 0 else depth in (2, 3) and bool(types.is_integer(kind))


def _is_bytes(kind: Any) -> bool:
    types = pyarrow().types
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _is_list(kind: Any) -> bool:
    types = pyarrow().types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _is_shaped(kind: Any) -> bool:
    return isinstance(kind, pyarrow().FixedShapeTensorType) and kind.permutation is None


def _value(column: Any, at: int, folder: Path) -> bytes | Pixels:
    """One row of a column: the encoded file, or pixels.

    Raises:
        BadImage: There is nothing in it, or no picture.
    """
    one = column.slice(at, 1).combine_chunks()
    one = one.chunk(0) if hasattr(one, "chunk") else one
    nothing = BadImage("empty", "no picture in this row")
    if one.null_count:
        raise nothing
    if _is_bytes(one.type) or pyarrow().types.is_struct(one.type):
        found = one[0].as_py()
        if isinstance(found, dict):
            # Hugging Face leaves pictures where they are unless told to embed them.
            if not found["bytes"] and found.get("path"):
                return read_bytes(folder / str(found["path"]))
            found = found["bytes"]
        if not found:
            raise nothing
        return bytes(found)
    return _pixels(one)


def _pixels(one: Any) -> Pixels:
    if _is_shaped(one.type):
        return as_pixels(one.storage.flatten().to_numpy().reshape(one.type.shape))
    shape = []
    inner = one
    while _is_list(inner.type):
        lengths = np.asarray(pyarrow().compute.list_value_length(inner))
        if inner.null_count or not len(lengths) or (lengths != lengths[0]).any():
            raise BadImage("shape", "rows of different lengths: no rectangle of pixels")
        shape.append(int(lengths[0]))
        inner = inner.flatten()
    if inner.null_count:
        raise BadImage("shape", "some pixels are missing")
    return as_pixels(inner.to_numpy(zero_copy_only=False).reshape(shape))
