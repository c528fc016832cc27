"""Pictures of 16 bits and of many channels keep both, from the file to the batch."""

import io
import struct
import sys
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
import tifffile
import torch
import zoo
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from foveal.core.batch import as_images
from foveal.data.cache import shrunk
from foveal.data.images import decode
from foveal.data.loader import Loader, StreamPlan, Table
from foveal.data.picture import with_channels
from foveal.data.scan import scan
from foveal.data.seeds import squared_gradient
from foveal.data.sources import open_source
from foveal.data.tiers import choose_kind, read_through
from foveal.engine.build import check_options
from foveal.engine.pretrain import Wish, train
from foveal.errors import BadImage, FovealError
from foveal.recipe import override, parse_overrides
from foveal.recipes import get_recipe
from foveal.views.make import make_view
from foveal.views.presets import pirl_views, simclr_view
from foveal.views.spec import View
from foveal.views.table import COLUMNS

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
DRAW = np.random.default_rng(3)
KINDS = ("truncated", "damaged", "bomb", "channels", "depth", "shape", "package", "not_a_picture")
COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


def deep(height=20, width=24, channels=3, top=65536):
    return DRAW.integers(0, top, (height, width, channels)).astype(np.uint16)


def png_of(rows, width, height, channels, interlaced=0, more=b""):
    """A PNG of 16 bits from the bytes of its filtered rows."""
    header = struct.pack(">IIBBBBB", width, height, 16, COLOUR_TYPES[channels], 0, 0, interlaced)
    return (
        b"\x89PNG\r\n\x1a\n" + zoo.png_chunk(b"IHDR", header) + more
        + zoo.png_chunk(b"IDAT", zlib.compress(rows)) + zoo.png_chunk(b"IEND", b"")
    )  # fmt: skip


def plain_png(pixels, more=b""):
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return png_of(rows, width, height, channels, more=more)


def tiff_of(pixels, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


BANDS = tiff_of(deep(channels=5), photometric="minisblack", planarconfig="contig")


def npy_of(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 19), st.integers(1, 19), st.sampled_from([1, 3]), st.booleans(),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_a_deep_png_is_what_libpng_reads(height, width, channels, interlaced, seed):
    """Any bytes behind any filters are a picture: the reference decoder says which."""
    draw = np.random.default_rng(seed)
    starts = (
        [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
         (1, 0, 2, 1)]
        if interlaced else [(0, 0, 1, 1)]
    )  # fmt: skip
    rows = b""
    for y, x, dy, dx in starts:
        wide = len(range(x, width, dx))
        for _ in range(y, height, dy) if wide else ():
            rows += bytes([draw.integers(5)]) + draw.bytes(2 * channels * wide)
    data = png_of(rows, width, height, channels, int(interlaced))
    reference = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    reference = reference[:, :, None] if channels == 1 else reference[:, :, ::-1]
    found = decode(data)
    assert (found.format, found.bits, found.pixels.dtype) == ("PNG", 16, np.uint16)
    assert np.array_equal(found.pixels, reference)


def test_what_is_transparent_in_a_deep_png_shows_white():
    rgba = deep(channels=4)
    rgba[0, 0, 3], rgba[0, 1, 3] = 0, 65535
    found = decode(plain_png(rgba))
    assert found.mode == "RGBA" and found.pixels.shape == (20, 24, 3)
    assert (found.pixels[0, 0] == 65535).all() and (found.pixels[0, 1] == rgba[0, 1, :3]).all()
    share = rgba[:, :, 3:] / 65535
    assert np.abs(found.pixels - (rgba[:, :, :3] * share + 65535 * (1 - share))).max() <= 1
    assert decode(plain_png(deep(channels=2))).mode == "grey+alpha"
    colour = deep()
    key = zoo.png_chunk(b"tRNS", colour[0, 0].astype(">u2").tobytes())
    found = decode(plain_png(colour, key)).pixels
    assert (found[0, 0] == 65535).all() and (found[1:] == colour[1:]).all()


def test_a_deep_png_stands_upright():
    exif = Image.Exif()
    exif[274] = 6
    pixels = deep()
    chunk = zoo.png_chunk(b"eXIf", exif.tobytes()[6:])
    assert (decode(plain_png(pixels, chunk)).pixels == np.rot90(pixels, -1)).all()


def test_half_a_deep_png_is_no_picture():
    pixels = deep(40, 40)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    for damage, says in ((rows[: len(rows) // 2], "fewer rows"), (b"\x07" + rows[1:], "unknown")):
        with pytest.raises(BadImage, match=says) as caught:
            decode(png_of(damage, 40, 40, 3))
        assert caught.value.kind == "damaged"
    with pytest.raises(BadImage, match="middle"):
        decode(plain_png(pixels)[:900])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [2, 4, 7, 13])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib"},
        {"compression": "zlib", "predictor": True},
        {"tile": (16, 16)},
        {"rowsperstrip": 3},
        {"planarconfig": "separate"},
        {"planarconfig": "separate", "tile": (16, 16), "compression": "zlib"},
        {"bigtiff": True},
        {"byteorder": ">"},
    ],
)
def test_bands_of_a_tiff(dtype, channels, options):
    pixels = deep(20, 24, channels).astype(dtype)
    separate = options.get("planarconfig") == "separate"
    written = np.moveaxis(pixels, -1, 0) if separate else pixels
    options = {"photometric": "minisblack", "planarconfig": "contig", "metadata": None} | options
    found = decode(tiff_of(written, **options))
    assert np.array_equal(found.pixels, pixels) and found.pixels.dtype == dtype
    assert (found.format, found.mode, found.bits) == (
        "TIFF", f"{channels} bands", 8 * pixels.itemsize
    )  # fmt: skip


def test_colour_and_grey_of_a_tiff_keep_16_bits():
    colour, grey = deep(), deep(channels=1)
    found = decode(tiff_of(colour, photometric="rgb"))
    assert found.mode == "RGB" and np.array_equal(found.pixels, colour)
    for options in ({"compression": "tiff_lzw"}, {}):
        file = io.BytesIO()
        Image.fromarray(grey[:, :, 0]).save(file, "TIFF", **options)
        found = decode(file.getvalue())
        assert found.mode == "grey" and found.bits == 16 and np.array_equal(found.pixels, grey)
    inverted = decode(tiff_of(grey[:, :, 0], photometric="miniswhite"))
    assert np.array_equal(inverted.pixels, 65535 - grey)


def test_a_stack_of_pages_says_so():
    """Bands saved without planarconfig="contig" become pages, and one of them is the picture."""
    for dtype in (np.uint8, np.uint16):
        found = decode(tiff_of(deep(9, 12, 5).astype(dtype), photometric="minisblack"))
        assert found.mode == "grey, first of several pages" and found.pixels.shape == (12, 5, 1)
    big = tiff_of(deep(9, 12, 5), photometric="minisblack", bigtiff=True, byteorder=">")
    assert decode(big).mode.endswith("pages")


@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha"])
def test_alpha_of_a_deep_tiff_shows_white(kind):
    rgba = deep(channels=4)
    rgba[:, :, 3] = np.maximum(rgba[:, :, 3], 1000)
    share = rgba[:, :, 3:] / 65535
    written = rgba.copy()
    if kind == "assocalpha":
        written[:, :, :3] = np.rint(rgba[:, :, :3] * share)
    found = decode(tiff_of(written, photometric="rgb", extrasamples=[kind]))
    assert found.mode == "RGBA"
    shown = rgba[:, :, :3] * share + 65535 * (1 - share)
    assert np.abs(found.pixels - shown).max() <= 2


def test_a_fourth_band_is_not_dropped():
    pixels = deep(channels=4).astype(np.uint8)
    found = decode(tiff_of(pixels, photometric="rgb", extrasamples=["unspecified"]))
    assert found.mode == "4 bands" and np.array_equal(found.pixels, pixels)


def test_a_tiff_with_holes_is_no_picture():
    """tifffile fills what is missing with zeros."""
    options = {"photometric": "minisblack", "planarconfig": "contig", "metadata": None}
    whole = tiff_of(deep(64, 64, 5), rowsperstrip=8, **options)
    with tifffile.TiffFile(io.BytesIO(whole)) as tif:
        tags = tif.pages.first.tags
        counts, offsets = tags["StripByteCounts"].valueoffset, tags["StripOffsets"].valueoffset
        size = {3: "H", 4: "I"}[int(tags["StripByteCounts"].dtype)]
    hole, short, outside = (bytearray(whole) for _ in range(3))
    struct.pack_into(f"<{size}", hole, counts, 0)
    struct.pack_into(f"<{size}", short, counts, 100)
    struct.pack_into("<I", outside, offsets, len(whole) - 4)
    for data, kind in ((hole, "truncated"), (short, "damaged"), (outside, "truncated")):
        with pytest.raises(BadImage) as caught:
            decode(bytes(data))
        assert caught.value.kind == kind


def retagged(data, tag, value):
    """A TIFF whose directory says something else."""
    with tifffile.TiffFile(io.BytesIO(data)) as tif:
        found = tif.pages.first.tags[tag]
    changed = bytearray(data)
    struct.pack_into({3: "<H", 4: "<I"}[int(found.dtype)], changed, found.valueoffset, value)
    return bytes(changed)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("channels", [2, 3, 5])
def test_a_tiff_that_holds_other_rows_than_it_says_is_no_picture(channels, compression):
    """Found by fuzzing: Pillow and tifffile read half of them without a word."""
    options = {"photometric": "minisblack", "planarconfig": "contig", "metadata": None}
    whole = tiff_of(deep(64, 48, channels).astype(np.uint8), compression=compression, **options)
    assert decode(whole).pixels.shape == (64, 48, channels)
    for tag, value in (("ImageLength", 32), ("ImageWidth", 24), ("SamplesPerPixel", 1)):
        with pytest.raises(BadImage, match="a part of its pixels has") as caught:
            decode(retagged(whole, tag, value))
        assert caught.value.kind == "damaged"
    with pytest.raises(BadImage, match="names 1 parts, and 4 make a picture"):
        decode(retagged(whole, "RowsPerStrip", 16))


def test_bits_between_8_and_16_are_stretched():
    values = DRAW.integers(0, 4096, (10, 8))
    left, right = values[:, ::2], values[:, 1::2]
    packed = np.stack([left >> 4, (left & 15) << 4 | right >> 8, right & 255], 2)
    data = tiff_of(packed.reshape(10, 12).astype(np.uint8), photometric="minisblack")
    found = decode(retagged(retagged(data, "ImageWidth", 8), "BitsPerSample", 12))
    assert found.bits == 12 and (found.pixels[:, :, 0] == (values << 4 | values >> 8)).all()


def test_what_inflates_to_more_than_its_rows_is_left_alone():
    options = {"photometric": "minisblack", "compression": "zlib", "metadata": None}
    whole = tiff_of(np.zeros((64, 64), np.uint16), **options)
    with tifffile.TiffFile(io.BytesIO(whole)) as tif:
        at = tif.pages.first.dataoffsets[0]
    bomb = zlib.compress(bytes(40_000_000), 1)
    data = retagged(whole[:at] + bomb, "StripByteCounts", len(bomb))
    tracemalloc.start()
    with pytest.raises(BadImage, match="a part of its pixels has"):
        decode(data)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_plain_bands_need_no_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "tifffile", None)
    assert decode(BANDS).mode == "5 bands" and decode(BANDS).pixels.shape == (20, 24, 5)


def mutated(data, draw):
    """Cut, overwritten, or with bytes put in or taken out, mostly in its first or last 400."""
    changed = bytearray(data)
    edge = min(len(data), 400)
    at = int(draw.choice([draw.integers(edge), len(data) - edge + draw.integers(edge)]))
    some = draw.bytes(int(draw.choice([1, 4, 60])))
    kind = draw.integers(4)
    if kind == 0:
        return data[: draw.integers(1, len(data))]
    changed[at : at + (0 if kind == 1 else len(some))] = b"" if kind == 2 else some
    return bytes(changed)


def test_a_mutated_file_is_refused_or_a_whole_picture():
    """Overwritten pixels without a checksum cannot be told from others, half a picture can."""
    draw = np.random.default_rng(11)
    five = {"photometric": "minisblack", "planarconfig": "contig", "metadata": None}
    files = [
        plain_png(deep()), npy_of(deep(channels=5)), BANDS,
        tiff_of(deep(), photometric="rgb", compression="zlib", rowsperstrip=7),
        tiff_of(deep(channels=5), compression="zlib", predictor=True, **five),
        tiff_of(deep(channels=5).astype(np.uint8), tile=(16, 16), bigtiff=True, **five),
        tiff_of(deep().astype(np.uint8), photometric="rgb", byteorder=">"),
    ]  # fmt: skip
    refused = 0
    for data in files * 43:
        whole = decode(data).pixels
        try:
            found = decode(mutated(data, draw)).pixels
        except BadImage as error:
            refused += error.kind in KINDS
            continue
        assert (found.shape, found.dtype) == (whole.shape, whole.dtype)
    assert 100 < refused < 250


@pytest.mark.parametrize(
    "array",
    [deep(9, 12, 1)[:, :, 0], deep(9, 12, 5), deep(9, 12, 3).astype(np.uint8),
     np.asfortranarray(deep(9, 12, 4)), deep(9, 9, 200).astype(">u2")],
)  # fmt: skip
def test_an_array_is_a_picture(array):
    found = decode(npy_of(array))
    assert found.format == "NPY" and found.pixels.dtype.isnative
    assert np.array_equal(found.pixels.reshape(array.shape), array)


@pytest.mark.parametrize(
    ("data", "kind", "says"),
    [
        (npy_of(np.zeros((5, 5), np.float32)), "depth", r"'<f4' values.*astype\('uint16'\)"),
        (npy_of(np.zeros((5, 5), np.int16)), "depth", "'<i2' values"),
        (npy_of(np.zeros((3, 40, 40), np.uint8)), "shape", r"np.moveaxis\(x, 0, -1\)"),
        (npy_of(np.zeros((2, 9, 9, 3), np.uint8)), "shape", r"pictures are \[H, W\]"),
        (npy_of(np.zeros((9, 9, 600), np.uint8)), "channels", "600 channels"),
        (npy_of(np.array([[{}]])), "depth", "'|O' values"),
        (npy_of(deep())[:-5], "truncated", "middle"),
        (npy_of(deep()) + b"more", "damaged", "follow the header"),
        (b"\x93NUMPY\x01\x00\x08\x00(((((((\n", "damaged", "its header"),
        (tiff_of(np.zeros((5, 5, 4), np.float32), photometric="minisblack"), "depth", "32 bits"),
        (tiff_of(np.zeros((5, 5), np.int16), photometric="minisblack"), "depth", "int16"),
    ],
)
def test_what_is_no_picture_says_what_to_write(data, kind, says):
    with pytest.raises(BadImage, match=says) as caught:
        decode(data)
    assert caught.value.kind == kind


def test_a_missing_extra_is_named(monkeypatch):
    # Marked as LZW, which tifffile cannot decode by itself.
    lzw = retagged(BANDS, "Compression", 5)
    with pytest.raises(BadImage, match="LZW needs a decoder: pip install imagecodecs"):
        decode(lzw)
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(BadImage, match=r"pip install 'foveal\[tiff\]' imagecodecs") as caught:
        decode(lzw)
    assert caught.value.kind == "package"


def test_layouts_are_met_without_loss():
    eight, sixteen = np.full((2, 2, 1), 200, np.uint8), deep(2, 2, 1)
    assert (with_channels(eight, 3, 16) == 200 * 257).all()
    assert with_channels(sixteen, 1, 16) is sixteen
    grey = with_channels(deep(), 1, 16)
    assert grey.shape == (20, 24, 1) and grey.dtype == np.uint16
    with pytest.raises(BadImage, match="bits=16 reads both"):
        with_channels(sixteen, 1, 8)
    with pytest.raises(BadImage, match="channels: 5, among pictures with 3"):
        with_channels(deep(channels=5), 3, 16)


def pile(folder, count, write, suffix):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        (folder / f"{i:03d}{suffix}").write_bytes(write(i))
    return folder


def test_a_pile_is_read_so_that_most_is_kept(tmp_path):
    bands = pile(tmp_path / "bands", 6, lambda i: npy_of(deep(channels=5)), ".npy")
    source = open_source(bands)
    assert (source.channels, source.bits) == (5, 16)
    mixed = pile(tmp_path / "mixed", 5, lambda i: plain_png(deep()), ".png")
    pile(mixed, 3, lambda i: zoo.encoded(zoo.drawn(DRAW), "JPEG"), ".jpg")
    report = scan(mixed)
    assert open_source(mixed).bits == 16 and report.bits == {8: 3, 16: 5}
    report = scan(open_source(mixed, bits=8))
    assert report.bad_kinds() == {"depth": 5} and report.bits == {8: 3}
    with pytest.raises(FovealError, match="have 5 channels, and 3 are asked for"):
        open_source(bands, channels=3)


def test_arrays_beside_pictures_are_something_else(tmp_path):
    folder = pile(tmp_path, 3, lambda i: zoo.encoded(zoo.drawn(DRAW), "PNG"), ".png")
    pile(tmp_path, 3, lambda i: npy_of(np.zeros(128, np.float32)), ".npy")
    source = open_source(folder)
    assert len(source) == 3 and source.ignored == {".npy": 3}
    assert len(open_source(f"{folder}/*.png")) == 3


def test_statistics_are_measured_at_full_depth(tmp_path):
    pictures = [deep(channels=4, top=3000) for _ in range(5)]
    folder = pile(tmp_path, 5, lambda i: npy_of(pictures[i]), ".npy")
    report = scan(folder)
    values = np.stack(pictures).reshape(-1, 4) / 65535
    assert np.allclose(report.mean, values.mean(0)) and np.allclose(report.std, values.std(0))
    assert report.to_json()["bits"] == {"16": 5} and report.to_json()["channels"] == 4
    # As dark as 12 bits in 16 are, no two of them look alike.
    assert not report.near


def test_batches_hold_all_16_bits():
    images = deep(16, 16, 5)[None].repeat(4, 0)
    table = Table(open_source(images), np.arange(4), np.full(4, -1))
    whole = View(size=16, crop={"kind": "center", "fraction": 1.0}, flip=0.0)
    with Loader(table, [StreamPlan("main", {"a": whole}, 4)], seed=0, threads=2) as loader:
        views = loader.get(0)["main"].views["a"]
    assert views.dtype == torch.float32 and views.shape == (4, 16, 16, 5)
    assert np.abs(views.numpy() - images / 65535).max() < 1e-6
    assert as_images(views).shape == (4, 5, 16, 16)


def test_a_copy_keeps_depth_and_channels(tmp_path):
    images = deep(60, 80, 5)[None].repeat(3, 0)
    source = open_source(list(images))
    copy = {"quality": 90, "scaled": False, "folder": tmp_path}
    whole = read_through(source, kind="raw", short=64, **copy)
    assert (whole.read(2) == images[2]).all() and whole.bits == 16
    small = read_through(source, kind="raw", short=30, **copy).read(1)
    assert small.shape == (30, 40, 5) and small.dtype == np.uint16
    # The same as of 8 bits, which Pillow shrinks by itself and rounds after each of two passes.
    eight = DRAW.integers(64, 192, (60, 80, 3)).astype(np.uint8)
    off = shrunk(eight.astype(np.uint16) * 257, 30) / 257 - shrunk(eight, 30)
    assert np.abs(off).max() <= 1.25 and abs(off.mean()) < 0.02
    assert np.array_equal(shrunk(eight[:, :, [0, 1, 2, 0]], 30)[:, :, :3], shrunk(eight, 30))
    with pytest.raises(FovealError, match=r"a JPEG keeps 8 bits .* 16 bits and 5 channels"):
        read_through(source, kind="jpeg", short=64, **copy)
    bands = pile(tmp_path / "bands", 6, lambda i: npy_of(images[0]), ".npy")
    kind, why = choose_kind(open_source(bands), 64, tmp_path)
    assert kind == "raw" and "stay in memory" in why


def test_seed_patches_see_the_same_gradients_in_16_bits():
    eight = DRAW.integers(0, 256, (30, 40, 3)).astype(np.uint8)
    assert (squared_gradient(eight.astype(np.uint16) * 257) == squared_gradient(eight)).all()
    bands = np.repeat(eight[:, :, :1], 6, axis=2)
    assert (squared_gradient(bands) == squared_gradient(eight[:, :, :1])).all()


def test_views_of_16_bits_are_those_of_8():
    """The same picture at both depths: the same crop and colours, one of them rounded."""
    image = np.asarray(zoo.drawn(np.random.default_rng(1), (60, 44)))
    more = View(size=24, affine={"rotation": 20}, noise={"p": 1.0, "sigma": (0.1, 0.1)})
    for view in (simclr_view(32), more, pirl_views(64)[1]):
        rows = np.empty((view.parts, len(COLUMNS)), np.float32)
        eight = np.empty(view.shape(3), np.uint8)
        make_view(view, image, (0, 1), 5, rows, eight)
        deep_view = np.empty(view.shape(3), np.float32)
        make_view(view, image.astype(np.uint16) * 257, (0, 1), 5, rows, deep_view)
        assert np.abs(np.rint(deep_view * 255) - eight).max() <= 1
        assert deep_view.min() >= 0 and deep_view.max() <= 1


def test_a_recipe_for_colour_is_refused_with_what_to_write(tmp_path):
    bands = deep(40, 40, 5)[None].repeat(16, 0)
    with pytest.raises(FovealError, match="saturation, hue, grey, which need three") as caught:
        train(bands, tmp_path / "run", Wish(recipe="simclr/small"), quiet=True)
    off = caught.value.hint.partition("by hand: ")[2].split()
    assert off == ["options.view.jitter.saturation=0", "options.view.jitter.hue=0",
                   "options.view.grey=0.0"]  # fmt: skip
    assert not (tmp_path / "run").exists()
    recipe = override(get_recipe("simclr/small"), parse_overrides(off))
    check_options(recipe)
    turned = override(recipe, parse_overrides(["options.view.turns=[0,1,2,3]"]))
    assert check_options(turned).view.turns == (0, 1, 2, 3)
    assert not check_options(turned).view.needs_colour()
