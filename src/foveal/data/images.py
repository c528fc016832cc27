"""One picture file to pixels, with a reason in words where that cannot be done.

JPEG goes through libjpeg-turbo without the GIL; every other format, and the odd JPEG (CMYK),
through Pillow, as long as it has eight bits a channel and one or three channels. What is deeper or
has more bands goes where nothing of it is lost: ``png``, ``tiff``, ``npy``.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
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

from foveal.data import npy, png, tiff
from foveal.data.picture import (
    Picture,
    Pixels,
    bands,
    check_size,
    how_to_write,
    stretched,
    upright,
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
ARRAYS = (".npy",)  # one picture each, where there are no other pictures
# Pillow's own bomb warning comes below our limit, and its notes on odd metadata say nothing about
# pixels. Once and for all, since catch_warnings is not safe in threads.
warnings.filterwarnings("ignore", module=r"PIL\.")
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "DIB", "GIF")  # MPO opens as JPEG
_ORIENTATION = 274  # EXIF tag
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLES = 258, 262, 277  # TIFF tags
_PNG_BITS = 24  # byte of a PNG that says how deep it is
_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"), (png.SIGNATURE, "PNG"), (b"GIF8", "GIF"), (b"BM", "BMP"),
    (b"RIFF", "WebP"), *((signature, "TIFF") for signature in tiff.SIGNATURES),
)  # fmt: skip
_EXTRANEOUS_BYTES = 16  # a JPEG may hold a few stray bytes; more mean that data were overwritten
# What Pillow and its plugins raise on damaged files; anything else is a bug and must be seen.
_DECODE_ERRORS = (
    OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, OverflowError,
    RuntimeError, MemoryError, struct.error, Image.DecompressionBombError,
)  # fmt: skip


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
    if data.startswith(png.SIGNATURE):
        png.check(data)
        if png.is_deep(data):
            return _deep_png(data)
    if data.startswith(tiff.SIGNATURES):
        plain = tiff.decode(data)
        if plain is not None:
            return plain
    if data.startswith(npy.SIGNATURE):
        pixels = npy.decode_npy(data)
        return Picture(pixels, "NPY", bands(pixels), pixels.itemsize * 8)
    return _decode_with_pillow(data)


def _decode_jpeg(data: bytes, at_least: int) -> Picture | None:
    """The fast path; None where Pillow has to say what it is."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError as error:
        if _loses_pixels(str(error).lower()):
            raise BadImage("damaged", f"the header is broken: {error}") from None
        return None
    if colours not in ("YCbCr", "RGB", "Gray", "CMYK", "YCCK"):
        return None
    check_size(width, height)
    grey = colours == "Gray"
    inks = colours in ("CMYK", "YCCK")
    try:
        # strict: half a picture must not pass as a whole one.
        pixels = simplejpeg.decode_jpeg(
            data,
            "CMYK" if inks else "GRAY" if grey else "RGB",
            min_height=at_least,
            min_width=at_least,
            strict=True,
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
    if inks:
        return None  # whole; Pillow knows how inks look
    if b"Exif\x00\x00" in data[:65536]:
        pixels = upright(pixels, _stored_orientation(data))
    return Picture(np.ascontiguousarray(pixels), "JPEG", "grey" if grey else "RGB")


def _deep_png(data: bytes) -> Picture:
    pixels, mode = png.decode_deep(data)
    if any(name == b"eXIf" for name, _ in png.chunks(data)):
        pixels = upright(pixels, _stored_orientation(data))
    return Picture(np.ascontiguousarray(pixels), "PNG", mode, 16)


def _loses_pixels(reason: str) -> bool:
    """Whether libjpeg's warning means that a part of the picture is grey or garbled."""
    if any(w in reason for w in ("premature end of data", "bad huffman", "instead of rst")):
        return True
    # Before a table, a scan or a restart; between comments they are harmless.
    stray = re.search(r"(\d+) extraneous bytes before marker 0x[cd]", reason)
    return stray is not None and int(stray[1]) > _EXTRANEOUS_BYTES


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


def _decode_with_pillow(data: bytes) -> Picture:
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            check_size(*image.size)
            bits = _depth(image, data)
            if image.format == "TIFF" and (bits > 8 or _drops_bands(image)):
                if not image.mode.startswith("I;16") or _drops_bands(image):
                    return Picture(*_bands_of(data))
                pixels, mode = _deep_grey(image, bits), "grey"
            else:
                # Loaded first: a TIFF is turned by Pillow then, and says so by dropping the tag.
                pixels, mode = pixels_of(image), _mode(image)
            if image.format == "TIFF":
                mode += _pages(data)
            pixels = np.ascontiguousarray(upright(pixels, _orientation(image)))
            kind = "JPEG" if image.format == "MPO" else str(image.format)
            return Picture(pixels, kind, mode, bits)
    except BadImage:
        raise
    except UnidentifiedImageError:
        if data.startswith(tiff.SIGNATURES):
            return Picture(*_bands_of(data))
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
    """Bits a channel; refuses values that have no fixed white."""
    bits = 1 if image.mode == "1" else 8
    if image.format == "PNG" and len(data) > _PNG_BITS:
        bits = data[_PNG_BITS]
    elif image.format == "TIFF":
        bits = _largest(getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, bits))
    if bits > 16 or image.mode in ("I", "F"):
        raise BadImage("depth", f"{bits} bits a channel; {how_to_write()}")
    return bits


def _drops_bands(image: Image.Image) -> bool:
    """Whether Pillow would pass over some of the samples of a TIFF, or takes one for nothing."""
    samples = int(getattr(image, "tag_v2", {}).get(_SAMPLES, 1))
    return image.mode == "RGBX" or samples > len(image.getbands())


def _deep_grey(image: Image.Image, bits: int) -> Pixels:
    """uint16 [H, W, 1] of a grey TIFF; 9 to 15 bits are stretched to 16."""
    white_is_zero = getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0
    pixels = np.array(image).astype(np.uint16)[:, :, None]
    pixels = stretched(pixels, bits)
    return np.uint16(65535) - pixels if white_is_zero else pixels


def _bands_of(data: bytes) -> tuple[Pixels, str, str, int]:
    pixels, mode, bits = tiff.decode_bands(data)
    return pixels, "TIFF", mode + _pages(data), bits


def _pages(data: bytes) -> str:
    """Said, since a stack may be meant to be one picture."""
    return ", first of several pages" if tiff.read_page(data).more else ""


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
    return BadImage("damaged", f"starts like a {kind}, but its header is damaged")


def _is_cut(data: bytes) -> bool:
    """Whether a container says that there should be more bytes than there are."""
    if data[:4] == b"RIFF" and len(data) >= 8:
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    if data[:2] == b"BM" and len(data) >= 6:
        return int.from_bytes(data[2:6], "little") > len(data)
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
