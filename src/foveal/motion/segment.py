"""One shot from frames to soft masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from foveal.core.cores import available_cores
from foveal.errors import FovealError
from foveal.motion.regions import PATCH, descriptors, region_means, superpixels
from foveal.motion.saliency import saliency, to_frames
from foveal.motion.settings import Settings
from foveal.motion.voting import consensus, final_mask, nearest_links


class NoMotion(FovealError):
    """A shot in which flow does not tell what moves by itself."""


def segment(
    frames: Sequence[NDArray[np.uint8]],
    settings: Settings | None = None,
    *,
    threads: int | None = None,
    tick: Callable[[], None] = lambda: None,
) -> NDArray[np.float32]:
    """Motion masks of one shot.

    Args:
        frames: Consecutive frames, RGB, uint8 [H, W, 3], all of one size.
        settings: The numbers of the method.
        threads: Frames worked on at the same time; None: one per core. Changes no value.
        tick: Called after each frame's superpixels, which take most of the time.

    Returns:
        Soft masks, float32 [L, H, W] in [0, 1]: above 0.7 is foreground.

    Raises:
        NoMotion: The camera neither stands nor translates in half of the frames or more, or nothing
            moves at all.
    """
    settings = settings or Settings()
    height, width = frames[0].shape[:2]
    if min(height, width) < PATCH:
        raise NoMotion(f"frames of {width}x{height} pixels are too small")
    first, usable = saliency(frames, settings)
    if usable < settings.usable * len(frames):
        raise NoMotion(
            f"the camera neither stands nor translates: {usable} of {len(frames)} frames have "
            "usable flow"
        )

    def regions_of(frame: NDArray[np.uint8]) -> tuple[NDArray[np.uint16], NDArray[np.float32]]:
        labels = superpixels(frame, settings.segments, settings.smoothing)
        found = labels, descriptors(frame, labels)
        tick()
        return found

    with ThreadPoolExecutor(threads or available_cores()) as pool:
        pairs = list(pool.map(regions_of, frames))
    labels = [pair[0] for pair in pairs]
    start = to_frames(first, height, width, settings.border)
    if not start.any():
        raise NoMotion("nothing moves")
    votes = np.concatenate([region_means(s, x) for s, x in zip(start, labels, strict=True)])
    votes = consensus(votes, nearest_links([pair[1] for pair in pairs], settings), labels, settings)
    starts = np.cumsum([0, *(int(x.max()) + 1 for x in labels)])
    return np.stack(
        [final_mask(votes[starts[t] : starts[t + 1]][x], settings) for t, x in enumerate(labels)]
    )
