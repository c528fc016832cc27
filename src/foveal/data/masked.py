"""Frames with soft masks beside them, as ``foveal data motion`` writes them.

``frames/<video>/<number>.jpg``, ``masks/<video>/<number>.png`` (grey, 255 = surely the object) and
``frames.csv``, one line a frame: what share of it is foreground, what share of its border, and the
box of its largest blob. ``motion.json`` says how they were made.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foveal.data.files import FileSource
from foveal.data.images import decode, read_bytes, with_channels
from foveal.errors import FovealError

ABOUT, FRAMES, MASKS, TABLE = "motion.json", "frames", "masks", "frames.csv"
COLUMNS = (
    "name", "shot", "foreground", "border", "top", "left", "height", "width", "frame_height",
    "frame_width",
)  # fmt: skip


class MaskedSource(FileSource):
    """Frames, each with its mask.

    Attributes:
        masks: The files of the masks.
        shot: ``<video>/<shot>`` of each frame, [N].
        foreground, border: Share of the frame, and of its outermost pixels, that is foreground.
        box: Top, left, height, width of the largest blob in pixels, float32 [N, 4]; zeros: none.
        size: Height and width of each frame, int64 [N, 2].
    """

    def __init__(self, root: str, folder: Path, rows: list[dict[str, str]]) -> None:
        names = [row["name"] for row in rows]
        paths = [folder / FRAMES / f"{name}.jpg" for name in names]
        super().__init__(root, paths, names)
        self.masks = [folder / MASKS / f"{name}.png" for name in names]
        self.shot = np.array([row["shot"] for row in rows])

        def numbers(*columns: str) -> NDArray[np.float32]:
            return np.array([[row[c] for c in columns] for row in rows], np.float32)

        self.foreground, self.border = numbers("foreground", "border").T
        self.box = numbers("top", "left", "height", "width")
        self.size = numbers("frame_height", "frame_width").astype(np.int64)

    def read_mask(self, i: int) -> NDArray[np.uint8]:
        """The soft mask of a frame, uint8 [H, W, 1]. Safe to call from many threads.

        Raises:
            BadImage: It cannot be decoded.
        """
        return with_channels(decode(read_bytes(self.masks[i])).pixels, 1)


def is_masked(folder: Path) -> bool:
    """Whether a folder was written by ``foveal data motion``."""
    return (folder / ABOUT).is_file() and (folder / FRAMES).is_dir()


def open_masked(text: str, folder: Path) -> MaskedSource:
    """The frames and masks of a folder.

    Raises:
        FovealError: The folder is not finished.
    """
    table = folder / TABLE
    if not table.is_file():
        raise FovealError(
            f"the masks in {text} are not finished",
            hint="run the same 'foveal data motion' again: it goes on where it was",
        )
    with table.open(newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    if not rows or not set(COLUMNS) <= set(rows[0]):
        raise FovealError(f"{table} lists no frames", hint="make it anew in another folder")
    return MaskedSource(text, folder, rows)
