"""Pictures in tar files (WebDataset's layout), read at their offsets and never unpacked.

A sample is all members that share a name up to the first dot of its last part: ``a/0001.jpg`` is
the picture and ``a/0001.cls`` its class. Only regular members are looked at: links, devices and
names like ``../x`` are harmless, since nothing is ever written. Where members lie is found once by
walking the headers, and kept in a file keyed by the shard's path, size and time of change. A shard
that is cut off or damaged gives what comes before, and one row, named, for what cannot be found.
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

import numpy as np
from numpy.typing import NDArray

from foveal.core.cores import available_cores
from foveal.core.files import atomic_path, cache_home
from foveal.data.images import EXTENSIONS, decode
from foveal.data.picture import Picture, Pixels, with_channels
from foveal.errors import BadImage, FovealError

TAR = ".tar"
_PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_FORMAT = 1
_LARGEST_CLASS = 64  # bytes of a .cls member
_BLOCK = 512  # bytes; headers and contents begin at multiples of it
_THE_REST = "(all that follows)"  # stands for members that cannot be found


@dataclass(frozen=True)
class Shard:
    """Where the pictures of one tar file lie.

    Attributes:
        path: The file.
        stat: (bytes, mtime in ns) when it was indexed.
        names: Of the members, N.
        offset, length: Of their content in bytes, int64 [N].
        label: Of their ``.cls`` members, N; empty where there is none.
        ignored: Other members, by extension.
    """

    path: Path
    stat: tuple[int, int]
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
        if _is_packed(file.name):
            raise FovealError(
                f"{file} is compressed: a picture in it cannot be found without unpacking all "
                "before it",
                hint=f"gunzip -k {file.name} (pictures are compressed already)",
            )
        if not file.is_file():
            raise FovealError(f"{file} does not exist", hint=f"ls {file.parent}")
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


def indexed(path: Path, folder: Path) -> Shard:
    """The index of one tar file, from ``folder`` if it is there, else made and kept there."""
    found = os.stat(path)
    stat = (found.st_size, found.st_mtime_ns)
    key = hashlib.blake2b(f"{_FORMAT} {path.resolve()} {stat}".encode("utf-8", "surrogateescape"))
    kept = folder / f"{key.hexdigest()[:32]}.npz"
    if kept.is_file():
        return _load(kept, path, stat)
    shard = _walk(path, stat)
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
        self.labels, self.classes = _classes([x for shard in shards for x in shard.label])

    def __len__(self) -> int:
        return len(self._offset)

    def name(self, i: int) -> str:
        """See ``Source``: ``shard.tar/name of the member``."""
        shard = self.shards[self._shard[i]]
        return f"{shard.path.name}/{shard.names[i - self._first[self._shard[i]]]}"

    def read(self, i: int) -> Pixels:
        """See ``Source``."""
        return with_channels(decode(self.content(i)).pixels, self.channels, self.bits)

    def content(self, i: int) -> bytes:
        """See ``Source``."""
        path, length = self.shards[self._shard[i]].path, int(self._length[i])
        if length < 0:
            raise BadImage("truncated", f"{path.name} is cut off or damaged here")
        try:
            # Opened each time: ten thousand shards would be more files than a process may hold.
            file = os.open(path, os.O_RDONLY)
            try:
                content = os.pread(file, length, int(self._offset[i]))
            finally:
                os.close(file)
        except FileNotFoundError:
            raise BadImage("missing", f"{path.name} is gone") from None
        except OSError as error:
            raise BadImage("disk", f"{path.name} cannot be read: {error.strerror}") from None
        if len(content) != length:
            raise BadImage("truncated", f"{path.name} ends in the middle of the picture")
        if not content:
            raise BadImage("empty", "the member holds no bytes")
        return content

    def picture(self, i: int) -> tuple[Picture, bytes]:
        """See ``Source``."""
        content = self.content(i)
        return decode(content), content

    def stat(self, i: int) -> tuple[int, int] | None:
        """See ``Source``: of the picture's size, and its shard's time of change."""
        shard = self.shards[self._shard[i]]
        try:
            found = os.stat(shard.path)
        except OSError:
            return (-1, -1)
        # A shard of another size changed, whatever its time says.
        same = found.st_size == shard.stat[0]
        return int(self._length[i]) if same else found.st_size, found.st_mtime_ns

    def fingerprint(self) -> str:
        """See ``Source``: names, offsets and sizes of members, sizes and times of shards."""
        digest = hashlib.blake2b(digest_size=16)
        for shard in self.shards:
            digest.update(f"{shard.path.name}\0{_stat(shard.path)}\0".encode("utf-8", "replace"))
            digest.update("\0".join(shard.names).encode("utf-8", "surrogateescape"))
            digest.update(shard.offset.tobytes() + shard.length.tobytes())
            digest.update("\0".join(shard.label).encode())
        return digest.hexdigest()


def _stat(path: Path) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return (-1, -1)
    return found.st_size, found.st_mtime_ns


def _walk(path: Path, stat: tuple[int, int]) -> Shard:
    """The index of a tar file from its headers; contents are skipped, ``.cls`` members read."""
    names: list[str] = []
    places: list[tuple[int, int]] = []
    classes: dict[str, str] = {}
    ignored: Counter[str] = Counter()
    try:
        with tarfile.open(path, "r:") as tar:
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
                        file = tar.extractfile(member)
                        assert file is not None
                        text = file.read().decode("utf-8", "replace")
                        classes[_sample(member.name)] = text.strip()
                    else:
                        ignored[suffix or "none"] += 1
            except (tarfile.TarError, EOFError, OSError, ValueError):
                whole = False
            if not whole or not _ends_well(path, tar.offset):
                names.append(_THE_REST)
                places.append((tar.offset, -1))
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise FovealError(
            f"{path} cannot be read as a tar file: {error}", hint=f"tar tf {path.name} lists one"
        ) from None
    offset, length = np.array(places, np.int64).reshape(-1, 2).T.copy()
    label = [classes.get(_sample(name), "") for name in names]
    return Shard(path, stat, names, offset, length, label, dict(ignored))


def _ends_well(path: Path, offset: int) -> bool:
    """Whether the file ends at an offset, or has the zeros there that end a tar.

    tarfile takes a damaged header in the middle for the end.
    """
    with path.open("rb") as f:
        f.seek(offset)
        return not f.read(_BLOCK).strip(b"\0")


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


def _load(kept: Path, path: Path, stat: tuple[int, int]) -> Shard:
    with np.load(kept) as found:
        offset, length = found["offset"], found["length"]
        ignored = [line.partition(" ") for line in _parted(found["ignored"])]
        return Shard(
            path,
            stat,
            _parted(found["names"], len(offset)),
            offset,
            length,
            _parted(found["label"], len(offset)),
            {suffix: int(n) for n, _, suffix in ignored},
        )
