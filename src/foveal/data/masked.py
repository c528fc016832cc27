"""Frames with soft masks beside them, as ``foveal data motion`` writes them.

``frames/<video>/<number>.jpg``, ``masks/<video>/<number>.png`` (grey, 255 = surely the object) and
``frames.csv``, one line a frame: what share of it is foreground, what share of its border, and the
box of its largest blob. ``motion.json`` says how they were made.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foveal.data.files import FileSource
from foveal.data.images import decode, read_bytes
from foveal.data.picture import with_channels
from foveal.errors import FovealError

ABOUT, FRAMES, MASKS, TABLE = "motion.json", "frames", "masks", "frames.csv"
COLUMNS = (
    "name", "shot", "foreground", "border", "top", "left", "height", "width", "frame_height",
    "frame_width",
)  # fmt: skip


@dataclass(frozen=True)
class SoftMask:
    """A target that is a picture: read with each sample and moved as one of its views is.

    Batches hold it as float32 [B, side, side] in [0, 1] (tiles [B, T, side, side]), in every
    stream that has the view. Averages of soft votes at borders stay what they are: doubtful.

    Attributes:
        source: Whose masks.
        view: The view's name.
        side: Pixels of the target; the view's whole region is seen whatever its own side is.
    """

    source: MaskedSource
    view: str
    side: int


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


def spread_over_shots(
    rows: NDArray[np.intp], shots: NDArray[np.str_], count: int
) -> NDArray[np.intp]:
    """At most ``count`` rows of each shot, evenly apart; ``shots`` names that of each row."""
    kept = [rows[:0]]
    for shot in dict.fromkeys(shots.tolist()):
        some = rows[shots == shot]
        kept.append(some[np.linspace(0, len(some) - 1, min(count, len(some))).round().astype(int)])
    return np.concatenate(kept)


def squares_around(
    box: NDArray[np.float32], size: NDArray[np.int64], share: float
) -> NDArray[np.float32]:
    """Squares around boxes, made smaller and moved until they lie inside the picture.

    Args:
        box: Top, left, height, width in pixels, [N, 4].
        size: Height and width of the pictures, [N, 2].
        share: Side of the square as a multiple of the box's longer side.

    Returns:
        Top, left, height, width in whole pixels, float32 [N, 4].
    """
    side = np.minimum(share * box[:, 2:].max(1), size.min(1)).round()
    corner = (box[:, :2] + box[:, 2:] / 2 - side[:, None] / 2).round()
    corner = np.clip(corner, 0, size - side[:, None])
    return np.concatenate([corner, side[:, None], side[:, None]], axis=1).astype(np.float32)
