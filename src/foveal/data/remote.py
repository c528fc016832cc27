"""Files behind a ``scheme://`` address (fsspec), read in pieces through a bounded cache on disk.

A file is fetched in pieces of 8 MiB; the pieces used last stay in the user's cache folder, whose
limit holds over all runs and processes of a machine: room is made before a piece is written, under
a lock. Nothing is fetched but what was asked for by its address.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from foveal.core.files import atomic_path, cache_home
from foveal.errors import BadImage, FovealError

PIECE = 8 * 2**20  # bytes fetched at a time
LIMIT = 10_000_000_000  # bytes of the cache
_ATTEMPTS = 4
_PAUSE = 0.5  # seconds before the second attempt, doubled each time
_LOCKS = 64
_SIZES = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def is_address(text: str) -> bool:
    """Whether this is an address and no path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def bytes_option(text: str, options: dict[str, str], default: int = LIMIT) -> int:
    """The limit of the cache among the options, ``cache=50GB``.

    Raises:
        FovealError: It is no size, or smaller than one piece.
    """
    if "cache" not in options:
        return default
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?B?)", options["cache"].upper())
    unit = None if match is None else match[2] + ("B" if match[2] in tuple("KMGT") else "")
    if match is None or unit is None or unit not in {*_SIZES, "B"}:
        raise FovealError(f"cache={options['cache']} of {text} is no size", hint="#cache=50GB")
    limit = int(float(match[1]) * _SIZES.get(unit, 1))
    if limit < PIECE:
        raise FovealError(
            f"a cache of {limit:,} bytes for {text} does not hold one piece of {PIECE:,}",
            hint="#cache=500MB or more: what is drawn from at a time takes 300 MB",
        )
    return limit


class Pieces:
    """The cache on disk.

    Args:
        folder: Where pieces lie; other processes may use it, too.
        limit: Bytes that all pieces in it may take.
        size: Bytes of a piece.
    """

    def __init__(self, folder: Path | None = None, limit: int = LIMIT, size: int = PIECE) -> None:
        self.folder = folder or cache_home() / "remote"
        self.limit, self.size = limit, size
        # Two threads that want the same piece: the second finds what the first has fetched.
        self._locks = [threading.Lock() for _ in range(_LOCKS)]

    def read(self, file: RemoteFile, number: int, start: int, stop: int) -> bytes:
        """Bytes ``start`` to ``stop`` of one piece of a file.

        Raises:
            BadImage: It cannot be fetched.
        """
        path = self.folder / file.key / str(number)
        with self._locks[hash((file.key, number)) % _LOCKS]:
            found = _part_of(path, start, stop)
            if found is None:
                content = file.fetch(number)
                self._keep(path, content)
                found = content[start:stop]
        return found

    def _keep(self, path: Path, content: bytes) -> None:
        with self._alone():
            self._make_room(len(content))
            with atomic_path(path) as temporary:
                temporary.write_bytes(content)

    def _make_room(self, needed: int) -> None:
        """Removes the pieces used longest ago; what a killed process left half written, too."""
        kept = []
        for path in self.folder.glob("*/*"):
            if path.name.isdecimal():
                found = path.stat()
                kept.append((found.st_mtime_ns, found.st_size, path))
            elif path.name.startswith("."):  # nobody writes now but us
                path.unlink()
        total = sum(size for _, size, _ in kept)
        for _, size, path in sorted(kept):
            if total + needed <= self.limit:
                return
            path.unlink()
            total -= size
            with suppress(OSError):  # other pieces of the file are still there
                path.parent.rmdir()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class RemoteFile:
    """A file behind an address.

    Attributes:
        name: The last part of its address.
        key: Of its pieces: address and version.
        stat: (bytes, version).

    Args:
        system: fsspec's file system.
        path: Of the file in it.
        pieces: The cache.

    Raises:
        FovealError: It is not there, or the server cannot be reached.
    """

    def __init__(self, system: Any, path: str, pieces: Pieces) -> None:
        self.system, self.path, self.pieces = system, path, pieces
        self.name = path.rstrip("/").rpartition("/")[2]
        try:
            self.stat = self._now()
        except BadImage as error:
            raise FovealError(f"{path}: {error.message}", hint="check the address") from None
        text = f"{pieces.size} {system.protocol} {path} {self.stat}"
        self.key = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def read(self, offset: int, length: int) -> bytes:
        """Some bytes; fewer where the file ends.

        Raises:
            BadImage: They cannot be fetched.
        """
        end = min(offset + length, self.stat[0])
        if offset >= end:
            return b""
        number, start = divmod(offset, self.pieces.size)
        stop = min(self.pieces.size, start + end - offset)
        found = self.pieces.read(self, number, start, stop)
        # What reaches into the next piece is fetched by itself: with the whole of it, every piece
        # would be fetched twice a pass.
        beyond = offset + len(found)
        return found if beyond == end else found + self._range(beyond, end)

    def now(self) -> tuple[int, int]:
        """Size and version when it was opened; ``fetch`` sees what changed since."""
        return self.stat

    def open(self) -> io.BufferedReader:
        """The file as Python's own."""
        return io.BufferedReader(_Reader(self))

    def fetch(self, number: int) -> bytes:
        """One piece, from where it lies.

        Raises:
            BadImage: It cannot be had, or the file is another than it was.
        """
        if self._now() != self.stat:
            raise BadImage("changed", f"{self.name} changed where it lies")
        start = number * self.pieces.size
        return self._range(start, min(start + self.pieces.size, self.stat[0]))

    def _range(self, start: int, end: int) -> bytes:
        content: bytes = _patiently(lambda: self.system.cat_file(self.path, start=start, end=end))
        if len(content) != end - start:
            why = f"{len(content):,} bytes came instead of {end - start:,}"
            if len(content) == self.stat[0]:
                why = "the server gives whole files only, no parts (HTTP Range)"
            raise BadImage("network", f"{self.name}: {why}")
        return content

    def _now(self) -> tuple[int, int]:
        self.system.invalidate_cache(self.path)
        about: dict[str, Any] = _patiently(lambda: self.system.info(self.path))
        if about.get("size") is None:
            raise BadImage("network", "the server does not say how large the file is")
        # Times, tags, checksums: whatever this kind of storage tells of a file.
        told = sorted((str(k), str(v)) for k, v in about.items())
        version = hashlib.blake2b(repr(told).encode(), digest_size=7).digest()
        return int(about["size"]), int.from_bytes(version, "big")


class _Reader(io.RawIOBase):
    """A remote file for whoever wants ``read``, ``seek`` and ``tell``."""

    def __init__(self, file: RemoteFile) -> None:
        self.file, self.at = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self.at, os.SEEK_END: self.file.stat[0]}[whence]
        self.at = start + offset
        return self.at

    def readinto(self, buffer: Any) -> int:
        found = self.file.read(self.at, len(buffer))
        buffer[: len(found)] = found
        self.at += len(found)
        return len(found)


def find_remote(text: str, patterns: list[str], ending: str, pieces: Pieces) -> list[RemoteFile]:
    """The files that addresses name: each a file, a glob, or a folder of files with an ending.

    Raises:
        FovealError: The address is of a kind that needs another package, or there is nothing.
    """
    from fsspec.core import url_to_fs

    files: list[RemoteFile] = []
    for pattern in patterns:
        try:
            system, path = url_to_fs(pattern)
        except (ImportError, ValueError) as error:
            raise FovealError(
                f"{text} cannot be opened: {error}", hint="pip install s3fs, gcsfs or adlfs"
            ) from None
        paths = [path]
        if any(c in path for c in "*[") or not re.search(r"\.[a-z0-9.]+$", path.lower()):
            asked = path if any(c in path for c in "*[") else f"{path.rstrip('/')}/*{ending}"
            try:
                paths = sorted(_patiently(lambda s=system, a=asked: s.glob(a)))
            except BadImage as error:
                raise FovealError(f"{text}: {error.message}", hint="check the address") from None
        files += [RemoteFile(system, p, pieces) for p in paths]
    if not files:
        raise FovealError(f"no file is at {text}", hint=f"an address of {ending} files")
    return files


def _patiently(ask: Any) -> Any:
    """What a server answers, asked again where the network fails.

    Raises:
        BadImage: The file is not there, or nothing came in several attempts.
    """
    for attempt in range(_ATTEMPTS):
        try:
            return ask()
        except FileNotFoundError:
            raise BadImage("missing", "there is no such file") from None
        except PermissionError:
            raise BadImage("permission", "no permission to read the file") from None
        # Every kind of storage raises errors of its own.
        except Exception as error:
            last = error
            time.sleep(_PAUSE * 2**attempt if attempt + 1 < _ATTEMPTS else 0)
    raise BadImage("network", f"cannot be fetched: {str(last).strip() or type(last).__name__}")


def _part_of(path: Path, start: int, stop: int) -> bytes | None:
    """Some bytes of a kept piece, which counts as used now; None where it is not there."""
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        os.utime(file)
        found = os.pread(file, stop - start, start)
    finally:
        os.close(file)
    return found if len(found) == stop - start else None
