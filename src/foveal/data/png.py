"""PNG: chunks with their checksums, and pixels of 16 bits a channel, which Pillow cuts to 8.

The format is simple enough to be read here: rows that were predicted from their neighbours, packed
by zlib (PNG specification, third edition, sections 9 and 10). torchvision's decoder is deprecated.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numba import njit

from foveal.data.picture import Pixels, check_size, on_white
from foveal.errors import BadImage

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # by colour type
_MODES = {1: "grey", 2: "grey+alpha", 3: "RGB", 4: "RGBA"}
# Adam7's seven passes: first row and column, then the steps between them.
_PASSES = (
    (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4),
    (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1),
)  # fmt: skip


def check(data: bytes) -> None:
    """Walks the chunks: size, checksums of those that hold pixels, and the end.

    Pillow passes a PNG whose data were overwritten where the compressed stream stays decodable.

    Raises:
        BadImage: Something is missing or was changed.
    """
    at = len(SIGNATURE)
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
            check_size(*struct.unpack_from(">II", data, at + 8))
        if name == b"IEND":
            return
        at = end
    raise BadImage("truncated", "the file ends in the middle of the picture")


def chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Name and content of every chunk of a PNG that passed ``check``."""
    at, view = len(SIGNATURE), memoryview(data)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        yield data[at + 4 : at + 8], view[at + 8 : at + 8 + length]
        at += 12 + length


def is_deep(data: bytes) -> bool:
    """Whether a PNG has 16 bits a channel."""
    return data[12:16] == b"IHDR" and data[24:25] == b"\x10"


def decode_deep(data: bytes) -> tuple[Pixels, str]:
    """Pixels uint16 [H, W, 1 or 3] and mode of a PNG of 16 bits; what is transparent shows white.

    Args:
        data: A file that passed ``check``.

    Raises:
        BadImage: It cannot be decoded, or not as a whole.
    """
    width, height, _, colour, method, filters, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    if colour not in _CHANNELS or method or filters or interlaced > 1:
        raise BadImage("damaged", "a broken PNG: its header makes no sense")
    channels = _CHANNELS[colour]
    packed = b"".join(content for name, content in chunks(data) if name == b"IDAT")
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    sizes = [(-(-(height - y) // dy), -(-(width - x) // dx)) for y, x, dy, dx in passes]
    lengths = [h * (1 + 2 * channels * w) if h > 0 and w > 0 else 0 for h, w in sizes]
    try:
        rows = zlib.decompressobj().decompress(packed, sum(lengths))
    except zlib.error as error:
        raise BadImage("damaged", f"a broken PNG: {error}") from None
    if len(rows) < sum(lengths):
        raise BadImage("damaged", "a broken PNG: it holds fewer rows than its header says")
    pixels = np.empty((height, width, channels), np.uint16)
    start = 0
    for (y, x, dy, dx), (h, w), length in zip(passes, sizes, lengths, strict=True):
        if length:
            lines = np.frombuffer(rows, np.uint8, length, start).reshape(h, -1)
            part = np.empty((h, 2 * channels * w), np.uint8)
            if not _unfilter(lines, 2 * channels, part):
                raise BadImage("damaged", "a broken PNG: a row of an unknown kind")
            pixels[y::dy, x::dx] = part.view(">u2").reshape(h, w, channels)
            start += length
    return _without_alpha(pixels, data), _MODES[channels]


def _without_alpha(pixels: Pixels, data: bytes) -> Pixels:
    channels = pixels.shape[2]
    if channels in (2, 4):
        return on_white(pixels)
    key = next((bytes(content) for name, content in chunks(data) if name == b"tRNS"), b"")
    if len(key) == 2 * channels:  # the colour that stands for "nothing here"
        pixels[(pixels == np.frombuffer(key, ">u2")).all(axis=2)] = 65535
    return pixels


@njit(nogil=True, cache=True)
def _unfilter(lines: Any, step: Any, out: Any) -> Any:
    """Rows [H, 1 + N], each behind the number of its filter, to bytes [H, N]; False: no filter.

    Every byte was predicted from the one ``step`` bytes before it, the one above, and both.
    """
    height, n = out.shape
    above = np.zeros(n, np.uint8)
    for y in range(height):
        kind, line, row = lines[y, 0], lines[y, 1:], out[y]
        if kind > 4:
            return False
        for i in range(n):
            left = np.int32(row[i - step]) if i >= step else np.int32(0)
            up = np.int32(above[i])
            guess = np.int32(0)
            if kind == 1:
                guess = left
            elif kind == 2:
                guess = up
            elif kind == 3:
                guess = (left + up) >> 1
            elif kind == 4:
                corner = np.int32(above[i - step]) if i >= step else np.int32(0)
                a, b, c = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
                nearest = up if b <= c else corner
                guess = left if a <= b and a <= c else nearest
            row[i] = (np.int32(line[i]) + guess) & 255
        above = row
    return True
