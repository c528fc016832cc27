"""TIFF beyond what Pillow reads: several bands, and 16 bits in colour. Extra ``tiff``."""

from __future__ import annotations

import io
import logging
import math
import struct
from typing import Any

import numpy as np

from foveal.data.picture import (
    MAX_CHANNELS,
    Pixels,
    as_pixels,
    bands,
    check_size,
    how_to_write,
    on_white,
    upright,
)
from foveal.errors import BadImage

SIGNATURES = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")  # the last two are BigTIFF
_WHITE_IS_ZERO, _RGB, _PALETTE = 0, 2, 3  # PhotometricInterpretation
_MULTIPLIED, _ALPHA = 1, 2  # ExtraSamples: alpha the colours are multiplied with, or not
_WITH_ALPHA = {(_RGB, 4): "RGBA", (0, 2): "grey+alpha", (1, 2): "grey+alpha"}
_UNCOMPRESSED = 1
_ORIENTATION = 274  # tag
# tifffile tells of odd tags that say nothing about pixels.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)


def decode_bands(data: bytes) -> tuple[Pixels, str, int]:
    """Pixels [H, W, C], mode and bits of the first page of a TIFF.

    Alpha shows white; bands that the file does not call alpha are channels.

    Raises:
        BadImage: It is damaged or compressed in a way that is not known, tifffile is missing, or
            the values are no uint8 or uint16.
    """
    try:
        import tifffile
    except ImportError:
        raise BadImage(
            "package",
            "TIFF with several bands or 16-bit colour needs tifffile: pip install 'foveal[tiff]'",
        ) from None
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as tif:
            page = tif.pages.first
            _check(page, len(data))
            pixels, mode = _as_picture(page.asarray(maxworkers=1), page)
            turn = page.tags.valueof(_ORIENTATION, 1)
            pixels = np.ascontiguousarray(upright(pixels, turn))
            return pixels, mode, int(page.bitspersample)
    except BadImage:
        raise
    # tifffile raises what a damaged file makes its parsing stumble over.
    except (
        tifffile.TiffFileError, ValueError, KeyError, IndexError, TypeError, AttributeError,
        RuntimeError, NotImplementedError, OverflowError, ZeroDivisionError, MemoryError,
        AssertionError, OSError, EOFError, struct.error, ImportError,
    ) as error:  # fmt: skip
        text = str(error).strip() or type(error).__name__
        if "imagecodecs" in text:
            how = getattr(getattr(page, "compression", None), "name", "in a rare way")
            raise BadImage(
                "package", f"a TIFF compressed as {how} needs a decoder: pip install imagecodecs"
            ) from None
        raise BadImage("damaged", f"a TIFF that cannot be decoded: {text[:200]}") from None
    except Exception as error:
        # zlib and lzma have errors of their own, without a common base.
        if type(error).__module__ not in ("zlib", "_lzma", "lzma"):
            raise
        raise BadImage("damaged", f"the compressed pixels are broken: {error}") from None


def more_pages(data: bytes) -> bool:
    """Whether other pages follow the first: a stack, frames, or smaller copies."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\x00", b"\x00+")
    # BigTIFF counts in 8 bytes, and its entries take 20.
    offset, count, entry = (8, "Q", 20) if big else (4, "H", 12)
    place = f"{order}{'Q' if big else 'I'}"
    try:
        (start,) = struct.unpack_from(place, data, offset)
        (entries,) = struct.unpack_from(order + count, data, start)
        after = start + struct.calcsize(order + count) + entry * entries
        return bool(struct.unpack_from(place, data, after)[0])
    except struct.error:
        return False


def _check(page: Any, length: int) -> None:
    """Refuses what would be decoded in part: tifffile fills missing strips with zeros."""
    samples = page.samplesperpixel
    check_size(page.imagewidth, page.imagelength, samples)
    if page.imagedepth != 1 or not 1 <= samples <= MAX_CHANNELS:
        raise BadImage(
            "channels", f"{samples} bands, {page.imagedepth} deep; 1 to {MAX_CHANNELS} are read"
        )
    if page.dtype not in (np.uint8, np.uint16):
        what = f"{page.dtype} values" if page.dtype is not None else "values of an odd kind"
        raise BadImage("depth", f"{what}; {how_to_write()}")
    parts = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    if page.is_tiled:
        shape = [page.tilelength, page.tilewidth]
        check_size(page.tilewidth, page.tilelength)
    else:
        shape = [page.imagelength, page.imagewidth]
    if len(parts) != math.prod(page.chunked):
        raise BadImage("damaged", f"{len(parts)} of {math.prod(page.chunked)} parts are there")
    if any(at <= 0 or size <= 0 or at + size > length for at, size in parts):
        raise BadImage("truncated", "the file ends in the middle of the picture")
    if page.compression == _UNCOMPRESSED:
        contiguous = samples if page.planarconfig == 1 or not page.is_tiled else 1
        wanted = math.prod(shape) * contiguous * page.bitspersample // 8
        wanted *= len(parts) if page.is_tiled else 1
        if sum(size for _, size in parts) != wanted:
            raise BadImage("damaged", "its strips do not hold as many bytes as its pixels need")


def _as_picture(array: np.ndarray[Any, Any], page: Any) -> tuple[Pixels, str]:
    if page.axes == "SYX":
        array = np.moveaxis(array, 0, -1)
    elif page.axes not in ("YX", "YXS"):
        raise BadImage("shape", f"a TIFF with the axes {page.axes}; YX, YXS and SYX are read")
    photometric = int(page.photometric)
    if photometric == _PALETTE:
        raise BadImage("depth", "a palette of 16 bits; save the colours themselves")
    pixels = as_pixels(array)
    if photometric == _WHITE_IS_ZERO:
        pixels = np.iinfo(pixels.dtype).max - pixels
    mode = _WITH_ALPHA.get((photometric, pixels.shape[2]))
    extra = [int(e) for e in page.extrasamples]
    if mode is None or extra not in ([_MULTIPLIED], [_ALPHA]):
        return pixels, bands(pixels)
    return on_white(_divided(pixels) if extra == [_MULTIPLIED] else pixels), mode


def _divided(pixels: Pixels) -> Pixels:
    """Colours that were multiplied with alpha, as they were before."""
    top = int(np.iinfo(pixels.dtype).max)
    alpha = pixels[:, :, -1:].astype(np.float64)
    colours = pixels[:, :, :-1] * (top / np.maximum(alpha, 1))
    colours = np.minimum(colours + 0.5, top).astype(pixels.dtype)
    return np.concatenate([colours, pixels[:, :, -1:]], axis=2)
