"""Clips: consecutive frames of one shot, for whoever learns from several frames at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foveal.data.picture import Pixels
from foveal.data.videos import VideoSource
from foveal.errors import BadImage, FovealError
from foveal.motion.settings import Settings
from foveal.motion.shots import shots_of


@dataclass(frozen=True)
class Clips:
    """M clips of n frames.

    Attributes:
        source: The frames, taken at its rate.
        rows: Of the source, int64 [M, n]; each clip in the order of time, within one shot.
    """

    source: VideoSource
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, i: int) -> Pixels:
        """One clip, [n, H, W, C].

        Raises:
            BadImage: A frame of it cannot be read.
        """
        return np.stack([self.source.read(int(row)) for row in self.rows[i]])


def find_clips(
    source: VideoSource, length: int, *, step: int | None = None, settings: Settings | None = None
) -> Clips:
    """All clips that contain no cut and no unreadable frame. Decodes every frame once.

    Args:
        source: Frames at the rate that clips are to have.
        length: Frames of a clip, n.
        step: Frames from the beginning of a clip to that of the next; None: ``length``.
        settings: How cuts are found.

    Raises:
        FovealError: No shot is so long.
    """
    settings = settings or Settings()
    clips: list[range] = []
    longest = 0
    for v in range(len(source.names)):
        frames = _frames(source, np.flatnonzero(source.video == v).tolist())
        for shot in shots_of(frames, settings.window, settings.most_cuts, settings.cut_penalty):
            # An unreadable frame was passed over: a clip has no gaps.
            gaps = np.flatnonzero(np.diff(shot) != 1) + 1
            for part in np.split(np.array(shot), gaps):
                longest = max(longest, len(part))
                starts = range(int(part[0]), int(part[-1]) + 2 - length, step or length)
                clips += [range(a, a + length) for a in starts]
    if not clips:
        raise FovealError(
            f"{source.root} has no shot of {length} frames at {source.rate:g} a second, the "
            f"longest has {longest}",
            hint="fewer frames a clip, or more a second (#fps=...)",
        )
    return Clips(source, np.array(clips, np.int64))


def _frames(source: VideoSource, rows: list[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    for row in rows:
        try:
            yield row, source.frame_pixels(row)
        except BadImage:
            continue
