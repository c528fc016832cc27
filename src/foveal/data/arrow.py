"""One table file: parquet, or Arrow as Hugging Face saves it (the extra ``parquet``).

A file is read in the parts it was written in: row groups of parquet, record batches of Arrow. Files
are read at offsets, not mapped into memory: a failing disk then ends in a named picture instead of
a killed process. What comes out of a file is validated before it is looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foveal.core.packages import package
from foveal.errors import BadImage

TABLES = (".parquet", ".arrow")
_FILE = b"ARROW1"  # how Arrow's file format begins; its stream format has no signature


def pyarrow() -> Any:
    """Pyarrow with its modules for both formats, or an error that says how to get it."""
    why = "parquet and Arrow files are read by pyarrow"
    for name in ("ipc", "parquet", "compute"):
        package(f"pyarrow.{name}", extra="parquet", why=why)
    return package("pyarrow", extra="parquet", why=why)


@dataclass(frozen=True)
class Part:
    """A row group or a record batch.

    Attributes:
        rows: How many it holds.
        place: Its number in the file, or the offset of its message in a stream; -1 stands for what
            follows a place where a stream is cut off or damaged.
        bytes: Of each column by name, in memory.
    """

    rows: int
    place: int
    bytes: dict[str, int]


@dataclass(frozen=True)
class TableFile:
    """What there is in one file.

    Attributes:
        path: The file.
        kind: ``parquet``, or Arrow's ``file`` or ``stream`` format.
        schema: Of its columns, Arrow's.
        parts: In order.
    """

    path: Path
    kind: str
    schema: Any
    parts: list[Part]

    def column(self, part: Part, name: str) -> Any:
        """One column of one part, a ChunkedArray, validated.

        Raises:
            BadImage: It cannot be read.
        """
        if part.place < 0:
            raise BadImage("truncated", f"{self.path.name} is cut off or damaged here")
        with told(self.path) as pa:
            if self.kind == "parquet":
                with pa.parquet.ParquetFile(self.path, page_checksum_verification=True) as file:
                    table = file.read_row_group(part.place, columns=[name], use_threads=False)
                found = table.column(name)
            else:
                found = pa.chunked_array([self._batch(pa, part).column(name)])
            found.validate(full=True)
            if len(found) != part.rows:
                raise BadImage("damaged", f"{len(found)} rows where {part.rows} were promised")
            return found

    def whole_column(self, name: str) -> Any:
        """One column of all parts; for small ones, such as labels.

        Raises:
            BadImage: It cannot be read.
        """
        with told(self.path) as pa:
            if self.kind == "parquet":
                with pa.parquet.ParquetFile(self.path) as file:
                    found = file.read(columns=[name], use_threads=False).column(name)
            else:
                kind = self.schema.field(name).type
                parts = [
                    pa.nulls(part.rows, kind)
                    if part.place < 0
                    else self._batch(pa, part).column(name)
                    for part in self.parts
                ]
                found = pa.chunked_array(parts, kind)
            found.validate(full=True)
            return found

    def class_names(self, column: str) -> list[str] | None:
        """Names of the classes that Hugging Face wrote beside a column of numbers."""
        try:
            about = json.loads((self.schema.metadata or {})[b"huggingface"])
            names = about["info"]["features"][column]["names"]
        except (KeyError, ValueError, TypeError):
            return None
        return [str(name) for name in names]

    def _batch(self, pa: Any, part: Part) -> Any:
        with pa.OSFile(str(self.path)) as file:
            if self.kind == "file":
                return pa.ipc.open_file(file).get_batch(part.place)
            file.seek(part.place)
            return pa.ipc.read_record_batch(pa.ipc.read_message(file), self.schema)


def open_table(path: Path) -> TableFile:
    """Looks at what a file holds; no picture is read.

    Raises:
        BadImage: It is no such file, or damaged.
    """
    with told(path) as pa:
        if not path.stat().st_size:
            raise BadImage("empty", "the file holds no bytes")
        if path.suffix.lower() == ".parquet":
            with pa.parquet.ParquetFile(path) as file:
                parts = [_row_group(file.metadata.row_group(g), g)
                         for g in range(file.metadata.num_row_groups)]  # fmt: skip
                return TableFile(path, "parquet", file.schema_arrow, parts)
        # Mapped for this one look, which would read the whole file otherwise: pictures in between
        # are passed over.
        with pa.memory_map(str(path)) as file:
            if file.read(len(_FILE)) == _FILE:
                file.seek(0)
                return _arrow_file(pa, path, file)
            file.seek(0)
            return _arrow_stream(pa, path, file)


@contextmanager
def told(path: Path) -> Iterator[Any]:
    """Gives pyarrow, and turns what it raises into a reason."""
    pa = pyarrow()
    try:
        yield pa
    except FileNotFoundError:
        raise BadImage("missing", f"{path.name} is gone") from None
    except (pa.ArrowException, OSError, ValueError, KeyError, EOFError, MemoryError) as error:
        text = str(error).strip().partition("\n")[0] or type(error).__name__
        raise BadImage("damaged", f"{path.name} cannot be read: {text}") from None


def _row_group(group: Any, number: int) -> Part:
    sizes: dict[str, int] = {}
    for c in range(group.num_columns):
        column = group.column(c)
        name = column.path_in_schema.partition(".")[0]
        sizes[name] = sizes.get(name, 0) + int(column.total_uncompressed_size)
    return Part(group.num_rows, number, sizes)


def _arrow_file(pa: Any, path: Path, file: Any) -> TableFile:
    reader = pa.ipc.open_file(file)
    parts = []
    for b in range(reader.num_record_batches):
        batch = reader.get_batch(b)
        parts.append(_part(reader.schema, batch, b))
    return TableFile(path, "file", reader.schema, parts)


def _arrow_stream(pa: Any, path: Path, file: Any) -> TableFile:
    reader = pa.ipc.open_stream(file)
    if any(pa.types.is_dictionary(field.type) for field in reader.schema):
        raise BadImage("damaged", f"{path.name} is a stream with dictionaries: save it as parquet")
    parts: list[Part] = []
    place = file.tell()
    while True:
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            break
        except (pa.ArrowException, OSError):
            if not parts:
                raise
            parts.append(Part(1, -1, {}))
            break
        parts.append(_part(reader.schema, batch, place))
        place = file.tell()
    return TableFile(path, "stream", reader.schema, parts)


def _part(schema: Any, batch: Any, place: int) -> Part:
    sizes = {name: int(batch.column(i).nbytes) for i, name in enumerate(schema.names)}
    return Part(batch.num_rows, place, sizes)
