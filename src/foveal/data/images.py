"""One picture file to pixels, with a reason in words where that cannot be done.

JPEG goes through libjpeg-turbo without the GIL; every other format, and the odd JPEG (CMYK),
through Pillow. Eight bits a channel, one or three channels.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from foveal.errors import BadImage

EXTENSIONS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".dib", ".gif",
)  # fmt: skip
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "DIB", "GIF")
MAX_PIXELS = 200_000_000  # a decompression bomb beyond; the largest cameras make 150 million
_ORIENTATION = 274  # EXIF tag
_BITS_PER_SAMPLE = 258  # TIFF tag
_DEEP_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")
# What Pillow and its plugins raise on damaged files; anything else is a bug and must be seen.
_DECODE_ERRORS = (
    OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, OverflowError,
    RuntimeError, MemoryError, Image.DecompressionBombError,
)  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """A decoded file.

    Attributes:
        pixels: uint8 [H, W, 1] or [H, W, 3], upright (EXIF applied).
        format: ``JPEG``, ``PNG``, ...
        mode: What the file holds: ``grey``, ``RGB``, ``RGBA``, ``palette``, ``CMYK``, ...
    """

    pixels: NDArray[np.uint8]
    format: str
    mode: str


def read_bytes(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        BadImage: Missing, unreadable or empty.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        kind = "link" if path.is_symlink() else "missing"
        what = "a link that leads nowhere" if kind == "link" else "the file is gone"
        raise BadImage(kind, what) from None
    except PermissionError:
        raise BadImage("permission", "no permission to read the file") from None
    except IsADirectoryError:
        raise BadImage("folder", "a folder with the name of a picture") from None
    except OSError as error:
        raise BadImage("disk", f"the file cannot be read: {error.strerror or error}") from None
    if not data:
        raise BadImage("empty", "the file holds no bytes")
    return data


def decode(data: bytes) -> Picture:
    """Decodes the bytes of one picture.

    Raises:
        BadImage: With a kind and a reason.
    """
    if data[:3] == b"\xff\xd8\xff":
        found = _decode_jpeg(data)
        if found is not None:
            return found
    return _decode_with_pillow(data)


def with_channels(pixels: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """[H, W, 1 or 3] with the wanted number of channels: grey repeated, colour by BT.601."""
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=2)
    return np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None]


def _decode_jpeg(data: bytes) -> Picture | None:
    """The fast path; None where Pillow has to say what it is."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    if colours not in ("YCbCr", "RGB", "Gray"):
        return None
    _check_size(width, height)
    grey = colours == "Gray"
    try:
        # strict: half a picture must not pass as a whole one.
        pixels = simplejpeg.decode_jpeg(data, "GRAY" if grey else "RGB", strict=True)
    except ValueError as error:
        reason = str(error).lower()
        if "premature" in reason or "end of" in reason:
            raise BadImage("truncated", "the file ends in the middle of the picture") from None
        return None
    turn = _jpeg_orientation(data)
    if turn > 1:
        pixels = _upright(pixels, turn)
    return Picture(np.ascontiguousarray(pixels), "JPEG", "grey" if grey else "RGB")


def _jpeg_orientation(data: bytes) -> int:
    if b"Exif\x00\x00" not in data[:65536]:
        return 1
    try:
        with Image.open(io.BytesIO(data)) as image:
            return int(image.getexif().get(_ORIENTATION, 1))
    except _DECODE_ERRORS:
        return 1  # the pixels are good; only the note on how to hold them is not


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
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
    turned: NDArray[np.uint8] = flips[orientation](pixels) if orientation in flips else pixels
    return turned


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise BadImage(
            "bomb",
            f"{width} x {height} pixels: more than {MAX_PIXELS // 1_000_000} million, which is "
            "taken for a decompression bomb",
        )
    if width < 1 or height < 1:
        raise BadImage("damaged", f"{width} x {height} pixels")


def _decode_with_pillow(data: bytes) -> Picture:
    try:
        with warnings.catch_warnings():
            # Pillow's own bomb warning comes below our limit; its notes on odd metadata say
            # nothing about the pixels.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                _check_size(*image.size)
                _check_depth(image, data)
                mode = _mode(image)
                upright = ImageOps.exif_transpose(image)
                pixels = pixels_of(upright)
                kind = "JPEG" if image.format == "MPO" else str(image.format)
                return Picture(pixels, kind, mode)
    except BadImage:
        raise
    except UnidentifiedImageError:
        raise BadImage("not_a_picture", _what_it_is(data)) from None
    except Image.DecompressionBombError:
        raise BadImage("bomb", "so many pixels that it is taken for a bomb") from None
    except _DECODE_ERRORS as error:
        text = str(error).strip() or type(error).__name__
        if "truncated" in text.lower() or "unexpected end" in text.lower():
            raise BadImage("truncated", "the file ends in the middle of the picture") from None
        raise BadImage("damaged", f"cannot be decoded: {text}") from None


def _mode(image: Image.Image) -> str:
    names = {"1": "grey", "L": "grey", "LA": "grey+alpha", "P": "palette", "PA": "palette"}
    return names.get(image.mode, image.mode)


def _check_depth(image: Image.Image, data: bytes) -> None:
    """Refuses more than 8 bits a channel rather than cutting them off unseen."""
    bits = 8
    if image.format == "PNG" and len(data) > 24:
        bits = data[24]
    elif image.format == "TIFF":
        found = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, 8)
        bits = max(found) if isinstance(found, tuple) else int(found)
    if bits > 8 or image.mode in _DEEP_MODES:
        raise BadImage(
            "depth",
            f"{max(bits, 16)} bits a channel; foveal reads 8 so far, and cutting the rest off "
            "would hide it: convert the file first",
        )


def pixels_of(image: Image.Image) -> NDArray[np.uint8]:
    """uint8 [H, W, 1 or 3]; what is transparent shows white."""
    if image.mode in ("1", "L"):
        return np.array(image.convert("L"))[:, :, None]
    if "transparency" in image.info or image.mode in ("LA", "PA", "RGBA", "RGBa"):
        grey = image.mode in ("L", "LA")
        rgba = image.convert("RGBA")
        paper = Image.new("RGBA", rgba.size, "white")
        flat = Image.alpha_composite(paper, rgba)
        if grey:
            return np.array(flat.convert("L"))[:, :, None]
        return np.array(flat.convert("RGB"))
    return np.array(image.convert("RGB"))


def _what_it_is(data: bytes) -> str:
    """A guess for a file that is no picture."""
    head = data[:512].lstrip().lower()
    if head.startswith((b"<!doctype", b"<html", b"<?xml", b"<svg")):
        return "a web page or drawing with the name of a picture"
    if not any(data[:512]):
        return "nothing but zero bytes: an interrupted download or copy"
    if data[:2] == b"\xff\xd8":
        return "starts like a JPEG, but its header is damaged"
    if data[:4] in (b"%PDF", b"PK\x03\x04"):
        return "a document or archive with the name of a picture"
    return "not a picture of a known format"
