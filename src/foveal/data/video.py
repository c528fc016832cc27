"""One video file: where its frames lie, and any of them, exactly (PyAV, the extra ``video``).

Frames are numbered as they are shown. Where they lie is read off the container's packets without
decoding anything. A frame is decoded from the last keyframe shown before it, packet by packet, by
one thread, and told by its time stamp: seeking changes no pixel. What a decoder had to guess is no
frame: from a damaged packet to the next keyframe all are bad.

Legend: F frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.core.packages import package
from foveal.data.picture import check_size
from foveal.errors import BadImage

VIDEOS = (
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv",
    ".3gp", ".ts", ".mts",
)  # fmt: skip
# A file that only calls itself a video must not make FFmpeg open playlists, other files or the net.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpeg,mpegvideo,mpegts,asf,flv,ogg,h264,hevc,m4v"
)
_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": _CONTAINERS}
_CODED = ("h264", "hevc", "mjpeg", "mpeg2video", "mpeg4", "vp8", "vp9")
_END_OF_JPEG, _PADDING = b"\xff\xd9", 64  # bytes that may follow it
_ZEROS = 32
_DELAY = (
    18  # packets a decoder reads before it shows the first frame: 16 reordered ones, and itself
)
_CHECKED = 16  # frames whose time stamps are compared with their packets'
_MISSING = 0.05  # share of the promised frames that may be missing: containers count badly


def pyav() -> Any:
    """PyAV, or an error that says how to get it."""
    return package("av", extra="video", why="video files are read by PyAV")


@dataclass(frozen=True)
class VideoIndex:
    """Where the frames of one video lie.

    Attributes:
        stamp: Time stamp of each frame, int64 [F], ascending; where ``counted``, its number.
        seconds: Its time after the first frame, float64 [F].
        key: Whether it is a keyframe, bool [F].
        place: Its place in the order of decoding, int64 [F].
        counted: Time stamps of packets are not those of frames (H.264 in AVI): frames are counted
            from the beginning of the file.
        height, width: In pixels, upright.
        trouble: Why there are fewer frames than the header promises; empty where all are there.
    """

    stamp: NDArray[np.int64]
    seconds: NDArray[np.float64]
    key: NDArray[np.bool_]
    place: NDArray[np.int64]
    counted: bool
    height: int
    width: int
    trouble: str

    def __len__(self) -> int:
        return len(self.stamp)

    def start(self) -> NDArray[np.int64]:
        """The frame at which decoding starts in order to get each frame, int64 [F]."""
        if self.counted:
            return np.zeros(len(self), np.int64)
        return np.maximum.accumulate(np.where(self.key, np.arange(len(self)), 0))

    def at_rate(self, rate: float) -> NDArray[np.int64]:
        """Frames to take ``rate`` of a second: the first one at or after each multiple of 1 / rate.

        A video with fewer frames a second gives each of its frames once.
        """
        times = np.arange(int(self.seconds[-1] * rate + 1e-6) + 1) / rate
        found = np.unique(np.searchsorted(self.seconds, times - 1e-6))
        return found[found < len(self)]


def index_video(path: Path) -> VideoIndex:
    """Where the frames of a video lie.

    Raises:
        BadImage: It cannot be opened, or holds no frame that can be decoded.
    """
    with _opened(path) as (container, stream):
        index = _from_packets(container, stream)
    errors: list[Exception] = []
    with _opened(path) as (container, stream):
        shown = list(islice(_all_frames(container, stream, errors), _CHECKED))
    if not shown:
        raise BadImage("damaged", "no frame of the video can be decoded")
    if index is None or not _agree([f.pts for f in shown], index, bool(errors)):
        with _opened(path) as (container, stream):
            index = _counted(container, stream)
    height, width = shown[0].height, shown[0].width
    check_size(width, height)
    if _quarter_turns(shown[0]) % 2:
        height, width = width, height
    return replace(index, height=height, width=width)


def _agree(shown: list[int | None], index: VideoIndex, gaps: bool) -> bool:
    """Whether frames have the time stamps of packets; after errors some frames may be missing."""
    if gaps:
        return set(shown) <= set(index.stamp.tolist())
    return bool(shown == index.stamp[: len(shown)].tolist())


def read_frames(
    path: Path, index: VideoIndex, wanted: Sequence[int]
) -> Iterator[tuple[int, NDArray[np.uint8] | BadImage]]:
    """Frames of a video in one go, from the keyframe before the first wanted to the last.

    Args:
        path: The file.
        index: Of it.
        wanted: Numbers of frames, ascending.

    Yields:
        Each wanted number with its pixels, RGB uint8 [H, W, 3] upright, or why there are none.

    Raises:
        BadImage: The file cannot be opened any more.
    """
    left = deque(wanted)
    if not left:
        return
    damage = _Damage(index)
    broken = BadImage("damaged", "data of the video are broken here")
    with _opened(path) as (container, stream):
        first = int(index.start()[wanted[0]])
        for number, frame, whole in _decoded(container, stream, index, first, damage):
            while left and left[0] < number:
                yield left.popleft(), broken
            if left and left[0] == number:
                yield left.popleft(), _pixels(frame) if whole else broken
            if not left:
                return
    for number in left:
        yield number, broken


class _Damage:
    """Frames that depend on packets which could not be decoded.

    Told by the order of decoding: what was decoded after a broken packet and is shown before the
    next keyframe. Where frames are counted nothing but the order in which they come is known: all
    are bad until a keyframe comes so late that it must have been read after the broken packet.
    """

    def __init__(self, index: VideoIndex) -> None:
        self.counted, self.place = index.counted, index.place
        self.keys = np.flatnonzero(index.key)
        self.spans: list[tuple[int, int]] = []
        self.broken = False  # a packet was, and no keyframe has been shown that follows it
        self.read_since = 0

    def read(self, place: int, broken: bool) -> None:
        """Notes the packet at this place in the order of decoding."""
        if broken:
            later = self.keys[self.place[self.keys] > place]
            self.spans.append((place, int(later[0]) if len(later) else len(self.place)))
            self.broken, self.read_since = True, 0
        self.read_since += 1

    def touches(self, number: int, key: bool) -> bool:
        """Whether the frame shown now is one of them."""
        if self.counted:
            self.broken = self.broken and not (key and self.read_since > _DELAY)
            return self.broken
        return any(self.place[number] >= p and number < last for p, last in self.spans)


def _decoded(
    container: Any, stream: Any, index: VideoIndex, first: int, damage: _Damage
) -> Iterator[tuple[int, Any, bool]]:
    """Frames as they are shown, from a keyframe on: number, frame, whether it is whole."""
    av = pyav()
    number_of = {stamp: i for i, stamp in enumerate(index.stamp.tolist())}
    place = shown = 0
    for packet in _packets(container, stream, None if index.counted else int(index.stamp[first])):
        if not index.counted and packet.size:
            at = number_of.get(_stamp(packet))
            place = place if at is None else int(index.place[at])
        broken = packet.is_corrupt or _is_torn(stream, packet)
        frames = []
        try:
            frames = packet.decode()
        except (av.FFmpegError, ValueError):
            broken = True
        damage.read(place, broken)
        for frame in frames:
            number = shown if index.counted else number_of.get(frame.pts, -1)
            shown += 1
            if first <= number < len(index):
                touched = damage.touches(number, bool(frame.key_frame))
                yield number, frame, not (touched or frame.is_corrupt)
        place += index.counted


def _packets(container: Any, stream: Any, stamp: int | None) -> Iterator[Any]:
    """Packets from the keyframe with this time stamp on, or all; an empty one at the end."""
    av = pyav()
    if stamp is None:
        yield from _demuxed(container, stream)
        return
    for way in ("seek", "walk"):
        # Not every container finds a keyframe by its time; then the file is walked.
        try:
            container.seek(stamp if way == "seek" else 0, stream=stream, any_frame=False)
        except av.FFmpegError:
            continue
        started = False
        for packet in _demuxed(container, stream):
            started = started or (packet.is_keyframe and _stamp(packet) == stamp)
            if started:
                yield packet
            elif packet.is_keyframe and (_stamp(packet) or 0) > stamp and way == "seek":
                break
        if started:
            return


def _demuxed(container: Any, stream: Any) -> Iterator[Any]:
    """Packets as far as they can be read; where a file is cut off they end."""
    av = pyav()
    try:
        yield from container.demux(stream)
    except (av.FFmpegError, ValueError):
        return


def _all_frames(container: Any, stream: Any, errors: list[Exception]) -> Iterator[Any]:
    """What the decoder gives from the beginning, whole or not, and what it could not decode."""
    av = pyav()
    for packet in _demuxed(container, stream):
        try:
            yield from packet.decode()
        except (av.FFmpegError, ValueError) as error:
            errors.append(error)


def _is_torn(stream: Any, packet: Any) -> bool:
    """Whether a packet shows damage that FFmpeg would paint over.

    A JPEG without its end; zeros in a row, which no entropy coder writes and an interrupted copy
    leaves. At the end of a packet some formats pad with them.
    """
    name = stream.codec_context.name
    if not packet.size or name not in _CODED:
        return False
    content = bytes(packet)
    if name == "mjpeg":
        return _END_OF_JPEG not in content[-_PADDING:]
    return bytes(_ZEROS) in (content if name.startswith("vp") else content.rstrip(b"\0"))


def _stamp(packet: Any) -> int | None:
    stamp: int | None = packet.dts if packet.pts is None else packet.pts
    return stamp


def _from_packets(container: Any, stream: Any) -> VideoIndex | None:
    """The index from time stamps of packets; None where they cannot be told apart."""
    stamps: list[int] = []
    keys: list[bool] = []
    for packet in _demuxed(container, stream):
        if not packet.size or packet.is_discard:
            continue
        stamp = _stamp(packet)
        if stamp is None:
            return None
        stamps.append(stamp)
        keys.append(packet.is_keyframe)
    if not any(keys):
        return None
    stamp_F = np.array(stamps, np.int64)
    # What is shown before the first keyframe cannot be decoded.
    order_F = np.argsort(stamp_F, kind="stable")
    order_F = order_F[stamp_F[order_F] >= stamp_F[int(np.argmax(keys))]]
    shown_F = stamp_F[order_F]
    if (np.diff(shown_F) <= 0).any():
        return None
    seconds_F = (shown_F - shown_F[0]) * float(stream.time_base)
    key_F = np.array(keys, bool)[order_F]
    trouble = _trouble(container, stream, len(shown_F), float(seconds_F[-1]))
    return VideoIndex(shown_F, seconds_F, key_F, order_F, False, 0, 0, trouble)


def _counted(container: Any, stream: Any) -> VideoIndex:
    """The index of a video whose packets do not tell: everything is decoded once."""
    rate = float(stream.average_rate or stream.guessed_rate or 25)
    keys = [bool(frame.key_frame) for frame in _all_frames(container, stream, [])]
    number_F = np.arange(len(keys), dtype=np.int64)
    trouble = _trouble(container, stream, len(keys), len(keys) / rate)
    return VideoIndex(number_F, number_F / rate, np.array(keys), number_F, True, 0, 0, trouble)


def _trouble(container: Any, stream: Any, frames: int, seconds: float) -> str:
    """What is missing of what the header promises."""
    if stream.frames and frames < (1 - _MISSING) * stream.frames - 2:
        return f"the file ends here; its header says {stream.frames} frames"
    promised = (container.duration or 0) / 1e6
    if stream.duration:
        promised = float(stream.duration * stream.time_base)
    if seconds < (1 - _MISSING) * promised - 1:
        return f"the file ends here; its header says {promised:.1f} seconds"
    return ""


def _quarter_turns(frame: Any) -> int:
    """Anticlockwise quarter turns that put a frame upright (phones store how they were held)."""
    turns: int = round(frame.rotation / 90) % 4
    return turns


def _pixels(frame: Any) -> NDArray[np.uint8]:
    pixels = np.rot90(frame.to_ndarray(format="rgb24"), _quarter_turns(frame))
    return np.ascontiguousarray(pixels, np.uint8)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container and its first stream of moving pictures."""
    av = pyav()
    try:
        if not path.stat().st_size:
            raise BadImage("empty", "the file holds no bytes")
    except FileNotFoundError:
        raise BadImage("missing", "the file is gone") from None
    except OSError as error:
        raise BadImage("disk", f"the file cannot be read: {error.strerror or error}") from None
    try:
        container = av.open(
            f"file:{path.absolute()}", options=dict(_OPTIONS), metadata_errors="replace"
        )
    except (av.FFmpegError, ValueError) as error:
        raise BadImage("damaged", f"no video that can be opened: {_reason(error)}") from None
    with container:
        moving = [s for s in container.streams.video if not _is_cover(s)]
        if not moving:
            raise BadImage("not_a_picture", "no moving pictures in the file")
        stream = moving[0]
        if stream.codec_context is None:
            raise BadImage("damaged", "pictures in a code that FFmpeg does not know")
        # Guesses in place of broken data are errors; threads would report them at other packets.
        stream.codec_context.options = {"err_detect": "crccheck+bitstream+buffer+explode"}
        stream.codec_context.thread_count = 1
        yield container, stream


def _is_cover(stream: Any) -> bool:
    return "attached_pic" in str(stream.disposition)


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return str(text).partition(": '")[0]
