"""One picture as an array of numpy (``.npy``): 8 or 16 bits, any number of channels."""

from __future__ import annotations

import re

import numpy as np

from foveal.data.picture import MAX_CHANNELS, Pixels, as_pixels, check_size, how_to_write
from foveal.errors import BadImage

SIGNATURE = b"\x93NUMPY"
# As numpy writes it; numpy's own reader would parse whatever stands there as Python.
_HEADER = re.compile(
    rb"\{'descr': (.{1,200}?), 'fortran_order': (True|False), 'shape': \(([0-9, ]*)\), *\}\s*\Z"
)
_KIND = re.compile(rb"'[<>|=]?(u1|u2)'\Z")


def decode_npy(data: bytes) -> Pixels:
    """Pixels of a ``.npy`` file: uint8 or uint16, [H, W] or [H, W, C].

    Raises:
        BadImage: It is damaged, or no picture.
    """
    width = 2 if data[6:7] == b"\x01" else 4  # bytes of the header's length
    start = 8 + width
    end = start + int.from_bytes(data[8:start], "little")
    header = _HEADER.match(data[start : min(end, start + 10_000)])
    if header is None or end > len(data):
        raise BadImage("damaged", "starts like an array of numpy, but its header is damaged")
    kind, by_columns = header[1].decode("latin-1"), header[2] == b"True"
    shape = tuple(int(n) for n in header[3].replace(b" ", b"").split(b",") if n)
    if len(shape) not in (2, 3):
        raise BadImage("shape", f"shape {shape}; pictures are [H, W] or [H, W, C]")
    check_size(shape[1], shape[0], shape[2] if len(shape) == 3 else 1)
    if len(shape) == 3 and not 1 <= shape[2] <= MAX_CHANNELS:
        raise BadImage("channels", f"{shape[2]} channels; 1 to {MAX_CHANNELS} are read")
    if not _KIND.match(header[1]):
        raise BadImage("depth", f"{kind} values; {how_to_write()}")
    dtype = np.dtype(kind.strip("'"))
    size, there = dtype.itemsize * int(np.prod(shape, dtype=np.int64)), len(data) - end
    if there < size:
        raise BadImage("truncated", "the file ends in the middle of the picture")
    if there > size:
        raise BadImage("damaged", f"{there:,} bytes follow the header, which says {size:,}")
    array = np.frombuffer(data, dtype, offset=end)
    return as_pixels(array.reshape(shape, order="F" if by_columns else "C"))
