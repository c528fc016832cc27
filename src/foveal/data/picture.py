"""A decoded picture, and how it becomes what a source promises: upright, channels, bits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from foveal.errors import BadImage, FovealError

# A decompression bomb beyond, for Pillow too; the largest cameras make 150 million.
MAX_PIXELS = 178_000_000
MAX_CHANNELS = 512  # imaging spectrometers have up to about 250

Pixels: TypeAlias = NDArray[np.unsignedinteger[Any]]
"""uint8 or uint16 [H, W, C]."""


@dataclass(frozen=True)
class Picture:
    """A decoded file.

    Attributes:
        pixels: uint8 or uint16 [H, W, C], upright (EXIF applied).
        format: ``JPEG``, ``PNG``, ...
        mode: What the file holds: ``grey``, ``RGB``, ``RGBA``, ``palette``, ``CMYK``, ``7 bands``.
        bits: Bits a channel in the file, 1 to 16 (of a palette: of an index).
    """

    pixels: Pixels
    format: str
    mode: str
    bits: int = 8


def with_channels(pixels: Pixels, channels: int, bits: int = 8) -> Pixels:
    """[H, W, C] as a source gives it: grey repeated, colour by BT.601, 8 bits stretched to 16.

    Raises:
        BadImage: Something would be lost: other channels, or 16 bits where 8 are read.
    """
    found = pixels.shape[2]
    if found == channels and pixels.itemsize * 8 == bits:
        return pixels
    if pixels.itemsize * 8 > bits:
        raise BadImage(
            "depth", "16 bits a channel among pictures of 8 (bits=16 reads both at full depth)"
        )
    if found != channels and {found, channels} != {1, 3}:
        raise BadImage("channels", f"channels: {found}, among pictures with {channels}")
    if pixels.itemsize * 8 < bits:
        pixels = pixels.astype(np.uint16) * np.uint16(257)
    if found == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=2)
    if bits == 8:
        return np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None]
    grey: Pixels = (pixels @ np.array([0.299, 0.587, 0.114]) + 0.5).astype(np.uint16)[:, :, None]
    return grey


def common_layout(
    root: str, seen: Sequence[Pixels], channels: int | None = None, bits: int | None = None
) -> tuple[int, int]:
    """Channels and bits to read a pile with, from a few of its pictures.

    One channel where all are grey, three where some are in colour, more where most have as many;
    16 bits where some have them: what has less fits in.

    Args:
        root: What the pile is called.
        seen: The pictures looked at.
        channels: What was asked for, if anything.
        bits: Likewise.

    Raises:
        FovealError: What was asked for fits none of them.
    """
    counts = Counter(p.shape[2] for p in seen)
    commonest = counts.most_common(1)[0][0] if counts else 3
    if commonest in (1, 3):
        commonest = 1 if 3 not in counts and counts else 3
    deepest = 16 if any(p.itemsize == 2 for p in seen) else 8
    fits = [c for c in counts if c == channels or {c, channels} == {1, 3}]
    if channels is not None and counts and not fits:
        found = ", ".join(str(c) for c in sorted(counts))
        raise FovealError(
            f"the pictures of {root} have {found} channels, and {channels} are asked for",
            hint=f"pictures with {channels} channels, or channels={commonest}",
        )
    return channels or commonest, bits or deepest


def bands(pixels: Pixels) -> str:
    """``grey``, ``RGB`` or ``7 bands``."""
    return {1: "grey", 3: "RGB"}.get(pixels.shape[2], f"{pixels.shape[2]} bands")


def stretched(pixels: Pixels, bits: int) -> Pixels:
    """uint16 values of 9 to 16 bits, so that white is 65535."""
    if bits == 16:
        return pixels
    return (pixels << np.uint16(16 - bits)) | (pixels >> np.uint16(2 * bits - 16))


def on_white(pixels: Pixels) -> Pixels:
    """[H, W, C + 1] with alpha last -> [H, W, C] as it shows on white paper."""
    top = int(np.iinfo(pixels.dtype).max)
    alpha = pixels[:, :, -1:].astype(np.uint32)  # top * top and half of top: below 2**32
    shown = pixels[:, :, :-1] * alpha + np.uint32(top) * (top - alpha) + np.uint32(top // 2)
    return (shown // top).astype(pixels.dtype)


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Pixels turned as EXIF's orientation 2 to 8 says."""
    flips = {
        2: lambda x: x[:, ::-1],
        3: lambda x: x[::-1, ::-1],
        4: lambda x: x[::-1],
        5: lambda x: x.swapaxes(0, 1),
        6: lambda x: np.rot90(x, -1),
        7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
        8: lambda x: np.rot90(x, 1),
    }
    turned: Pixels = flips[orientation](pixels) if orientation in flips else pixels
    return turned


def check_size(width: int, height: int, channels: int = 3) -> None:
    """Refuses a picture that is too large to be one, or has no pixels.

    More channels than three count: as many values as the largest picture in colour has.

    Raises:
        BadImage: ``bomb`` or ``damaged``.
    """
    if width * height * max(channels, 3) > 3 * MAX_PIXELS:
        bands = f" with {channels} channels" if channels > 3 else ""
        raise BadImage(
            "bomb",
            f"{width} x {height} pixels{bands}: more than {MAX_PIXELS // 1_000_000} million of "
            "three channels, which is taken for a decompression bomb",
        )
    if width < 1 or height < 1:
        raise BadImage("damaged", f"{width} x {height} pixels")


def as_pixels(array: NDArray[Any]) -> Pixels:
    """[H, W] or [H, W, C] of 8 or 16 bits, as it was saved, in the machine's byte order.

    Raises:
        BadImage: It is no picture, with what to write instead.
    """
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3:
        raise BadImage(
            "shape", f"an array of shape {array.shape}; pictures are [H, W] or [H, W, C]"
        )
    check_size(array.shape[1], array.shape[0], array.shape[2])
    if looks_channels_first(array.shape):
        raise BadImage(
            "shape",
            f"shape {array.shape} looks like [C, H, W]; channels go last: np.moveaxis(x, 0, -1)",
        )
    if not 1 <= array.shape[2] <= MAX_CHANNELS:
        raise BadImage("channels", f"{array.shape[2]} channels; 1 to {MAX_CHANNELS} are read")
    if array.dtype.newbyteorder("=") not in (np.uint8, np.uint16):
        raise BadImage("depth", f"{array.dtype} values; {how_to_write()}")
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


def looks_channels_first(shape: Sequence[int]) -> bool:
    """Whether [a, b, c] has few rows and more of everything else: [C, H, W]."""
    return shape[0] <= 16 and shape[0] < min(shape[1:])


def how_to_write() -> str:
    """What to make of values that are neither uint8 nor uint16."""
    return (
        "pictures are uint8 or uint16: for values x from low to high write "
        "((x - low) / (high - low) * 65535).round().astype('uint16'), or 255 and 'uint8'"
    )
