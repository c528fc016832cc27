"""Damages files of one format and reads them: ``python fuzzer.py FORMAT FIRST LAST``.

Runs as a process of its own, since a decoder that crashes takes its process along. Prints what went
wrong, one line a case; a case that hangs or crashes ends the process, its number on standard error.

What must hold of a damaged file: it is refused with a reason, or what is read is a whole picture.
A file that was only cut off gives the pixels it gave before, or none.
"""

import faulthandler
import io
import resource
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tifffile
from films import write_film
from PIL import Image
from zoo import drawn, encoded

from foveal.data.arrow import TABLES
from foveal.data.images import decode
from foveal.data.picture import MAX_PIXELS
from foveal.data.shards import open_shards
from foveal.data.tables import open_tables
from foveal.data.video import index_video, read_frames
from foveal.errors import BadImage, FovealError

SECONDS = 30  # a case that takes longer hangs
MEMORY = 6_000_000_000  # bytes of address space
_SIZE = (64, 48)


def picture(i=0):
    return drawn(np.random.default_rng(i), _SIZE)


def pixels(dtype, channels=3):
    """A picture as an array, noise on top: no two rows are alike."""
    draw = np.random.default_rng(1)
    small = np.asarray(picture(), np.float64)[:, :, :1] + draw.uniform(0, 60, (48, 64, channels))
    return (small / 320 * np.iinfo(dtype).max).astype(dtype)


def in_memory(write, *arguments, **options):
    file = io.BytesIO()
    write(file, *arguments, **options)
    return file.getvalue()


def tar():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as shard:
        for i in range(3):
            for name, content in ((f"{i}.png", encoded(picture(i), "PNG")), (f"{i}.cls", b"1")):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                shard.addfile(info, io.BytesIO(content))
    return file.getvalue()


def table():
    column = [{"bytes": encoded(picture(i), "PNG"), "path": f"{i}.png"} for i in range(6)]
    return pa.table({"image": column, "label": [0, 1, 0, 1, 0, 1]})


def arrow(make):
    file = io.BytesIO()
    with make(file, table().schema) as writer:
        writer.write_table(table(), max_chunksize=2)
    return file.getvalue()


def film(suffix, codec):
    """A texture that moves: no part of it is of one colour."""
    ground = np.asarray(Image.fromarray(pixels(np.uint8)).resize((192, 144)))

    def make():
        with tempfile.TemporaryDirectory() as folder:
            frames = [np.ascontiguousarray(ground[i : i + 64, 2 * i : 2 * i + 96])
                      for i in range(24)]  # fmt: skip
            return write_film(Path(folder) / f"x{suffix}", frames, codec, gop=8).read_bytes()

    return make


FORMATS = {
    ".jpg": lambda: encoded(picture(), "JPEG", quality=90),
    ".progressive.jpg": lambda: encoded(picture(), "JPEG", progressive=True),
    ".cmyk.jpg": lambda: encoded(picture().convert("CMYK"), "JPEG"),
    ".png": lambda: encoded(picture(), "PNG"),
    ".16.png": lambda: in_memory(Image.fromarray(pixels(np.uint16, 1)[:, :, 0]).save, "PNG"),
    ".webp": lambda: encoded(picture(), "WEBP", quality=90),
    ".bmp": lambda: encoded(picture(), "BMP"),
    ".gif": lambda: encoded(picture(), "GIF"),
    ".tif": lambda: encoded(picture(), "TIFF", compression="tiff_lzw"),
    ".16.tif": lambda: in_memory(
        tifffile.imwrite, pixels(np.uint16), photometric="rgb", compression="zlib"
    ),
    ".bands.tif": lambda: in_memory(
        tifffile.imwrite, pixels(np.uint8, 5), photometric="minisblack", planarconfig="contig"
    ),
    ".npy": lambda: in_memory(np.save, pixels(np.uint16)),
    ".tar": tar,
    ".parquet": lambda: in_memory(lambda f: pq.write_table(
        table(), f, row_group_size=2, write_page_checksum=True)),
    ".stream.arrow": lambda: arrow(pa.ipc.new_stream),
    ".file.arrow": lambda: arrow(pa.ipc.new_file),
    ".mp4": film(".mp4", "libx264"),
    ".mkv": film(".mkv", "libx264"),
    ".webm": film(".webm", "libvpx-vp9"),
    ".avi": film(".avi", "mjpeg"),
    ".ts": film(".ts", "mpeg2video"),
}  # fmt: skip
PROVED = (".png", ".16.png", ".tar", ".parquet", ".stream.arrow", ".file.arrow")  # by checksums
_EXTREME = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4), b"\0\0\0\x01")


def damaged(content, case):
    """The file, damaged as its number says, and whether it was only cut off."""
    draw = np.random.default_rng(case)
    data, n = bytearray(content), len(content)

    def at(share=1.0):
        return int(draw.integers(0, max(1, int(n * share))))

    way = case % 9
    if way == 0:
        return bytes(data[: at()]), True
    if way == 1:  # bytes anywhere
        for _ in range(int(draw.integers(1, 20))):
            data[at()] = draw.integers(256)
    elif way == 2:  # bytes of the header
        for _ in range(int(draw.integers(1, 8))):
            data[int(draw.integers(0, min(n, 300)))] = draw.integers(256)
    elif way in (3, 4):  # a part that was never written, or overwritten
        start, length = at(), 1 + at(0.1)
        stop = min(n, start + length)
        data[start:stop] = bytes(stop - start) if way == 3 else draw.bytes(stop - start)
    elif way == 5:  # a part is missing
        start = at()
        del data[start : start + 1 + at(0.1)]
    elif way == 6:  # a part came twice
        start = at()
        data[start:start] = data[start : start + 1 + at(0.1)]
    elif way == 7:  # numbers at their ends, in the header or anywhere
        for _ in range(int(draw.integers(1, 4))):
            start = int(draw.integers(0, min(n, 300))) if draw.integers(2) else at()
            data[start : start + 4] = _EXTREME[int(draw.integers(len(_EXTREME)))]
    else:  # two bits
        for _ in range(2):
            data[at()] ^= 1 << int(draw.integers(8))
    return bytes(data), False


def read(suffix, content, folder):
    """Everything that can be read: by key, pixels; where nothing can, a FovealError."""
    ending = Path(f"x{suffix}").suffix
    path = Path(folder) / f"x{ending}"
    if ending in (".tar", *TABLES, ".mp4", ".mkv", ".webm", ".avi", ".ts"):
        path.write_bytes(content)
    if ending == ".tar":
        source = open_shards(str(path), path, Path(folder) / "index")
    elif ending in TABLES:
        source = open_tables(str(path), path, {})
    elif path.exists():
        index = index_video(path)
        frames = read_frames(path, index, range(min(len(index), 200)))
        return {i: frame for i, frame in frames if not isinstance(frame, BadImage)}
    else:
        return {0: decode(content).pixels}
    found = {}
    for i in range(min(len(source), 50)):
        try:
            found[i] = source.picture(i)[0].pixels
        except BadImage:
            continue
    return found


def wrong(found, whole, suffix, only_cut):
    """What must not be, in words; None where all is well."""
    originals = list(whole.values())
    for key, picture in found.items():
        if picture.dtype not in (np.uint8, np.uint16) or picture.ndim != 3:
            return f"{key} is {picture.dtype} of shape {picture.shape}"
        if not 0 < picture.shape[0] * picture.shape[1] <= MAX_PIXELS:
            return f"{key} has the shape {picture.shape}"
        same = any(np.array_equal(picture, o) for o in originals)
        if suffix in PROVED and not same:
            return f"{key} is another picture in spite of checksums"
        if only_cut and not same:
            return f"{key} is another picture after the file was cut off"
        if suffix == ".gif" and picture.shape != originals[0].shape:
            continue  # a canvas larger than the picture on it is a valid GIF
        if not same and half(picture) and not half(originals[0]):
            return f"{key} is half a picture"
    return None


def half(picture):
    """Whether the last third of the rows, or more, are all of one colour under something else.

    A picture whose upper part is the same grey within two levels is whole: what lossy WebP makes of
    two flipped bits among the numbers that all blocks share, which it has no checksum for. One
    that is of one colour through and through counts: nothing of it may have been read.
    """
    rows = max(2, len(picture) // 3)
    above, end = picture[:-rows], picture[-rows:]
    if len(picture) <= 5 or not (end == end[:1, :1]).all():
        return False
    apart = np.abs(above.astype(int) - end[:1, :1]).max()
    return not 0 < apart <= 2


def main(suffix, first, last):
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    refused = 0
    with tempfile.TemporaryDirectory() as folder:
        content = FORMATS[suffix]()
        whole = read(suffix, content, folder)
        assert whole
        for case in range(first, last):
            print(f"case {case}", file=sys.stderr, flush=True)
            faulthandler.dump_traceback_later(SECONDS, exit=True)
            torn, only_cut = damaged(content, case)
            try:
                found = read(suffix, torn, folder)
            except FovealError:
                found = {}
            except Exception as error:
                print(f"{suffix} {case}: {error!r}", flush=True)
                found = {}
            faulthandler.cancel_dump_traceback_later()
            refused += len(found) < len(whole)
            said = wrong(found, whole, suffix, only_cut)
            if said:
                print(f"{suffix} {case}: {said}", flush=True)
    print(f"refused {refused}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
