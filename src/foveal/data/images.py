"""One picture file to pixels, with a reason in words where that cannot be done.

JPEG goes through libjpeg-turbo without the GIL; every other format, and the odd JPEG (CMYK),
through Pillow. Eight bits a channel, one or three channels.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from foveal.errors import BadImage

# Named here, since Pillow would import them when the first file is opened, in any thread.
_PLUGINS = (
    BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin,
    WebPImagePlugin,
)  # fmt: skip
EXTENSIONS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".dib", ".gif",
)  # fmt: skip
# Pillow's own bomb warning comes below our limit, and its notes on odd metadata say nothing about
# pixels. Once and for all, since catch_warnings is not safe in threads.
warnings.filterwarnings("ignore", module=r"PIL\.")
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "DIB", "GIF")  # MPO opens as JPEG
# A decompression bomb beyond, for Pillow too; the largest cameras make 150 million.
MAX_PIXELS = 178_000_000
_ORIENTATION = 274  # EXIF tag
_BITS_PER_SAMPLE, _SAMPLES_PER_PIXEL = 258, 277  # TIFF tags
_PNG = b"\x89PNG\r\n\x1a\n"
_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"), (_PNG, "PNG"), (b"GIF8", "GIF"), (b"BM", "BMP"),
    (b"II*\x00", "TIFF"), (b"MM\x00*", "TIFF"), (b"RIFF", "WebP"),
)  # fmt: skip
_EXTRANEOUS_BYTES = 16  # a JPEG may hold a few stray bytes; more mean that data were overwritten
_DEEP_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")
# What Pillow and its plugins raise on damaged files; anything else is a bug and must be seen.
_DECODE_ERRORS = (
    OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, OverflowError,
    RuntimeError, MemoryError, struct.error, Image.DecompressionBombError,
)  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """A decoded file.

    Attributes:
        pixels: uint8 [H, W, 1] or [H, W, 3], upright (EXIF applied).
        format: ``JPEG``, ``PNG``, ...
        mode: What the file holds: ``grey``, ``RGB``, ``RGBA``, ``palette``, ``CMYK``, ...
        bits: Bits a channel in the file, 1 to 8 (of a palette: of an index).
    """

    pixels: NDArray[np.uint8]
    format: str
    mode: str
    bits: int = 8


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


def decode(data: bytes, at_least: int = 0) -> Picture:
    """Decodes the bytes of one picture.

    Args:
        data: The file.
        at_least: A JPEG is decoded at 7/8 to 1/8 of its size (fewer DCT coefficients, so less
            work) as far as both sides keep this many pixels; 0: at its own size. Pixels move by
            more than rounding, so whoever asks for it records it.

    Raises:
        BadImage: With a kind and a reason.
    """
    if data[:3] == b"\xff\xd8\xff":
        found = _decode_jpeg(data, at_least)
        if found is not None:
            return found
    if data.startswith(_PNG):
        _check_png(data)
    return _decode_with_pillow(data)


def with_channels(pixels: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """[H, W, 1 or 3] with the wanted number of channels: grey repeated, colour by BT.601."""
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=2)
    return np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None]


def _decode_jpeg(data: bytes, at_least: int) -> Picture | None:
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
        pixels = simplejpeg.decode_jpeg(
            data, "GRAY" if grey else "RGB", min_height=at_least, min_width=at_least, strict=True
        )
    except ValueError as error:
        reason = str(error).lower()
        if "premature end of jpeg file" in reason:
            raise BadImage("truncated", "the file ends in the middle of the picture") from None
        if _loses_pixels(reason):
            raise BadImage(
                "damaged", f"data in the middle of the picture are broken: {error}"
            ) from None
        return None
    if b"Exif\x00\x00" in data[:65536]:
        pixels = _upright(pixels, _stored_orientation(data))
    return Picture(np.ascontiguousarray(pixels), "JPEG", "grey" if grey else "RGB")


def _loses_pixels(reason: str) -> bool:
    """Whether libjpeg's warning means that a part of the picture is grey or garbled."""
    if any(w in reason for w in ("premature end of data", "bad huffman", "instead of rst")):
        return True
    stray = re.search(r"(\d+) extraneous bytes before marker 0xd\d", reason)
    return stray is not None and int(stray[1]) > _EXTRANEOUS_BYTES


def _check_png(data: bytes) -> None:
    """Walks the chunks: size, checksums of those that hold pixels, and the end.

    Pillow passes a PNG whose data were overwritten where the compressed stream stays decodable.
    """
    at = len(_PNG)
    view = memoryview(data)
    while at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        name, end = data[at + 4 : at + 8], at + 12 + length
        if not name.isalpha():
            raise BadImage("damaged", f"a broken PNG: no chunk starts at byte {at:,}")
        if end > len(data):
            break
        if name[:1].isupper() and zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(
            view[end - 4 : end], "big"
        ):
            raise BadImage("damaged", f"a broken PNG: the checksum of {name.decode()} is wrong")
        if name == b"IHDR" and length >= 8:
            _check_size(*struct.unpack_from(">II", data, at + 8))
        if name == b"IEND":
            return
        at = end
    raise BadImage("truncated", "the file ends in the middle of the picture")


def _stored_orientation(data: bytes) -> int:
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            return _orientation(image)
    except _DECODE_ERRORS:
        return 1


def _orientation(image: Image.Image) -> int:
    """EXIF's 1 to 8. Where it cannot be read the pixels are still good: they stay as they lie."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except _DECODE_ERRORS:
        return 1


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
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            _check_size(*image.size)
            bits = _depth(image, data)
            mode = _mode(image)
            # Loaded first: a TIFF is turned by Pillow then, and says so by dropping the tag.
            pixels = pixels_of(image)
            pixels = np.ascontiguousarray(_upright(pixels, _orientation(image)))
            kind = "JPEG" if image.format == "MPO" else str(image.format)
            return Picture(pixels, kind, mode, bits)
    except BadImage:
        raise
    except UnidentifiedImageError:
        raise _unidentified(data) from None
    except Image.DecompressionBombError:
        raise BadImage("bomb", "so many pixels that it is taken for a bomb") from None
    except _DECODE_ERRORS as error:
        text = str(error).strip() or type(error).__name__
        if _is_cut(data) or any(w in text.lower() for w in ("truncated", "unexpected end")):
            raise BadImage("truncated", "the file ends in the middle of the picture") from None
        raise BadImage("damaged", f"cannot be decoded: {text}") from None


def _mode(image: Image.Image) -> str:
    names = {"1": "grey", "L": "grey", "LA": "grey+alpha", "P": "palette", "PA": "palette"}
    return names.get(image.mode, image.mode)


def _depth(image: Image.Image, data: bytes) -> int:
    """Bits a channel; refuses more than 8 rather than cutting them off unseen."""
    bits = 1 if image.mode == "1" else 8
    if image.format == "PNG" and len(data) > 24:
        bits = data[24]
    elif image.format == "TIFF":
        bits = _largest(getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, bits))
    if bits > 8 or image.mode in _DEEP_MODES:
        raise _too_deep(max(bits, 16))
    return bits


def _too_deep(bits: int) -> BadImage:
    return BadImage(
        "depth",
        f"{bits} bits a channel; foveal reads 8 so far, and cutting the rest off would hide it: "
        "convert the file first",
    )


def _largest(value: object) -> int:
    """A TIFF tag that holds a number or one for each channel."""
    return max(value) if isinstance(value, tuple) else int(value)  # type: ignore[call-overload,no-any-return]


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


def _unidentified(data: bytes) -> BadImage:
    """Why Pillow does not even open it."""
    kind = next((name for start, name in _SIGNATURES if data.startswith(start)), None)
    if kind is None or (kind == "WebP" and data[8:12] != b"WEBP"):
        return BadImage(*_what_it_is(data))
    if _is_cut(data):
        return BadImage("truncated", "the file ends in the middle of the picture")
    if kind == "TIFF":
        try:
            bits, channels = _tiff_layout(data)
        except _DECODE_ERRORS:
            return BadImage("damaged", "starts like a TIFF, but its directory cannot be read")
        if bits > 8:
            return _too_deep(bits)
        if channels > 4:
            return BadImage("depth", f"{channels} channels; foveal reads 1 or 3 so far")
    return BadImage("damaged", f"starts like a {kind}, but its header is damaged")


def _tiff_layout(data: bytes) -> tuple[int, int]:
    """Bits a channel and channels, from the first directory of a TIFF."""
    directory = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
    file = io.BytesIO(data)
    file.seek(directory.next)
    directory.load(file)
    return _largest(directory.get(_BITS_PER_SAMPLE, 1)), int(directory.get(_SAMPLES_PER_PIXEL, 1))


def _is_cut(data: bytes) -> bool:
    """Whether a container says that there should be more bytes than there are."""
    if data[:4] == b"RIFF" and len(data) >= 8:
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    if data[:2] == b"BM" and len(data) >= 6:
        return int.from_bytes(data[2:6], "little") > len(data)
    if data[:4] in (b"II*\x00", b"MM\x00*") and len(data) >= 8:
        return int.from_bytes(data[4:8], "little" if data[:2] == b"II" else "big") >= len(data)
    return data[:4] == b"GIF8" and b"\x3b" not in data[-2:]


def _what_it_is(data: bytes) -> tuple[str, str]:
    """Kind and reason of a file that is no picture."""
    head = data[:512].lstrip().lower()
    if head.startswith((b"<!doctype", b"<html", b"<?xml", b"<svg")):
        return "web_page", "a web page or drawing with the name of a picture"
    if not any(data[:4096]):
        return "zeros", "nothing but zero bytes: an interrupted download or copy"
    if data[:4] in (b"%PDF", b"PK\x03\x04"):
        return "not_a_picture", "a document or archive with the name of a picture"
    return "not_a_picture", "not a picture of a known format"
