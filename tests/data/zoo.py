"""A folder as people have them: many formats, odd names, and thirty files that are broken.

``make_zoo(path)`` is what the tests of the scan and of the command line share.
"""

import io
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

FOLDERS = ("", "Été 2019", "deep/er/nested tree", "図鑑", "a b [c]")
_ORIENTATION = 274


class Zoo(NamedTuple):
    """Names below the folder, with the kind the scan must give to the broken ones."""

    good: list[str]
    bad: dict[str, list[str]]


def make_zoo(path, good=500, seed=0):
    """Writes ``good`` pictures of eight formats (13 variants) and 30 broken files of ten kinds."""
    path = Path(path)
    draw = np.random.default_rng(seed)
    for folder in FOLDERS:
        (path / folder).mkdir(parents=True, exist_ok=True)
    names = []
    for i in range(good):
        folder = FOLDERS[i % len(FOLDERS)]
        variant, (suffix, save) = list(VARIANTS.items())[i % len(VARIANTS)]
        name = str(Path(folder) / f"{variant} {i:03d}{suffix}")
        save(drawn(draw), path / name)
        names.append(name)
    bad = {}
    for kind, makers in BROKEN.items():
        for i, (suffix, make) in enumerate(makers):
            folder = FOLDERS[(len(bad) + i) % len(FOLDERS)]
            name = str(Path(folder) / f"broken {kind} {i}{suffix}")
            make(drawn(draw), path / name)
            bad.setdefault(kind, []).append(name)
    (path / "notes.txt").write_text("not a picture, and not named like one")
    (path / ".hidden.jpg").write_bytes(b"passed over")
    return Zoo(sorted(names), {kind: sorted(found) for kind, found in bad.items()})


def drawn(draw, size=None):
    """A picture with structure: random blobs on a slope, RGB, 40 to 72 pixels a side."""
    w, h = size or draw.integers(40, 73, 2).tolist()
    coarse = draw.integers(0, 256, (5, 6, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((w, h), Image.Resampling.BICUBIC)


def encoded(image, kind, **options):
    """The bytes of a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(
        ">I", zlib.crc32(name + content)
    )  # fmt: skip


def bomb_png(width=50_000, height=50_000):
    """A small PNG that claims to be huge."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(bytes(1000))) + png_chunk(b"IEND", b"")
    )  # fmt: skip


def bomb_gif():
    data = bytearray(encoded(Image.new("P", (8, 8)), "GIF"))
    data[6:10] = struct.pack("<HH", 60_000, 60_000)
    return bytes(data)


def deep_png():
    """Sixteen bits a channel, RGB: what Pillow would cut to eight."""
    header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + bytes(24) for _ in range(4))
    return (
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    )  # fmt: skip


def wrong_checksum(image):
    data = bytearray(encoded(image, "PNG"))
    data[data.index(b"IDAT") + 30] ^= 0xFF
    return bytes(data)


def broken_jpeg_header(image):
    data = bytearray(encoded(image, "JPEG"))
    data[20:160] = bytes(140)
    return bytes(data)


def broken_gif_header(image):
    data = bytearray(encoded(image, "GIF"))
    return bytes(data[:9]) + bytes(7) + b";"


def _saver(kind, mode=None, **options):
    def save(image, path):
        image = image.convert(mode) if mode else image
        image.save(path, kind, **options)

    return save


def _turned(image, path):
    exif = Image.Exif()
    exif[_ORIENTATION] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(path, "JPEG", exif=exif, quality=95)


def _palette(image, path):
    image.quantize(64).save(path, "PNG", transparency=0)


def _alpha(image, path):
    rgba = image.convert("RGBA")
    rgba.putalpha(Image.linear_gradient("L").resize(image.size))
    rgba.save(path, "PNG")


def _several(image, path):
    """A burst or stereo picture as phones write it; the first frame counts."""
    image.save(path, "MPO", save_all=True, append_images=[image.transpose(1)])


def _gif(image, path):
    image.save(path, "GIF", save_all=True, append_images=[image.transpose(0)], duration=50)


VARIANTS = {
    "jpeg": (".jpg", _saver("JPEG", quality=92)),
    "grey": (".JPG", _saver("JPEG", "L")),
    "cmyk": (".jpeg", _saver("JPEG", "CMYK", quality=95)),
    "turned": (".jpg", _turned),
    "stereo": (".jfif", _several),
    "png": (".png", _saver("PNG")),
    "palette": (".png", _palette),
    "alpha": (".PNG", _alpha),
    "webp": (".webp", _saver("WEBP", quality=90)),
    "tiff": (".tiff", _saver("TIFF", compression="tiff_lzw")),
    "bmp": (".bmp", _saver("BMP")),
    "dib": (".dib", _saver("DIB")),
    "gif": (".gif", _gif),
}


def _bytes(make):
    return lambda image, path: path.write_bytes(make(image))


def _half(kind):
    def make(image):
        data = encoded(image, kind)
        return data[: len(data) * 6 // 10]

    return _bytes(make)


def _noise(image):
    return b"\x01" + np.asarray(image).tobytes()[:3000]


_PAGE = b"<!DOCTYPE html><html><body>404: this picture has moved</body></html>"
_DRAWING = b"<svg xmlns='http://www.w3.org/2000/svg'><circle r='9'/></svg>"
BROKEN = {
    "empty": [(s, _bytes(lambda _: b"")) for s in (".jpg", ".png", ".webp")],
    "truncated": [(".jpg", _half("JPEG")), (".png", _half("PNG")), (".gif", _half("GIF"))],
    "damaged": [
        (".png", _bytes(wrong_checksum)),
        (".jpg", _bytes(broken_jpeg_header)),
        (".gif", _bytes(broken_gif_header)),
    ],
    "web_page": [
        (".jpg", _bytes(lambda _: _PAGE)),
        (".png", _bytes(lambda _: b"\n  " + _PAGE)),
        (".jpeg", _bytes(lambda _: _DRAWING)),
    ],
    "not_a_picture": [
        (".jpg", _bytes(_noise)),
        (".bmp", _bytes(_noise)),
        (".tif", _bytes(lambda _: b"%PDF-1.7\n1 0 obj")),
    ],
    "zeros": [(s, _bytes(lambda _: bytes(5000))) for s in (".jpg", ".png", ".tiff")],
    "bomb": [
        (".png", _bytes(lambda _: bomb_png())),
        (".PNG", _bytes(lambda _: bomb_png(1_000_000, 1000))),
        (".gif", _bytes(lambda _: bomb_gif())),
    ],
    "depth": [
        (".png", _bytes(lambda _: deep_png())),
        (".png", lambda image, path: Image.new("I;16", (9, 9), 700).save(path, "PNG")),
        (".tif", lambda image, path: Image.new("F", (9, 9), 0.5).save(path, "TIFF")),
    ],
    "link": [(s, lambda _, path: path.symlink_to("gone.jpg")) for s in (".jpg", ".png", ".bmp")],
    "folder": [(s, lambda _, path: path.mkdir()) for s in (".jpg", ".png", ".gif")],
}  # fmt: skip
