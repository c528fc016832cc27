"""Optical flow, coarse to fine.

The pyramid and the iterations are those of the released pipeline (ratio 0.75 down to 20 pixels, 7
warps a level, 30 relaxations each; Liu, "Beyond Pixels", MIT 2009, after Brox et al., ECCV 2004);
the energy is OpenCV's ``VariationalRefinement``, normalised data terms on grey pictures. Its weight
of smoothness, 10, was chosen on made clips: dense inverse search, quicker, goes astray along plain
stripes, where nothing but smoothness tells how they move.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.motion.packages import opencv

_RATIO, _COARSEST, _WARPS, _RELAXATIONS = 0.75, 20, 7, 30
_SMOOTHNESS = 10.0


def pyramid(frame: NDArray[np.uint8], side: int) -> list[NDArray[np.uint8]]:
    """A frame as grey squares, the smallest first.

    Args:
        frame: RGB, uint8 [H, W, 3].
        side: Of the largest square.

    Returns:
        uint8 [s, s] for sides from about 20 to ``side``.
    """
    cv2 = opencv()
    whole = cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA)
    whole = cv2.cvtColor(whole, cv2.COLOR_RGB2GRAY)
    levels = [whole]
    share = _RATIO
    while side * share >= _COARSEST:
        sigma = 0.6 * np.sqrt(share**-2 - 1)
        s = round(side * share)
        levels.append(cv2.resize(cv2.GaussianBlur(whole, (0, 0), sigma), (s, s)))
        share *= _RATIO
    return levels[::-1]


class Flow:
    """Flow between two pyramids. One object for one thread."""

    def __init__(self) -> None:
        cv2 = opencv()
        self._resize: Any = cv2.resize
        self._refine: Any = cv2.VariationalRefinement_create()
        self._refine.setAlpha(_SMOOTHNESS)
        self._refine.setFixedPointIterations(1)
        self._refine.setSorIterations(_RELAXATIONS)

    def __call__(
        self, a: list[NDArray[np.uint8]], b: list[NDArray[np.uint8]]
    ) -> NDArray[np.float32]:
        """Where each pixel of ``a`` is in ``b``: float32 [S, S, 2], x then y, in pixels."""
        flow = np.zeros((*a[0].shape, 2), np.float32)
        for first, second in zip(a, b, strict=True):
            side = first.shape[0]
            if side != flow.shape[0]:
                flow = self._resize(flow, (side, side)) * np.float32(side / flow.shape[0])
            for _ in range(_WARPS):
                self._refine.calc(first, second, flow)
        return flow
