"""Videos and folders of frames, read in order, one frame at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foveal.data.images import EXTENSIONS, decode, read_bytes
from foveal.data.picture import with_channels
from foveal.data.video import VIDEOS, index_video, read_frames
from foveal.errors import BadImage, FovealError
from foveal.motion.packages import opencv


class BadVideo(FovealError):
    """One video cannot be used; the message is the reason."""


@dataclass
class Video:
    """A video file, or the pictures of a folder as frames.

    Attributes:
        name: Unique among those found together: a path below what the user pointed at.
        path: The file or folder.
        pictures: The frames of a folder, by name; empty for a file.
        troubles: Frames that could not be used, with the reason; filled while reading.
    """

    name: str
    path: Path
    pictures: list[Path] = field(default_factory=list)
    troubles: dict[int, str] = field(default_factory=dict)

    def bytes(self) -> int:
        """Of all its files: tells another video under the same name."""
        return sum(p.stat().st_size for p in self.pictures or [self.path])

    def read(
        self, side: int, wanted: Callable[[int], bool] = lambda i: True
    ) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """The wanted frames in order, with their number.

        Args:
            side: The longer side at most, in pixels; larger frames are shrunk.
            wanted: Which numbers; the others are passed over.

        Yields:
            Number and RGB, uint8 [H, W, 3]. All of one size: a frame of another is a trouble.

        Raises:
            BadVideo: It cannot be opened.
        """
        shape = None
        for i, frame in self._pictures(wanted) if self.pictures else self._decoded(wanted):
            shape = shape or frame.shape
            if frame.shape != shape:
                self.troubles[i] = f"{frame.shape[1]}x{frame.shape[0]} pixels, not as the first"
                continue
            yield i, _shrunk(frame, side)

    def _decoded(self, wanted: Callable[[int], bool]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        try:
            index = index_video(self.path)
            numbers = [i for i in range(len(index)) if wanted(i)]
            for i, frame in read_frames(self.path, index, numbers):
                if isinstance(frame, BadImage):
                    self.troubles[i] = frame.message
                else:
                    yield i, frame
        except BadImage as error:
            raise BadVideo(error.message) from None
        if index.trouble:
            self.troubles[len(index)] = index.trouble

    def _pictures(self, wanted: Callable[[int], bool]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        for i, path in enumerate(self.pictures):
            if not wanted(i):
                continue
            try:
                pixels = with_channels(decode(read_bytes(path)).pixels, 3)
            except BadImage as error:
                self.troubles[i] = f"{path.name}: {error.message}"
                continue
            yield i, pixels


def find_videos(path: Path) -> list[Video]:
    """What a path holds: one video file; or, below a folder, video files and folders of frames.

    Hidden files and folders are passed over.

    Raises:
        FovealError: Nothing of the kind.
    """
    if path.is_file():
        return [Video(path.name, path)]
    if not path.is_dir():
        raise FovealError(f"{path} does not exist", hint=f"ls {path.parent}")
    found = []
    for text, folders, files in os.walk(path, followlinks=True):
        folder = Path(text)
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        files = sorted(f for f in files if not f.startswith("."))
        found += [
            Video((folder / f).relative_to(path).as_posix(), folder / f)
            for f in files
            if Path(f).suffix.lower() in VIDEOS
        ]
        pictures = [folder / f for f in files if Path(f).suffix.lower() in EXTENSIONS]
        if pictures:
            name = folder.relative_to(path).as_posix()
            found.append(Video(folder.resolve().name if name == "." else name, folder, pictures))
    if not found:
        raise FovealError(
            f"{path} holds no videos and no folders of frames",
            hint=f"video files end in {' '.join(VIDEOS)}",
        )
    return found


def _shrunk(frame: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    height, width = frame.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return frame
    cv2 = opencv()
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small: NDArray[np.uint8] = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    return small
