"""Decoded pictures kept in memory, so that later epochs do not decode them again."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from foveal.core.memory import available_memory
from foveal.data.picture import Pixels
from foveal.data.sources import Source, is_encoded


class KeptPixels:
    """The first decoded pictures that fit a budget; the others are decoded whenever they are read.

    Pixels are those of the source, so this changes the time a batch takes and never what it holds.
    Which pictures are kept follows the order of reading: nothing is ever pushed out, since with
    whole epochs in random order another choice would hit no more often.

    Args:
        budget: Bytes of pixels kept at most.
    """

    def __init__(self, budget: int) -> None:
        self.left = budget
        self._pixels: dict[int, Pixels] = {}
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """Pictures kept."""
        return len(self._pixels)

    def read(self, source: Source, i: int) -> Pixels:
        """Row ``i`` of the source, [H, W, C]; not to be written to.

        Raises:
            BadImage: It cannot be decoded.
        """
        pixels = self._pixels.get(i)
        if pixels is None:
            pixels = source.read(i)
            self._keep(i, pixels)
        return pixels

    def _keep(self, i: int, pixels: Pixels) -> None:
        with self._lock:
            if pixels.nbytes <= self.left and i not in self._pixels:
                self.left -= pixels.nbytes
                self._pixels[i] = pixels


def keep_decoded(source: Source, rows: NDArray[np.int64], share: float) -> KeptPixels | None:
    """What keeps the decoded pictures of a run; None where that would save nothing.

    Args:
        source: The pictures.
        rows: Rows that will be read.
        share: Of the memory that is free now, for the pixels.
    """
    if share == 0 or not len(rows) or not is_encoded(source, int(rows[0])):
        return None
    return KeptPixels(int(share * available_memory()))
