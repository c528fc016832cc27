"""Frames of video files as pictures, taken at a rate.

A row is a frame, its name the file with the time in it: ``walks/a.mp4@12.480s``. A video that
cannot be read, or ends before its header says, is one row with the reason. Frames between two
keyframes cost one decoding together: they are a block (``foveal.data.blocks``). Of a video's index
only the rows stay in memory; the rest lies in the user's cache folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foveal.core.cores import available_cores
from foveal.core.files import atomic_path, cache_home, file_stat
from foveal.data.blocks import WINDOW_BYTES, BlockCache, Blocks, window_of
from foveal.data.files import folder_classes
from foveal.data.kinds import find_files
from foveal.data.picture import Picture, Pixels, with_channels
from foveal.data.video import VIDEOS, VideoIndex, index_video, pyav, read_frames
from foveal.errors import BadImage, FovealError

RATE = 1.0  # frames a second
_FORMAT = 1
_BLOCK_BYTES = WINDOW_BYTES // 2  # of a block at most, unless a single frame is larger

Frames = dict[int, "NDArray[np.uint8] | BadImage"]  # by number


def open_videos(
    text: str,
    path: Path,
    *,
    rate: float = RATE,
    channels: int | None = None,
    bits: int | None = None,
    index: Path | None = None,
) -> VideoSource:
    """Frames of a video file, or of all video files below a folder.

    Args:
        text: What the user typed, for messages.
        path: The same as a path.
        rate: Frames a second; a video with fewer gives all it has.
        channels: Of what ``read`` returns; None: 3.
        bits: Likewise; None: 8.
        index: Where indices are kept; None: in the user's cache folder.

    Raises:
        FovealError: The extra ``video`` is missing; there are no videos, or none that can be read.
    """
    pyav()  # a missing package shows before anything is looked at
    root, names, ignored = find_files(text, path, VIDEOS)
    kept = index or cache_home() / "videos"
    with ThreadPoolExecutor(available_cores(), thread_name_prefix="foveal-videos") as pool:
        found = list(pool.map(lambda name: _indexed_or_reason(root / name, kept), names))
    reasons = [
        f"{name}: {f.message}"
        for name, f in zip(names, found, strict=True)
        if isinstance(f, BadImage)
    ]
    if len(reasons) == len(names):
        raise FovealError(
            f"{text} holds {len(names)} video files and none can be read: {'; '.join(reasons[:3])}",
            hint="does a player show them?",
        )
    layout = (channels or 3, bits or 8)
    return VideoSource(text, root, names, found, rate, layout, kept, ignored)


class VideoSource:
    """``Source`` over video files; see ``open_videos``.

    Attributes:
        video: Number of the video of each row, int64 [N].
        frame: Number of its frame, int64 [N]; -1 for a row that stands for what cannot be read.
        seconds: Its time, float64 [N].
        together: ``video``: rows that must not be parted into training and test.
        blocks: Rows that are decoded together.

    Args:
        root: For messages.
        folder: Where the files lie.
        names: Of the files, below the folder.
        found: Their indices, or why there is none.
        rate: Frames a second.
        layout: Channels and bits of what ``read`` returns.
        index: Where indices are kept.
        ignored: Other files found there, by extension.
    """

    def __init__(
        self,
        root: str,
        folder: Path,
        names: Sequence[str],
        found: Sequence[VideoIndex | BadImage],
        rate: float,
        layout: tuple[int, int],
        index: Path,
        ignored: dict[str, int],
    ) -> None:
        self.root, self.ignored = root, ignored
        self.channels, self.bits = layout
        self.folder, self.names, self.rate, self._kept = folder, list(names), rate, index
        self.reasons = {v: f for v, f in enumerate(found) if isinstance(f, BadImage)}
        parts = [_sampled(f, rate) for f in found]
        self.video = np.repeat(np.arange(len(parts)), [len(p.frame) for p in parts])
        self.frame = np.concatenate([p.frame for p in parts])
        self.seconds = np.concatenate([p.seconds for p in parts])
        firsts = np.cumsum([0, *(p.blocks for p in parts)])
        of = np.concatenate([p.block + n for p, n in zip(parts, firsts, strict=False)])
        self.blocks = Blocks(of, window_of(max(p.block_bytes for p in parts)))
        self.together = self.video
        self._first_row = np.concatenate([[0], np.flatnonzero(np.diff(of)) + 1, [len(of)]])
        for v, f in enumerate(found):
            if isinstance(f, VideoIndex) and f.trouble:
                self.reasons[v] = BadImage("truncated", f.trouble)
        stats = [file_stat(folder / name) for name in names]
        counts = np.bincount(self.video, minlength=len(names))
        self._share = [size // n for (size, _), n in zip(stats, counts.tolist(), strict=True)]
        self._size = [size for size, _ in stats]
        labels, self.classes = folder_classes(self.names, least=1)
        self.labels = None if labels is None else labels[self.video]
        self._cache = BlockCache(self._decoded, _bytes)

    def __len__(self) -> int:
        return len(self.frame)

    def name(self, i: int) -> str:
        """See ``Source``: the file and the time in it."""
        name = self.names[self.video[i]]
        if self.frame[i] < 0:
            return name if self.seconds[i] < 0 else f"{name} (all that follows)"
        return f"{name}@{self.seconds[i]:.3f}s"

    def read(self, i: int) -> Pixels:
        """See ``Source``."""
        return with_channels(self.frame_pixels(i), self.channels, self.bits)

    def content(self, i: int) -> None:
        """See ``Source``: a frame has no bytes of its own."""
        return None

    def picture(self, i: int) -> tuple[Picture, bytes]:
        """See ``Source``."""
        pixels = self.frame_pixels(i)
        kind = Path(self.names[self.video[i]]).suffix[1:].upper()
        return Picture(pixels, kind, "RGB"), pixels.tobytes()

    def stat(self, i: int) -> tuple[int, int] | None:
        """See ``Source``: the frame's share of the file, and the file's time of change."""
        v = int(self.video[i])
        size, mtime = file_stat(self.folder / self.names[v])
        return (self._share[v] if size == self._size[v] else size), mtime

    def fingerprint(self) -> str:
        """See ``Source``: names, sizes and times of the files, and the rate."""
        digest = hashlib.blake2b(f"{_FORMAT} {self.rate}".encode(), digest_size=16)
        for name in self.names:
            text = f"{name}\0{file_stat(self.folder / name)}\n"
            digest.update(text.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def frame_pixels(self, i: int) -> NDArray[np.uint8]:
        """The frame as it is shown, RGB [H, W, 3]; as ``read``, for a source of other channels."""
        if self.frame[i] < 0:
            # A new one each time: an error that is raised twice keeps both tracebacks.
            reason = self.reasons[int(self.video[i])]
            raise BadImage(reason.kind, reason.message)
        found = self._cache.get(int(self.blocks.of[i]))[int(self.frame[i])]
        if isinstance(found, BadImage):
            raise BadImage(found.kind, found.message)
        return found

    def _decoded(self, block: int) -> Frames:
        rows = range(self._first_row[block], self._first_row[block + 1])
        path = self.folder / self.names[self.video[rows[0]]]
        index = indexed(path, self._kept)
        return dict(read_frames(path, index, self.frame[rows[0] : rows[-1] + 1].tolist()))


class _Sampled:
    """The rows of one video.

    Attributes:
        frame, seconds, block: As in ``VideoSource``, blocks counted from 0.
        blocks: How many there are.
        block_bytes: Of the largest.
    """

    def __init__(self, frame: NDArray[np.int64], seconds: NDArray[np.float64],
                 block: NDArray[np.int64], frame_bytes: int) -> None:  # fmt: skip
        self.frame, self.seconds, self.block = frame, seconds, block
        self.blocks = int(block[-1]) + 1
        self.block_bytes = int(np.bincount(block).max()) * frame_bytes


def _sampled(found: VideoIndex | BadImage, rate: float) -> _Sampled:
    if isinstance(found, BadImage):
        return _Sampled(np.array([-1]), np.array([-1.0]), np.array([0]), 0)
    frame = found.at_rate(rate)
    seconds, start = found.seconds[frame], found.start()[frame]
    # Blocks: frames decoded from the same keyframe, cut where they would take too much memory.
    frame_bytes = found.height * found.width * 3
    most = max(1, _BLOCK_BYTES // frame_bytes)
    new = np.diff(start, prepend=-1) != 0
    first = np.maximum.accumulate(np.where(new, np.arange(len(frame)), 0))
    block = np.cumsum(new | ((np.arange(len(frame)) - first) % most == 0)) - 1
    if found.trouble:
        frame = np.append(frame, -1)
        seconds = np.append(seconds, found.seconds[-1])
        block = np.append(block, block[-1] + 1)
    return _Sampled(frame, seconds, block, frame_bytes)


def indexed(path: Path, folder: Path) -> VideoIndex:
    """The index of one video, from ``folder`` if it is there, else made and kept there.

    Raises:
        BadImage: The video cannot be read.
    """
    text = f"{_FORMAT} {path.absolute()} {file_stat(path)}".encode("utf-8", "surrogateescape")
    kept = folder / f"{hashlib.blake2b(text, digest_size=16).hexdigest()}.npz"
    if kept.is_file():
        with np.load(kept) as found:
            counted, height, width = found["facts"].tolist()
            return VideoIndex(
                found["stamp"], found["seconds"], found["key"], found["place"], bool(counted),
                height, width, str(found["trouble"]),
            )  # fmt: skip
    index = index_video(path)
    with atomic_path(kept) as temporary:
        np.savez(
            temporary, stamp=index.stamp, seconds=index.seconds, key=index.key, place=index.place,
            facts=[index.counted, index.height, index.width], trouble=index.trouble,
        )  # fmt: skip
    return index


def _indexed_or_reason(path: Path, folder: Path) -> VideoIndex | BadImage:
    try:
        return indexed(path, folder)
    except BadImage as error:
        return error


def _bytes(frames: Frames) -> int:
    return sum(f.nbytes for f in frames.values() if not isinstance(f, BadImage))
