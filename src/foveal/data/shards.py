"""Pictures in tar files (WebDataset's layout), read at their offsets and never unpacked.

A sample is all members that share a name up to the first dot of its last part: ``a/0001.jpg`` is
the picture and ``a/0001.cls`` its class. Only regular members are looked at: links, devices and
names like ``../x`` are harmless, since nothing is ever written. Where members lie is found once by
walking the headers, and kept in a file keyed by the shard's path, size and time of change. A shard
that is cut off or damaged gives what comes before, and one row, named, for what cannot be found.
A shard may lie behind an address (``foveal.data.remote``): then pieces of it are blocks.
"""

from __future__ import annotations

import glob as globbing
import hashlib
import os
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import numpy as np
from numpy.typing import NDArray

from foveal.core.cores import available_cores
from foveal.core.files import atomic_path, cache_home, file_stat
from foveal.data.blocks import Blocks
from foveal.data.images import EXTENSIONS, decode
from foveal.data.picture import Picture, Pixels, with_channels
from foveal.data.remote import Pieces, RemoteFile, bytes_option, find_remote
from foveal.errors import BadImage, FovealError

TAR = ".tar"
_PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_FORMAT = 1
_LARGEST_CLASS = 64  # bytes of a .cls member
_BLOCK = 512  # bytes; headers and contents begin at multiples of it
_WINDOW = 16  # pieces of far shards that a stream draws from at a time
_THE_REST = "(all that follows)"  # stands for members that cannot be found


class ShardFile(Protocol):
    """A file that is read at offsets: here or far away.

    Attributes:
        name: The last part of its path.
        key: What its index is kept by: another for another content.
        stat: (bytes, mtime in ns or another version) when it was opened.
    """

    name: str
    key: str
    stat: tuple[int, int]

    def read(self, offset: int, length: int) -> bytes:
        """Some bytes; fewer where the file ends.

        Raises:
            BadImage: They cannot be read.
        """
        ...

    def open(self) -> IO[bytes]:
        """The file from its beginning."""
        ...

    def now(self) -> tuple[int, int]:
        """``stat`` as far as can be told now without much ado."""
        ...


class LocalFile:
    """``ShardFile`` on this machine.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.name
        self.stat = self.now()
        text = f"{_FORMAT} {path.resolve()} {self.stat}".encode("utf-8", "surrogateescape")
        self.key = hashlib.blake2b(text).hexdigest()[:32]

    def read(self, offset: int, length: int) -> bytes:
        """See ``ShardFile``."""
        try:
            # Opened each time: ten thousand shards would be more files than a process may hold.
            file = os.open(self.path, os.O_RDONLY)
            try:
                content: bytes = os.pread(file, length, offset)
                return content
            finally:
                os.close(file)
        except FileNotFoundError:
            raise BadImage("missing", f"{self.name} is gone") from None
        except OSError as error:
            raise BadImage("disk", f"{self.name} cannot be read: {error.strerror}") from None

    def open(self) -> IO[bytes]:
        """See ``ShardFile``."""
        return self.path.open("rb")

    def now(self) -> tuple[int, int]:
        """See ``ShardFile``."""
        return file_stat(self.path)


@dataclass(frozen=True)
class Shard:
    """Where the pictures of one tar file lie.

    Attributes:
        file: The file.
        names: Of the members, N.
        offset, length: Of their content in bytes, int64 [N].
        label: Of their ``.cls`` members, N; empty where there is none.
        ignored: Other members, by extension.
    """

    file: ShardFile
    names: list[str]
    offset: NDArray[np.int64]
    length: NDArray[np.int64]
    label: list[str]
    ignored: dict[str, int]


def is_shards(text: str, path: Path) -> bool:
    """Whether this names tar files: one, a pattern of them, or a folder of nothing else to read."""
    if not path.is_dir():
        return text.lower().endswith((TAR, *_PACKED))
    inside = [p for p in path.iterdir() if not p.name.startswith(".")]
    pictures = any(p.is_dir() or p.suffix.lower() in EXTENSIONS for p in inside)
    return not pictures and any(_is_tar(p.name) or _is_packed(p.name) for p in inside)


def open_shards(text: str, path: Path, index: Path | None = None) -> ShardSource:
    """The pictures of tar files.

    Args:
        text: What the user typed, for messages: a file, a folder, a glob, or a brace pattern
            (``train-{000..146}.tar``).
        path: The same as a path.
        index: Where indices are kept; None: in the user's cache folder.

    Raises:
        FovealError: A file is missing, compressed or no tar; there is no picture in any.
    """
    files = _files(text, path)
    for file in files:
        _refuse_packed(str(file))
        if not file.is_file():
            raise FovealError(f"{file} does not exist", hint=f"ls {file.parent}")
    return _opened(text, [LocalFile(file) for file in files], index)


def open_remote_shards(
    text: str,
    options: dict[str, str],
    index: Path | None = None,
    pieces: Pieces | None = None,
) -> ShardSource:
    """The pictures of tar files behind an address.

    Args:
        text: The address of a file or folder, a glob, or a brace pattern.
        options: ``cache``: what the pieces kept on this disk may take.
        index: Where indices are kept; None: in the user's cache folder.
        pieces: The cache; None: in the user's cache folder, as large as ``options`` say.

    Raises:
        FovealError: As for ``open_shards``; or nothing can be fetched.
    """
    patterns = _braces(text)
    for pattern in patterns:
        _refuse_packed(pattern)
    files = find_remote(text, patterns, TAR, pieces or Pieces(limit=bytes_option(text, options)))
    return _opened(text, files, index)


def _refuse_packed(name: str) -> None:
    if _is_packed(name):
        raise FovealError(
            f"{name} is compressed: a picture in it cannot be found without unpacking all before "
            "it",
            hint=f"gunzip -k {name.rpartition('/')[2]} (pictures are compressed already)",
        )


def _opened(text: str, files: Sequence[ShardFile], index: Path | None) -> ShardSource:
    folder = index or cache_home() / "shards"
    with ThreadPoolExecutor(available_cores(), thread_name_prefix="foveal-shards") as pool:
        shards = list(pool.map(lambda file: indexed(file, folder), files))
    if not any(shard.names for shard in shards):
        ignored = _sum(shard.ignored for shard in shards)
        others = ", ".join(f"{n} {suffix}" for suffix, n in sorted(ignored.items())[:8])
        raise FovealError(
            f"{text} holds no pictures" + (f" (other members: {others})" if others else ""),
            hint=f"known endings: {' '.join(EXTENSIONS)}",
        )
    return ShardSource(text, shards)


def indexed(file: ShardFile, folder: Path) -> Shard:
    """The index of one tar file, from ``folder`` if it is there, else made and kept there."""
    kept = folder / f"{file.key}.npz"
    if kept.is_file():
        return _load(kept, file)
    shard = _walk(file)
    with atomic_path(kept) as temporary:
        np.savez(
            temporary,
            names=_joined(shard.names),
            label=_joined(shard.label),
            offset=shard.offset,
            length=shard.length,
            ignored=_joined([f"{n} {suffix}" for suffix, n in shard.ignored.items()]),
        )
    return shard


class ShardSource:
    """``Source`` over tar files; see ``open_shards``.

    Args:
        root: For messages.
        shards: In order.
        channels, bits: Of what ``read`` returns.
    """

    def __init__(
        self, root: str, shards: Sequence[Shard], channels: int = 3, bits: int = 8
    ) -> None:
        self.root, self.channels, self.bits = root, channels, bits
        self.shards = list(shards)
        self.ignored = _sum(shard.ignored for shard in shards)
        counts = [len(shard.names) for shard in shards]
        self._shard = np.repeat(np.arange(len(counts)), counts)
        self._first = np.concatenate([[0], np.cumsum(counts)])
        self._offset = np.concatenate([shard.offset for shard in shards])
        self._length = np.concatenate([shard.length for shard in shards])
        self.blocks = _pieces(self.shards, self._shard, self._offset)
        self.labels, self.classes = _classes([x for shard in shards for x in shard.label])

    def __len__(self) -> int:
        return len(self._offset)

    def name(self, i: int) -> str:
        """See ``Source``: ``shard.tar/name of the member``."""
        shard = self.shards[self._shard[i]]
        return f"{shard.file.name}/{shard.names[i - self._first[self._shard[i]]]}"

    def read(self, i: int) -> Pixels:
        """See ``Source``."""
        return with_channels(decode(self.content(i)).pixels, self.channels, self.bits)

    def content(self, i: int) -> bytes:
        """See ``Source``."""
        file: ShardFile = self.shards[self._shard[i]].file
        length = int(self._length[i])
        if length < 0:
            raise BadImage("truncated", f"{file.name} is cut off or damaged here")
        content = file.read(int(self._offset[i]), length)
        if len(content) != length:
            raise BadImage("truncated", f"{file.name} ends in the middle of the picture")
        if not content:
            raise BadImage("empty", "the member holds no bytes")
        return content

    def picture(self, i: int) -> tuple[Picture, bytes]:
        """See ``Source``."""
        content = self.content(i)
        return decode(content), content

    def stat(self, i: int) -> tuple[int, int] | None:
        """See ``Source``: of the picture's size, and its shard's time of change."""
        file = self.shards[self._shard[i]].file
        size, time = file.now()
        # A shard of another size changed, whatever its time says.
        return int(self._length[i]) if size == file.stat[0] else size, time

    def fingerprint(self) -> str:
        """See ``Source``: names, offsets and sizes of members, sizes and times of shards."""
        digest = hashlib.blake2b(digest_size=16)
        for shard in self.shards:
            digest.update(f"{shard.file.name}\0{shard.file.now()}\0".encode("utf-8", "replace"))
            digest.update("\0".join(shard.names).encode("utf-8", "surrogateescape"))
            digest.update(shard.offset.tobytes() + shard.length.tobytes())
            digest.update("\0".join(shard.label).encode())
        return digest.hexdigest()


def _pieces(
    shards: Sequence[Shard], shard_N: NDArray[np.int64], offset_N: NDArray[np.int64]
) -> Blocks | None:
    """The pieces that hold the beginnings of members, where shards lie far away."""
    file = shards[0].file
    if not isinstance(file, RemoteFile):
        return None
    size = file.pieces.size
    counts = [-(-shard.file.stat[0] // size) + 1 for shard in shards]
    first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Blocks(first[shard_N] + offset_N // size, _WINDOW)


def _walk(file: ShardFile) -> Shard:
    """The index of a tar file from its headers; contents are skipped, ``.cls`` members read."""
    names: list[str] = []
    places: list[tuple[int, int]] = []
    classes: dict[str, str] = {}
    ignored: Counter[str] = Counter()
    try:
        with file.open() as raw, tarfile.open(fileobj=raw, mode="r:") as tar:
            whole = True
            try:
                for member in tar:
                    tar.members = []  # type: ignore[attr-defined]  # tarfile would keep every header it has seen
                    base = member.name.rpartition("/")[2]
                    suffix = os.path.splitext(base)[1].lower()
                    if member.isdir() or base.startswith("."):
                        continue
                    if not member.isfile() or member.issparse():
                        ignored["link or device"] += 1
                    elif suffix in EXTENSIONS:
                        names.append(member.name)
                        places.append((member.offset_data, member.size))
                    elif base.partition(".")[2] == "cls" and member.size <= _LARGEST_CLASS:
                        inside = tar.extractfile(member)
                        assert inside is not None
                        text = inside.read().decode("utf-8", "replace")
                        classes[_sample(member.name)] = text.strip()
                    else:
                        ignored[suffix or "none"] += 1
            except (tarfile.TarError, EOFError, OSError, ValueError):
                whole = False
            if not whole or not _ends_well(file, tar.offset):
                names.append(_THE_REST)
                places.append((tar.offset, -1))
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise FovealError(
            f"{file.name} cannot be read as a tar file: {error}",
            hint=f"tar tf {file.name} lists one",
        ) from None
    offset, length = np.array(places, np.int64).reshape(-1, 2).T.copy()
    label = [classes.get(_sample(name), "") for name in names]
    return Shard(file, names, offset, length, label, dict(ignored))


def _ends_well(file: ShardFile, offset: int) -> bool:
    """Whether the file ends at an offset, or has the zeros there that end a tar.

    tarfile takes a damaged header in the middle for the end.
    """
    return not file.read(offset, _BLOCK).strip(b"\0")


def _sample(name: str) -> str:
    """What the members of one sample share: the name up to the first dot of its last part."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def _files(text: str, path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(p for p in path.iterdir() if _is_tar(p.name) or _is_packed(p.name))
    found = []
    for pattern in _braces(os.path.expanduser(text)):
        if any(c in pattern for c in "*?["):
            matches = sorted(globbing.glob(pattern, recursive=True))
            if not matches:
                raise FovealError(
                    f"no file matches {pattern}",
                    hint="quote the pattern, so that foveal sees it and not the shell",
                )
            found += [Path(m) for m in matches]
        else:
            found.append(Path(pattern))
    return found


def _braces(text: str) -> list[str]:
    """``a-{00..02}.tar`` -> a-00.tar, a-01.tar, a-02.tar, as shells and WebDataset read it."""
    match = re.search(r"\{(\d+)\.\.(\d+)\}", text)
    if match is None:
        return [text]
    low, high = int(match[1]), int(match[2])
    if high < low:
        raise FovealError(f"{match[0]} in {text} counts backwards", hint="{000..146}")
    width = len(match[1])
    before, after = text[: match.start()], text[match.end() :]
    return [x for i in range(low, high + 1) for x in _braces(f"{before}{i:0{width}d}{after}")]


def _is_tar(name: str) -> bool:
    return name.lower().endswith(TAR) and not name.startswith(".")


def _is_packed(name: str) -> bool:
    return name.lower().endswith(_PACKED)


def _classes(labels: list[str]) -> tuple[NDArray[np.int64] | None, list[str] | None]:
    """Classes in order of their numbers, or by name; -1 where a picture has none."""
    known = {x for x in labels if x}
    if not known:
        return None, None
    classes = sorted(known, key=int) if all(x.isdecimal() for x in known) else sorted(known)
    number = {name: i for i, name in enumerate(classes)}
    return np.array([number.get(x, -1) for x in labels], np.int64), classes


def _sum(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total)


def _joined(texts: Sequence[str]) -> NDArray[np.uint8]:
    """Texts as bytes: numpy's own strings would all be as long as the longest."""
    return np.frombuffer("\0".join(texts).encode("utf-8", "surrogateescape"), np.uint8)


def _parted(joined: NDArray[np.uint8], count: int | None = None) -> list[str]:
    if count == 0 or (count is None and not len(joined)):
        return []
    return joined.tobytes().decode("utf-8", "surrogateescape").split("\0")


def _load(kept: Path, file: ShardFile) -> Shard:
    with np.load(kept) as found:
        offset, length = found["offset"], found["length"]
        ignored = [line.partition(" ") for line in _parted(found["ignored"])]
        return Shard(
            file,
            _parted(found["names"], len(offset)),
            offset,
            length,
            _parted(found["label"], len(offset)),
            {suffix: int(n) for n, _, suffix in ignored},
        )
