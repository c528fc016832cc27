"""What moves against the rest, by optical flow.

Legend: L frames, S side of the flow field, H, W of a frame.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from foveal.motion.flow import Flow, pyramid
from foveal.motion.packages import opencv
from foveal.motion.settings import Settings

_SMOOTHING = 5  # side of the mean filter, in pixels of the flow field


def deviation(flow: NDArray[np.float32], settings: Settings) -> NDArray[np.float32] | None:
    """How far each pixel's motion is from the camera's, or None where that cannot be told.

    A median below ``still`` pixels: the camera stands, and the deviation is the squared flow. Else
    where one bin of directions, weighted by length, holds more than ``direction_share``: the
    camera translates, and the deviation is the squared angle to that bin's centre.

    Args:
        flow: [..., 2], x then y, in pixels.
        settings: The thresholds.

    Returns:
        [...], pixels squared or radians squared.
    """
    length = np.hypot(flow[..., 0], flow[..., 1])
    if np.median(length) < settings.still:
        return (length**2).astype(np.float32)
    angle = np.arctan2(flow[..., 1], flow[..., 0])
    weight, edges = np.histogram(
        angle, settings.direction_bins, (-np.pi, np.pi), weights=length.astype(np.float64)
    )
    top = int(np.argmax(weight))
    if weight[top] <= settings.direction_share * weight.sum():
        return None
    turn = np.abs(angle - (edges[top] + edges[top + 1]) / 2)
    away: NDArray[np.float32] = np.minimum(turn, 2 * np.pi - turn)
    return away**2


def saliency(
    frames: Sequence[NDArray[np.uint8]], settings: Settings
) -> tuple[NDArray[np.float32], int]:
    """First votes of a shot.

    Args:
        frames: RGB, uint8 [H, W, 3] each.
        settings: Sides and thresholds.

    Returns:
        float32 [L, S, S] (0 where no neighbour was usable) and the number of frames that had a
        usable neighbour.
    """
    cv2 = opencv()
    side = (settings.flow_side, settings.flow_side)
    small = [pyramid(frame, settings.flow_side) for frame in frames]
    flow = Flow()
    out = np.zeros((len(frames), *side), np.float32)
    usable = 0
    for t in range(len(frames)):
        found = []
        for other in range(t - settings.flow_reach, t + settings.flow_reach + 1):
            if other == t or not 0 <= other < len(frames):
                continue
            away = deviation(flow(small[t], small[other]), settings)
            if away is not None:
                found.append(
                    cv2.blur(away, (_SMOOTHING, _SMOOTHING), borderType=cv2.BORDER_REFLECT)
                )
        if found:
            out[t] = np.mean(found, axis=0)
            usable += 1
    return out, usable


def to_frames(
    votes: NDArray[np.float32], height: int, width: int, border: float
) -> NDArray[np.float32]:
    """Brings votes to the frame, zeroes its border, divides by the largest of the shot.

    Returns:
        float32 [L, H, W] in [0, 1].
    """
    cv2 = opencv()
    edge = int(min(height, width) * border)
    out = np.zeros((len(votes), height, width), np.float32)
    inside = (slice(edge, height - edge), slice(edge, width - edge))
    for t, each in enumerate(votes):
        out[t][inside] = cv2.resize(each, (width, height), interpolation=cv2.INTER_LINEAR)[inside]
    largest = out.max()
    return out / largest if largest > 0 else out
