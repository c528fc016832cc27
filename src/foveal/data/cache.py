"""A copy of the pictures that is quicker to read: shrunk, and decoded once for all.

A copy is a folder: ``pixels.bin``, all pictures one behind the other; ``index.bin``, where each
one lies; ``about.json``, written last, what it is a copy of. It is named by a hash of the data's
fingerprint and of the tier, so changed data never meet an old copy. What cannot be decoded is not
copied: the original is asked again, and gives its reason as it would without a copy.

Pixels are read, not mapped: a map turns a failing disk into a dead process (SIGBUS), a read turns
it into a picture that is named and replaced, and costs 3 % of two 224-px views.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from foveal.core.cores import available_cores
from foveal.core.files import read_json, write_json
from foveal.data.blocks import blocks_of
from foveal.data.images import decode
from foveal.data.picture import Picture, Pixels, with_channels
from foveal.data.sources import Source
from foveal.errors import BadImage, FovealError

_FORMAT = 1
_ENTRY = np.dtype(
    [("offset", "<i8"), ("length", "<i8"), ("height", "<i4"), ("width", "<i4"),
     ("bytes", "<i8"), ("mtime", "<i8")]
)  # fmt: skip
_NO_FILE = -2  # bytes of an entry whose source has no files; -1 is a file that is gone
_CHUNK = 128  # pictures between two points a killed build continues from
_PEEK = 32  # pictures encoded to foretell the size
_SPARE = 1_000_000_000  # bytes of the disk left to everybody else
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SAY_SECONDS = 10.0


@dataclass(frozen=True)
class Tier:
    """How pictures are kept.

    Attributes:
        kind: ``raw`` (pixels: most room, no decoding) or ``jpeg`` (see ``fits_jpeg``).
        short: Longest short side in pixels; smaller pictures stay as they are, JPEGs among them
            byte for byte.
        quality: Of JPEG, 1 to 100.
    """

    kind: Literal["raw", "jpeg"]
    short: int = 256
    quality: int = 90


class CachedSource:
    """``Source`` that reads a copy.

    Args:
        source: What was copied.
        tier: How.
        folder: The copy's.
    """

    def __init__(self, source: Source, tier: Tier, folder: Path) -> None:
        self.source, self.tier, self.folder = source, tier, folder
        self.root, self.channels, self.bits = source.root, source.channels, source.bits
        self.classes, self.labels, self.ignored = source.classes, source.labels, source.ignored
        self.blocks = blocks_of(source)
        self._index = np.memmap(folder / "index.bin", _ENTRY, "r").view(np.ndarray)
        self._file = os.open(folder / "pixels.bin", os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)

    def __len__(self) -> int:
        return len(self.source)

    def name(self, i: int) -> str:
        """See ``Source``."""
        return self.source.name(i)

    def read(self, i: int) -> Pixels:
        """See ``Source``: shrunk to the tier's short side."""
        stored, (height, width) = self._stored(i)
        if self.tier.kind == "raw":
            pixels: Pixels = stored.view(np.uint8 if self.bits == 8 else np.uint16)
            return pixels.reshape(height, width, self.channels)
        return with_channels(decode(stored.tobytes()).pixels, self.channels)

    def content(self, i: int) -> bytes | None:
        """See ``Source``: of the copy."""
        return self._stored(i)[0].tobytes() if self.tier.kind == "jpeg" else None

    def picture(self, i: int) -> tuple[Picture, bytes]:
        """See ``Source``: the original."""
        return self.source.picture(i)

    def stat(self, i: int) -> tuple[int, int] | None:
        """See ``Source``: as it was when the picture was copied."""
        entry = self._index[i]
        size = int(entry["bytes"])
        return None if size == _NO_FILE else (size, int(entry["mtime"]))

    def fingerprint(self) -> str:
        """See ``Source``: of data and tier, since features of a copy are other features."""
        return copy_key(self.source, self.tier)

    def _stored(self, i: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        entry = self._index[i]
        length = int(entry["length"])
        if not length:
            content, size = _kept(self.source, self.tier, i)
            return np.frombuffer(bytearray(content), np.uint8), size
        stored = np.empty(length, np.uint8)
        try:
            got = os.preadv(self._file, [stored.data], int(entry["offset"]))
        except OSError as error:
            raise BadImage("disk", f"the copy cannot be read: {error.strerror}") from None
        if got != length:
            raise BadImage("disk", f"the copy in {self.folder} ends too early")
        return stored, (int(entry["height"]), int(entry["width"]))


def open_cache(
    source: Source,
    tier: Tier,
    folder: Path,
    *,
    threads: int | None = None,
    say: Callable[[str], None] | None = None,
) -> CachedSource:
    """The copy of a source, made or completed if need be.

    Args:
        source: What to copy.
        tier: How.
        folder: Holds the copies of all data, each in a folder of its own.
        threads: That decode; None: one a core.
        say: Told what is going on.

    Raises:
        FovealError: The copy does not fit on the disk; nothing of it is left there then.
    """
    home = folder / copy_key(source, tier)
    if not _complete(home, len(source)):
        with _only_one(home):
            if not _complete(home, len(source)):
                _build(source, tier, home, threads or available_cores(), say or (lambda _: None))
    return CachedSource(source, tier, home)


def copy_key(source: Source, tier: Tier) -> str:
    """Names a copy: a hash of the data and of how they are kept."""
    layout = [source.channels, source.bits]
    what = [_FORMAT, source.fingerprint(), layout, sorted(asdict(tier).items())]
    return hashlib.blake2b(json.dumps(what).encode(), digest_size=16).hexdigest()


def fits_jpeg(source: Source) -> bool:
    """Whether a JPEG holds what the source reads: 8 bits, one or three channels."""
    return source.bits == 8 and source.channels in (1, 3)


def expected_bytes(source: Source, tier: Tier) -> int:
    """Size of a copy, foretold from a few pictures spread over the data; 0 if none is readable."""
    lengths = []
    for i in np.unique(np.linspace(0, len(source) - 1, min(_PEEK, len(source))).astype(int)):
        with suppress(BadImage):
            lengths.append(len(_kept(source, tier, int(i))[0]))
    return round(float(np.mean(lengths)) * len(source)) if lengths else 0


def shrunk(pixels: Pixels, short: int) -> Pixels:
    """[H, W, C] with a short side of at most ``short`` pixels: bicubic, antialiased."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    if side <= short:
        return pixels
    size = (round(width * short / side), round(height * short / side))
    if pixels.itemsize == 1 and pixels.shape[2] == 3:
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
    small = np.empty((size[1], size[0], pixels.shape[2]), pixels.dtype)
    for c in range(pixels.shape[2]):
        plane = np.ascontiguousarray(pixels[:, :, c])
        # Pillow does not resize 16 bits; float32 holds them exactly.
        image = Image.fromarray(plane if plane.itemsize == 1 else plane.astype(np.float32))
        found = np.asarray(image.resize(size, Image.Resampling.BICUBIC))
        small[:, :, c] = found if plane.itemsize == 1 else np.rint(found).clip(0, 65535)
    return small


def _kept(source: Source, tier: Tier, i: int) -> tuple[bytes, tuple[int, int]]:
    """The bytes to keep of a picture, with its height and width."""
    pixels = source.read(i)
    small = shrunk(pixels, tier.short)
    height, width, channels = small.shape
    if tier.kind == "raw":
        return small.tobytes(), (height, width)
    content = source.content(i) if small is pixels else None
    if content is None or not _is_jpeg_of(content, pixels):
        colours = ("GRAY", "Gray") if channels == 1 else ("RGB", "420")
        content = simplejpeg.encode_jpeg(np.ascontiguousarray(small), tier.quality, *colours)
    return content, (height, width)


def _is_jpeg_of(content: bytes, pixels: Pixels) -> bool:
    """Whether these bytes are a JPEG that decodes to just these pixels."""
    if content[:3] != b"\xff\xd8\xff":
        return False
    found = decode(content).pixels
    return found.shape[:2] == pixels.shape[:2] and np.array_equal(
        with_channels(found, pixels.shape[2]), pixels
    )


def _build(
    source: Source, tier: Tier, home: Path, threads: int, say: Callable[[str], None]
) -> None:
    fingerprint = source.fingerprint()
    done, end = _resume(home)
    expected = expected_bytes(source, tier)
    free = shutil.disk_usage(home).free
    if expected - end + _SPARE > free:
        raise _no_room(
            home,
            f"a {tier.kind} copy of the pictures needs {(expected - end) / 1e9:,.1f} GB with "
            f"{_SPARE / 1e9:.0f} GB to spare, and the disk of {home.parent} has {free / 1e9:,.1f}",
        )
    at = f", from picture {done:,} on" if done else ""
    say(f"copying {len(source):,} pictures to {home}: {expected / 1e9:,.2f} GB{at}")
    try:
        end = _write(source, tier, home, done, end, threads, say)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise _no_room(
            home, f"the disk of {home.parent} became full while pictures were copied to it"
        ) from None
    if source.fingerprint() != fingerprint:
        shutil.rmtree(home, ignore_errors=True)
        raise FovealError(
            f"{source.root} changed while its pictures were copied", hint="the same command again"
        )
    write_json(
        home / "about.json",
        {"format": _FORMAT, "data": source.root, "fingerprint": fingerprint, "bytes": end,
         "pictures": len(source), "channels": source.channels, **asdict(tier)},
    )  # fmt: skip


def _no_room(home: Path, message: str) -> FovealError:
    """The error of a disk that is full; the copy so far is deleted, others need the room."""
    shutil.rmtree(home, ignore_errors=True)
    return FovealError(
        message,
        hint="cache.tier=jpeg (a sixth of raw), a smaller cache.short, machine.cache_folder=PATH "
        "on another disk, or cache.tier=none",
    )


def _write(
    source: Source,
    tier: Tier,
    home: Path,
    done: int,
    end: int,
    threads: int,
    say: Callable[[str], None],
) -> int:
    """Appends pictures from row ``done`` on; returns the size of all in bytes."""
    began = said = time.monotonic()
    with (home / "pixels.bin").open("ab") as pixels, (home / "index.bin").open("ab") as index:
        for first, chunk in _chunks(source, tier, done, threads):
            entries = np.zeros(len(chunk), _ENTRY)
            for j, (content, (height, width), stat) in enumerate(chunk):
                size, mtime = stat or (_NO_FILE, 0)
                entries[j] = (end, len(content), height, width, size, mtime)
                pixels.write(content)
                end += len(content)
            _sync(pixels)
            # Afterwards: whatever the index names is on the disk.
            index.write(entries.tobytes())
            _sync(index)
            now, so_far = time.monotonic(), first + len(chunk)
            if now - said >= _SAY_SECONDS:
                said = now
                left = (now - began) / (so_far - done) * (len(source) - so_far)
                say(f"  {so_far / len(source):.0%}, {left / 60:.1f} min left")
    return end


_Kept = tuple[bytes, tuple[int, int], tuple[int, int] | None]


def _chunks(
    source: Source, tier: Tier, start: int, threads: int
) -> Iterator[tuple[int, list[_Kept]]]:
    """First row of a chunk, and of each of its pictures the bytes, the size and the stat."""

    def one(i: int) -> _Kept:
        # Before it is read: a file that changes meanwhile is caught by whoever compares.
        stat = source.stat(i)
        try:
            return *_kept(source, tier, i), stat
        except BadImage:
            return b"", (0, 0), stat

    with ThreadPoolExecutor(threads, thread_name_prefix="foveal-cache") as pool:
        ahead: deque[tuple[int, list[Future[_Kept]]]] = deque()
        starts = deque(range(start, len(source), _CHUNK))
        try:
            while starts or ahead:
                while starts and len(ahead) < 2:
                    first = starts.popleft()
                    rows = range(first, min(first + _CHUNK, len(source)))
                    ahead.append((first, [pool.submit(one, i) for i in rows]))
                first, futures = ahead.popleft()
                yield first, [future.result() for future in futures]
        finally:
            for _, futures in ahead:
                for future in futures:
                    future.cancel()


def _resume(home: Path) -> tuple[int, int]:
    """Pictures copied by an earlier build and the bytes they take; what follows is cut off."""
    index, pixels = home / "index.bin", home / "pixels.bin"
    for path in (index, pixels):
        path.touch()
    entries = np.fromfile(index, _ENTRY)
    ends = entries["offset"] + entries["length"]
    done = int(np.searchsorted(ends, pixels.stat().st_size, side="right"))
    end = int(ends[done - 1]) if done else 0
    os.truncate(index, done * _ENTRY.itemsize)
    os.truncate(pixels, end)
    return done, end


def _complete(home: Path, count: int) -> bool:
    """Whether a whole copy lies there; one that was damaged later is deleted."""
    if not (home / "about.json").is_file():
        return False
    try:
        about = read_json(home / "about.json")
        sizes = [(home / name).stat().st_size for name in ("pixels.bin", "index.bin")]
        if sizes == [about["bytes"], count * _ENTRY.itemsize]:
            return True
    except (OSError, ValueError, KeyError):
        pass
    shutil.rmtree(home, ignore_errors=True)
    return False


@contextmanager
def _only_one(home: Path) -> Iterator[None]:
    """One process makes a copy; others wait for it. The lock goes with the process."""
    home.mkdir(parents=True, exist_ok=True)
    with home.with_suffix(".lock").open("w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        home.mkdir(exist_ok=True)
        yield


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
