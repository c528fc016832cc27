"""TIFF: the first page of a file, checked, and read here where it is plain.

Pillow keeps 8 bits and at most four bands. tifffile fills missing strips with zeros, cuts off what
a strip holds beyond its rows, and inflates without a bound; libtiff is no stricter. So the parts of
a page are counted before anybody reads them, and pages of 8 or 16 bits that are not compressed, or
deflated, are read here, where each part holds just its rows. What is left goes to Pillow, or to
tifffile (extra ``tiff``) where it has more bands or bits than Pillow keeps.
"""

from __future__ import annotations

import io
import logging
import math
import struct
import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

from foveal.data.picture import (
    MAX_CHANNELS,
    Picture,
    Pixels,
    as_pixels,
    bands,
    check_size,
    how_to_write,
    on_white,
    stretched,
    upright,
)
from foveal.errors import BadImage

SIGNATURES = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")  # the last two are BigTIFF
# Both tell of odd tags, and Pillow of bands, where the reader is chosen by what it says.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)
logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.CRITICAL)

# Tags.
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL = 256, 257, 258, 259, 262, 266
_OFFSETS, _ORIENTATION, _SAMPLES, _ROWS, _COUNTS, _PLANAR = 273, 274, 277, 278, 279, 284
_PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS = 317, 322, 323, 324, 325
_EXTRA, _FORMAT = 338, 339
_TYPES = {1: "B", 3: "H", 4: "L", 6: "b", 8: "h", 9: "l", 16: "Q", 17: "q"}  # whole numbers
_READ = {
    _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL, _OFFSETS, _ORIENTATION, _SAMPLES,
    _ROWS, _COUNTS, _PLANAR, _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS,
    _EXTRA, _FORMAT,
}  # fmt: skip
# Values of tags.
_NONE, _OLD_JPEG, _DEFLATE = 1, 6, (8, 32946)
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_MULTIPLIED, _ALPHA = 1, 2  # extra samples: alpha the colours are multiplied with, or not
_WITH_ALPHA = {
    (_RGB, 4): "RGBA", (_WHITE_IS_ZERO, 2): "grey+alpha", (_BLACK_IS_ZERO, 2): "grey+alpha",
}  # fmt: skip
_KINDS = {1: "uint", 2: "int", 3: "float", 4: "uint"}  # sample formats; 4 is "undefined"
_STUMBLES = (
    ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError, NotImplementedError,
    OverflowError, ZeroDivisionError, MemoryError, AssertionError, OSError, EOFError, SyntaxError,
    ImportError, struct.error,
)  # fmt: skip


@dataclass(frozen=True)
class Page:
    """What the first directory of a file says.

    Attributes:
        height, width, samples, bits: Of the picture; ``bits`` of the deepest sample.
        compression, photometric, predictor, orientation: As in the file.
        planar: Each band in parts of its own.
        extra: What the samples beyond grey or colour are.
        tiled: Parts are tiles, not strips.
        part: Rows and columns of a part; the last strip may have fewer.
        offsets, counts: Where parts lie, in bytes.
        order: Byte order, ``<`` or ``>``.
        even: All samples are unsigned, have the same bits, and lie in the usual bit order.
        more: Other pages follow: a stack, frames, or smaller copies.
    """

    height: int
    width: int
    samples: int
    bits: int
    compression: int
    photometric: int
    predictor: int
    orientation: int
    planar: bool
    extra: tuple[int, ...]
    tiled: bool
    part: tuple[int, int]
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    order: Literal["<", ">"]
    even: bool
    more: bool

    @property
    def plain(self) -> bool:
        """Whether it is read here. Pillow blends alpha of 8 bits."""
        alpha = self.bits == 8 and self.has_alpha
        return (
            self.even
            and self.bits in (8, 16)
            and self.compression in (_NONE, *_DEFLATE)
            and self.predictor in (1, 2)
            and self.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB)
            and not alpha
        )

    @property
    def has_alpha(self) -> bool:
        """Whether its last sample is how much of the others is there."""
        known = (self.photometric, self.samples) in _WITH_ALPHA
        return known and self.extra in ((_MULTIPLIED,), (_ALPHA,))

    @property
    def row_bytes(self) -> int:
        """Of a row of a part, unpacked."""
        return -(-self.part[1] * (1 if self.planar else self.samples) * self.bits // 8)

    @property
    def planes(self) -> int:
        """Sets of parts that cover the picture."""
        return self.samples if self.planar else 1

    def place(self, part: int) -> tuple[int, int, int, int]:
        """Plane, first row, first column and rows of a part."""
        across, down = -(-self.width // self.part[1]), -(-self.height // self.part[0])
        plane, rest = divmod(part, across * down)
        top, left = rest // across * self.part[0], rest % across * self.part[1]
        rows = self.part[0] if self.tiled else min(self.part[0], self.height - top)
        return plane, top, left, rows


def decode(data: bytes) -> Picture | None:
    """The first page of a TIFF; None where Pillow or ``decode_bands`` read what was checked here.

    Raises:
        BadImage: It is damaged, not whole, no picture, or too large to be one.
    """
    page = read_page(data)
    if not page.plain:
        if page.compression in _DEFLATE and page.photometric != _YCBCR:
            for part, (at, size) in enumerate(zip(page.offsets, page.counts, strict=True)):
                _inflated(memoryview(data)[at : at + size], page, part)
        return None
    pixels, mode = _shown(_pixels(page, data), page)
    more = ", first of several pages" if page.more else ""
    pixels = np.ascontiguousarray(upright(pixels, page.orientation))
    return Picture(pixels, "TIFF", mode + more, page.bits)


def read_page(data: bytes) -> Page:
    """The first directory of a TIFF, after a check that all parts of the picture are there.

    Raises:
        BadImage: See ``decode``.
    """
    page = _page(data)
    _check(page, len(data))
    return page


def decode_bands(data: bytes) -> tuple[Pixels, str, int]:
    """Pixels [H, W, C], mode and bits of a TIFF by way of tifffile.

    Args:
        data: A file that passed ``read_page``.

    Raises:
        BadImage: It is damaged or compressed in a way that is not known, or tifffile is missing.
    """
    page = read_page(data)
    try:
        import tifffile
    except ImportError:
        raise BadImage(
            "package",
            "a TIFF of several bands or 16-bit colour that is compressed otherwise than by deflate "
            "needs more: pip install 'foveal[tiff]' imagecodecs",
        ) from None
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as tif:
            first = tif.pages.first
            how = getattr(getattr(first, "compression", None), "name", "in a rare way")
            array = first.asarray(maxworkers=1)
            axes = first.axes
    # tifffile raises what a damaged file makes its parsing stumble over.
    except (tifffile.TiffFileError, *_STUMBLES) as error:
        text = str(error).strip() or type(error).__name__
        if "imagecodecs" in text:
            raise BadImage(
                "package", f"a TIFF compressed as {how} needs a decoder: pip install imagecodecs"
            ) from None
        raise BadImage("damaged", f"a TIFF that cannot be decoded: {text[:200]}") from None
    except Exception as error:
        # Decoders have errors of their own, without a common base.
        if type(error).__module__.partition(".")[0] not in ("zlib", "_lzma", "lzma", "imagecodecs"):
            raise
        raise BadImage("damaged", f"the compressed pixels are broken: {error}") from None
    if axes == "SYX":
        array = np.moveaxis(array, 0, -1)
    elif axes not in ("YX", "YXS"):
        raise BadImage("shape", f"a TIFF with the axes {axes}; YX, YXS and SYX are read")
    pixels = as_pixels(array)
    if pixels.shape != (page.height, page.width, page.samples):
        raise BadImage("damaged", f"a TIFF that holds {pixels.shape} pixels, not what it says")
    if page.bits > 8:
        pixels = stretched(pixels, page.bits)
    pixels, mode = _shown(pixels, page)
    return np.ascontiguousarray(upright(pixels, page.orientation)), mode, page.bits


def _page(data: bytes) -> Page:
    order: Literal["<", ">"] = "<" if data[:2] == b"II" else ">"
    tags, more = _directory(data, order)

    def one(tag: int, default: int | None = None) -> int:
        if tag in tags:
            return tags[tag][0]
        if default is None:
            raise BadImage("damaged", f"a TIFF without tag {tag}")
        return default

    height, width, samples = one(_HEIGHT), one(_WIDTH), one(_SAMPLES, 1)
    tiled = _TILE_WIDTH in tags
    part = (
        (one(_TILE_HEIGHT), one(_TILE_WIDTH)) if tiled else (min(one(_ROWS, height), height), width)
    )
    if min(part) < 1:
        raise BadImage("damaged", f"its parts have {part[0]} x {part[1]} pixels")
    depths, formats = tags.get(_BITS, (1,)), tags.get(_FORMAT, (1,))
    if any(_KINDS.get(f) != "uint" for f in formats) or max(depths) > 16:
        kind = _KINDS.get(formats[0], "odd")
        raise BadImage(
            "depth",
            f"{kind}{max(depths)} values, {max(depths)} bits a channel; {how_to_write()}",
        )
    return Page(
        height=height,
        width=width,
        samples=samples,
        bits=max(depths),
        compression=one(_COMPRESSION, _NONE),
        photometric=one(_PHOTOMETRIC, _BLACK_IS_ZERO),
        predictor=one(_PREDICTOR, 1),
        orientation=one(_ORIENTATION, 1),
        planar=one(_PLANAR, 1) == 2 and samples > 1,
        extra=tags.get(_EXTRA, ()),
        tiled=tiled,
        part=part,
        offsets=tags.get(_TILE_OFFSETS if tiled else _OFFSETS, ()),
        counts=tags.get(_TILE_COUNTS if tiled else _COUNTS, ()),
        order=order,
        even=len(set(depths)) == 1 and one(_FILL, 1) == 1,
        more=more,
    )


def _directory(data: bytes, order: str) -> tuple[dict[int, tuple[int, ...]], bool]:
    """The first directory's tags that are whole numbers, and whether another one follows."""
    big = data[2:4] in (b"+\x00", b"\x00+")
    # BigTIFF counts in 8 bytes, and its entries take 20.
    place, first, length, entry, room = ("Q", 8, "Q", "HHQ", 8) if big else ("L", 4, "H", "HHL", 4)
    tags: dict[int, tuple[int, ...]] = {}
    try:
        (at,) = struct.unpack_from(order + place, data, first)
        if at >= len(data):
            raise BadImage("truncated", "the file ends in the middle of the picture")
        (count,) = struct.unpack_from(order + length, data, at)
        at += struct.calcsize(order + length)
        step = struct.calcsize(order + entry) + room
        # Read first: a number of entries that the file has no room for ends here.
        (following,) = struct.unpack_from(order + place, data, at + count * step)
        for where in range(at, at + count * step, step):
            tag, kind, n = struct.unpack_from(order + entry, data, where)
            if tag in tags or tag not in _READ or kind not in _TYPES or n == 0:
                continue
            # Of more values than the file has bytes, unpack_from says so before it makes any.
            values, where = f"{order}{n}{_TYPES[kind]}", where + step - room
            if struct.calcsize(values) > room:
                (where,) = struct.unpack_from(order + place, data, where)
            tags[tag] = struct.unpack_from(values, data, where)
    except (struct.error, OverflowError):
        raise BadImage("damaged", "starts like a TIFF, but its directory is broken") from None
    return tags, following != 0


def _check(page: Page, length: int) -> None:
    """Refuses what would be decoded in part, or into more than a picture is."""
    if not 1 <= page.samples <= MAX_CHANNELS:
        raise BadImage("channels", f"{page.samples} bands; 1 to {MAX_CHANNELS} are read")
    check_size(page.width, page.height, page.samples)
    check_size(page.part[1], page.part[0])
    wanted = page.planes * math.prod(
        -(-side // part) for side, part in zip((page.height, page.width), page.part, strict=True)
    )
    if page.compression == _OLD_JPEG:  # has places of its own
        return
    if len(page.offsets) != wanted or len(page.counts) != wanted:
        there = min(len(page.offsets), len(page.counts))
        raise BadImage("damaged", f"its directory names {there} parts, and {wanted} make a picture")
    for part, (at, size) in enumerate(zip(page.offsets, page.counts, strict=True)):
        if at <= 0 or size <= 0 or at + size > length:
            raise BadImage("truncated", "the file ends in the middle of the picture")
        # Of subsampled colours a row holds less than its pixels say.
        if page.compression == _NONE and page.photometric != _YCBCR:
            _check_bytes(size, page, part)


def _check_bytes(there: int, page: Page, part: int) -> None:
    """A part is whole, but for a few bytes that round it up: one more row is another height."""
    need = page.place(part)[3] * page.row_bytes
    if not need <= there < need + page.row_bytes:
        raise BadImage("damaged", f"a part of its pixels has {there:,} bytes, not {need:,}")


def _pixels(page: Page, data: bytes) -> Pixels:
    """uint8 or uint16 [H, W, samples] of a plain page."""
    native = np.dtype(f"u{page.bits // 8}")
    depth = 1 if page.planar else page.samples
    view = memoryview(data)
    # By planes, as the file has them: one plane of all samples, or one of each.
    planes = np.empty((page.planes, page.height, page.width, depth), native)
    for part, (at, size) in enumerate(zip(page.offsets, page.counts, strict=True)):
        plane, top, left, rows = page.place(part)
        packed = view[at : at + size]
        raw = packed if page.compression == _NONE else _inflated(packed, page, part)
        count = rows * page.part[1] * depth
        block = np.frombuffer(raw, native.newbyteorder(page.order), count)
        block = block.reshape(rows, page.part[1], depth)
        if page.predictor == 2:  # each pixel less the one before it
            block = np.cumsum(block, axis=1, dtype=native)
        target = planes[plane, top : top + rows, left : left + page.part[1]]
        target[:] = block[: target.shape[0], : target.shape[1]]
    return planes[0] if page.planes == 1 else np.moveaxis(planes[..., 0], 0, -1)


def _inflated(packed: memoryview, page: Page, part: int) -> bytes:
    """A deflated part; no more of it is inflated than shows that it is too long."""
    need = page.place(part)[3] * page.row_bytes
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(packed, need + page.row_bytes)
    except zlib.error as error:
        raise BadImage("damaged", f"the compressed pixels are broken: {error}") from None
    _check_bytes(len(raw), page, part)
    if not stream.eof:
        raise BadImage("damaged", "the compressed pixels are broken: they do not end")
    return raw


def _shown(pixels: Pixels, page: Page) -> tuple[Pixels, str]:
    """Pixels as they show, and the mode: black is zero, alpha lies on white."""
    if page.photometric == _PALETTE:
        raise BadImage("depth", "a palette of 16 bits; save the colours themselves")
    if page.photometric == _WHITE_IS_ZERO:
        pixels = np.iinfo(pixels.dtype).max - pixels
    if not page.has_alpha:
        return pixels, bands(pixels)
    whole = _divided(pixels) if page.extra == (_MULTIPLIED,) else pixels
    return on_white(whole), _WITH_ALPHA[page.photometric, page.samples]


def _divided(pixels: Pixels) -> Pixels:
    """Colours that were multiplied with alpha, as they were before."""
    top = int(np.iinfo(pixels.dtype).max)
    alpha = pixels[:, :, -1:].astype(np.float64)
    colours = pixels[:, :, :-1] * (top / np.maximum(alpha, 1))
    colours = np.minimum(colours + 0.5, top).astype(pixels.dtype)
    return np.concatenate([colours, pixels[:, :, -1:]], axis=2)
