"""Atomic writes: a reader sees the old file or the whole new one, whenever the power goes."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from foveal.errors import FovealError


def cache_home() -> Path:
    """Where things are kept that can be made again: FOVEAL_CACHE, else the user's cache folder."""
    if own := os.environ.get("FOVEAL_CACHE"):
        return Path(own).expanduser()
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "foveal"


def file_stat(path: str | Path) -> tuple[int, int]:
    """Size in bytes and time of change in nanoseconds: whether a file is still the same.

    (-1, -1) where there is none or it cannot be looked at.
    """
    try:
        found = os.stat(path)
    except OSError:
        return (-1, -1)
    return found.st_size, found.st_mtime_ns


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path``; on success it is synced and renamed onto it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: writers such as numpy and Pillow choose the format by it.
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb+") as f:
            os.fsync(f.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_text(path: str | Path) -> str:
    """The text of a UTF-8 file, whatever its first bytes (Windows writes a mark there).

    Raises:
        FovealError: It cannot be read, or is no text.
    """
    try:
        return Path(path).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FovealError(f"{path} cannot be read: {error}", hint="check the path") from None


def write_json(path: str | Path, value: Any) -> None:
    """Writes JSON atomically; NaN is refused, since other readers choke on it."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Reads a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))
