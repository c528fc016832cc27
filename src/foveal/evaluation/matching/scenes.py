"""Pairs of pictures with a known homography: made from photographs, or read from sequences.

Two layouts of sequences, a folder each: ``img1.ppm`` to ``img6.ppm`` with ``H1to2p`` to ``H1to6p``
(Mikolajczyk and Schmid, the Oxford sequences), ``1.ppm`` to ``6.ppm`` with ``H_1_2`` to ``H_1_6``
(HPatches).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PpmImagePlugin

from foveal.core import rng
from foveal.data.images import pixels_of, read_bytes
from foveal.data.sources import Source
from foveal.errors import BadImage, FovealError
from foveal.motion.packages import opencv

Pixels = NDArray[np.uint8]

WARPS: dict[str, tuple[float, ...]] = {
    "zoom": (1.25, 1.5, 1.75, 2.0),
    "rotation": (15.0, 30.0, 60.0, 90.0),
    "perspective": (0.05, 0.1, 0.15, 0.2),
    "blur": (1.0, 2.0, 3.0, 4.0),
    "noise": (5.0, 10.0, 20.0, 40.0),
    "light": (1.25, 1.5, 2.0, 3.0),
}
"""Kinds and strengths: how many times smaller; degrees; how far corners move as a share of the
side; deviation of the Gaussian in pixels; deviation of the noise in grey values; exponent or its
inverse."""

_LAYOUT = (
    "one folder a scene (or DATA itself) with img1.ppm ... img6.ppm and H1to2p ... H1to6p, or "
    "1.ppm ... 6.ppm and H_1_2 ... H_1_6"
)
_SEQUENCES = (("img{}", "H1to{}p"), ("{}", "H_1_{}"))
_SUFFIXES = (".ppm", ".pgm", ".png", ".jpg", ".jpeg")
_FORMATS = (PpmImagePlugin.PpmImageFile.format, "PNG", "JPEG")
_MOST = 64  # pictures of a sequence


@dataclass(frozen=True)
class Other:
    """A further picture of a scene.

    Attributes:
        pixels: uint8 [H, W, 1 or 3].
        homography: Takes points (x, y, 1) of the first picture here, [3, 3].
    """

    pixels: Pixels
    homography: NDArray[np.float64]


class Scene(Protocol):
    """A picture and others of the same."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    @property
    def pairs(self) -> list[tuple[str, float]]:
        """Kind of change and its strength, for every other picture."""
        ...

    def identity(self) -> dict[str, Any]:
        """Plain values that change when the pictures do."""
        ...

    def first(self) -> Pixels:
        """The picture the others are compared with.

        Raises:
            BadImage: It cannot be read.
        """
        ...

    def others(self) -> Iterator[Other]:
        """The others, in the order of ``pairs``."""
        ...


@dataclass(frozen=True)
class MadeScene:
    """A photograph and what warps, blur, noise and light make of it.

    Attributes:
        source, row: Where the photograph is.
        side: Longest side it is shrunk to; smaller ones stay as they are.
        seed: Of everything drawn, together with the row.
    """

    source: Source
    row: int
    side: int
    seed: int

    @property
    def name(self) -> str:
        """See ``Scene``."""
        return self.source.name(self.row)

    @property
    def pairs(self) -> list[tuple[str, float]]:
        """See ``Scene``."""
        return [(kind, strength) for kind, strengths in WARPS.items() for strength in strengths]

    def identity(self) -> dict[str, Any]:
        """See ``Scene``."""
        return {"data": self.source.fingerprint(), "row": self.row, "side": self.side,
                "seed": self.seed, "warps": {kind: list(x) for kind, x in WARPS.items()},
                "version": 1}  # fmt: skip

    def first(self) -> Pixels:
        """See ``Scene``."""
        pixels = self.source.read(self.row)
        share = self.side / max(pixels.shape[:2])
        if share >= 1:
            return pixels
        cv2 = opencv()
        size = tuple(max(1, round(n * share)) for n in pixels.shape[1::-1])
        return _with_channels(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))

    def others(self) -> Iterator[Other]:
        """See ``Scene``."""
        pixels = self.first()
        for i, (kind, strength) in enumerate(self.pairs):
            key = rng.key(self.seed, "matching", kind, i)
            draws = rng.uniform(key, np.array([self.row]), 8)[0]
            if kind in ("zoom", "rotation", "perspective"):
                homography = _homography(kind, strength, pixels.shape, draws)
                blur = np.sqrt(strength**2 - 1) / 2 if kind == "zoom" else 0.0
                yield Other(_warped(pixels, homography, blur), homography)
            else:
                yield Other(self._changed(kind, strength, pixels, draws, key), np.eye(3))

    def _changed(
        self, kind: str, strength: float, pixels: Pixels, draws: NDArray[Any], key: rng.Key
    ) -> Pixels:
        if kind == "blur":
            return _with_channels(opencv().GaussianBlur(pixels, (0, 0), strength))
        if kind == "noise":
            noise = rng.normal(key, np.array([self.row]), pixels.size, part=1)
            return _as_pixels(pixels + strength * noise.reshape(pixels.shape))
        power = strength if draws[0] < 0.5 else 1 / strength
        return _as_pixels(255 * (np.arange(256) / 255) ** power)[pixels]


@dataclass(frozen=True)
class SequenceScene:
    """A folder with pictures of one scene and the homographies between them."""

    folder: Path
    pictures: tuple[Path, ...]
    homographies: tuple[Path, ...]

    @property
    def name(self) -> str:
        """See ``Scene``."""
        return self.folder.name

    @property
    def pairs(self) -> list[tuple[str, float]]:
        """See ``Scene``: the folder's name, and the picture's number as the strength."""
        return [(self.name, i + 2.0) for i in range(len(self.homographies))]

    def identity(self) -> dict[str, Any]:
        """See ``Scene``."""
        digest = hashlib.blake2b(digest_size=16)
        for path in (*self.pictures, *self.homographies):
            stat = path.stat()
            digest.update(f"{path.name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        return {"sequence": self.name, "files": digest.hexdigest()}

    def first(self) -> Pixels:
        """See ``Scene``."""
        return self._read(self.pictures[0])

    def others(self) -> Iterator[Other]:
        """See ``Scene``."""
        for picture, homography in zip(self.pictures[1:], self.homographies, strict=True):
            yield Other(self._read(picture), _read_homography(homography))

    def _read(self, path: Path) -> Pixels:
        try:
            with Image.open(io.BytesIO(read_bytes(path)), formats=_FORMATS) as image:
                return pixels_of(image)
        except (BadImage, OSError, SyntaxError, ValueError) as error:
            raise FovealError(f"{path}: {error}", hint=_LAYOUT) from None


def open_sequences(folder: Path) -> list[SequenceScene]:
    """The sequences in a folder, or the folder as one; empty where there is none.

    Raises:
        FovealError: A sequence lacks a picture or a homography; names it.
    """
    below = sorted(p for p in folder.iterdir() if p.is_dir())
    return [scene for f in (folder, *below) if (scene := _sequence(f)) is not None]


def _sequence(folder: Path) -> SequenceScene | None:
    for picture, homography in _SEQUENCES:
        numbers = [i for i in range(2, _MOST) if (folder / homography.format(i)).is_file()]
        if numbers:
            pictures = [_picture(folder, picture.format(i)) for i in (1, *numbers)]
            if numbers != list(range(2, numbers[-1] + 1)):
                lost = next(i for i in range(2, numbers[-1]) if i not in numbers)
                raise FovealError(f"{folder / homography.format(lost)} is missing", hint=_LAYOUT)
            return SequenceScene(
                folder, tuple(pictures), tuple(folder / homography.format(i) for i in numbers)
            )
    if (folder / "img1.ppm").is_file():
        raise FovealError(f"{folder / 'H1to2p'} is missing", hint=_LAYOUT)
    return None


def _picture(folder: Path, stem: str) -> Path:
    found = [folder / f"{stem}{suffix}" for suffix in _SUFFIXES]
    for path in found:
        if path.is_file():
            return path
    raise FovealError(f"{found[0]} is missing", hint=_LAYOUT)


def _read_homography(path: Path) -> NDArray[np.float64]:
    try:
        found = np.array(path.read_text(encoding="utf-8").split(), np.float64).reshape(3, 3)
    except (OSError, ValueError):
        found = np.zeros((3, 3))
    if not np.isfinite(found).all() or np.linalg.det(found) == 0:
        raise FovealError(f"{path} does not hold the nine numbers of a homography", hint=_LAYOUT)
    return found


def _homography(
    kind: str, strength: float, shape: tuple[int, ...], draws: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Where the points of a picture of this shape go, about its centre."""
    h, w = shape[:2]
    if kind == "perspective":
        corners = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)
        # Inwards: nothing of the picture gets lost.
        inwards = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
        moved = corners + inwards * draws.reshape(4, 2) * strength * [w, h]
        found: NDArray[np.float64] = opencv().getPerspectiveTransform(
            corners, moved.astype(np.float32)
        )
        return found
    turn = np.deg2rad(strength if draws[0] < 0.5 else -strength) if kind == "rotation" else 0.0
    scale = 1 / strength if kind == "zoom" else 1.0
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    centre = np.array([w - 1, h - 1]) / 2
    return np.vstack([np.column_stack([linear, centre - linear @ centre]), [0, 0, 1]])


def _warped(pixels: Pixels, homography: NDArray[np.float64], blur: float) -> Pixels:
    """Same size; beyond its border the picture is mirrored, so that no edge appears there."""
    cv2 = opencv()
    if blur:
        pixels = cv2.GaussianBlur(pixels, (0, 0), blur)
    size = pixels.shape[1::-1]
    return _with_channels(
        cv2.warpPerspective(
            pixels, homography, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
        )
    )


def _as_pixels(values: NDArray[np.float64]) -> Pixels:
    return np.rint(values).clip(0, 255).astype(np.uint8)


def _with_channels(pixels: Pixels) -> Pixels:
    """OpenCV drops the axis of a single channel."""
    return pixels[:, :, None] if pixels.ndim == 2 else pixels
