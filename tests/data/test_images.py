"""One file to pixels: right colours, upright, and a reason where it cannot be done."""

import io
import os

import numpy as np
import pytest
import zoo
from PIL import Image

from foveal.data import images
from foveal.data.images import decode, read_bytes
from foveal.data.picture import with_channels
from foveal.errors import BadImage

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
DRAW = np.random.default_rng(5)


@pytest.fixture
def picture():
    return zoo.drawn(np.random.default_rng(1), (60, 44))


def close(pixels, reference, tolerance):
    reference = np.asarray(reference)
    assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous
    assert pixels.shape == (*reference.shape[:2], 1 if reference.ndim == 2 else 3)
    difference = pixels.astype(int) - reference.reshape(pixels.shape)
    assert np.abs(difference).max() <= tolerance


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_formats_without_loss_give_the_same_pixels(picture, kind, options):
    found = decode(zoo.encoded(picture, kind, **options))
    assert (found.format, found.mode, found.bits) == (kind, "RGB", 8)
    close(found.pixels, picture, 0)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_jpeg_is_what_pillow_reads(picture, options):
    data = zoo.encoded(picture, "JPEG", quality=90, **options)
    found = decode(data)
    assert (found.format, found.mode) == ("JPEG", "RGB")
    close(found.pixels, Image.open(io.BytesIO(data)), 2)


def test_grey_stays_one_channel(picture):
    grey = picture.convert("L")
    for kind, tolerance in (("PNG", 0), ("JPEG", 6), ("TIFF", 0), ("BMP", 0)):
        found = decode(zoo.encoded(grey, kind))
        assert found.mode == "grey"
        close(found.pixels, grey, tolerance)


def test_one_bit_is_black_and_white(picture):
    bits = picture.convert("1")
    found = decode(zoo.encoded(bits, "PNG"))
    assert (found.mode, found.bits) == ("grey", 1)
    assert set(np.unique(found.pixels)) == {0, 255}
    close(found.pixels, bits.convert("L"), 0)


def test_palette_gives_its_colours(picture):
    palette = picture.quantize(16)
    for kind in ("PNG", "GIF", "BMP"):
        found = decode(zoo.encoded(palette, kind))
        assert found.mode == "palette"
        close(found.pixels, palette.convert("RGB"), 0)


def test_transparency_shows_white():
    rgba = Image.new("RGBA", (4, 2), (200, 0, 100, 0))
    rgba.putpixel((0, 0), (200, 0, 100, 255))
    rgba.putpixel((1, 0), (200, 0, 100, 102))
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True})):
        pixels = decode(zoo.encoded(rgba, kind, **options)).pixels
        assert pixels[0, 0].tolist() == [200, 0, 100]
        # 0.4 of the colour, 0.6 of white.
        assert np.abs(pixels[0, 1] - np.array([233, 153, 193])).max() <= 1
        assert (pixels[1] == 255).all()


def test_transparent_palette_entry_and_grey_alpha_show_white(picture):
    palette = picture.quantize(8)
    index = np.asarray(palette)
    data = zoo.encoded(palette, "PNG", transparency=int(index[0, 0]))
    pixels = decode(data).pixels
    assert (pixels[index == index[0, 0]] == 255).all()
    assert not (pixels[index != index[0, 0]] == 255).all()
    grey = picture.convert("LA")
    grey.putalpha(0)
    found = decode(zoo.encoded(grey, "PNG"))
    assert found.mode == "grey+alpha" and found.pixels.shape == (44, 60, 1)
    assert (found.pixels == 255).all()


def test_cmyk_is_plausible(picture):
    data = zoo.encoded(picture.convert("CMYK"), "JPEG", quality=95)
    found = decode(data)
    assert found.mode == "CMYK"
    close(found.pixels, Image.open(io.BytesIO(data)).convert("RGB"), 0)
    assert np.abs(found.pixels.astype(int) - np.asarray(picture)).mean() < 6


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "mode"),
    [("JPEG", "RGB"), ("JPEG", "L"), ("PNG", "RGB"), ("TIFF", "RGB"), ("WEBP", "L")],
)
def test_pictures_stand_upright(picture, orientation, kind, mode):
    back = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    stored = picture.convert(mode)
    for turn in back.get(orientation, []):
        stored = stored.transpose(turn)
    exif = Image.Exif()
    exif[274] = orientation
    options = {"JPEG": {"quality": 97, "subsampling": 0}, "WEBP": {"lossless": True}}
    found = decode(zoo.encoded(stored, kind, exif=exif, **options.get(kind, {})))
    if kind == "WEBP":  # which knows no grey
        picture, mode = picture.convert("L"), "RGB"
    close(found.pixels, picture.convert(mode), 12 if kind == "JPEG" else 0)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_broken_note_on_orientation_costs_no_picture(picture, kind):
    clean = decode(zoo.encoded(picture, kind)).pixels
    for note in (b"Exif\0\0II*\0" + b"\xff" * 30, b"Exif\0\0nonsense"):
        assert (decode(zoo.encoded(picture, kind, exif=note)).pixels == clean).all()


def test_an_animation_and_a_stereo_picture_give_their_first_frame(picture, tmp_path):
    other = Image.new("RGB", picture.size)
    path = tmp_path / "a.gif"
    picture.save(path, save_all=True, append_images=[other])
    close(decode(path.read_bytes()).pixels, Image.open(path).convert("RGB"), 0)
    path = tmp_path / "b.jfif"
    picture.save(path, "MPO", save_all=True, append_images=[other])
    found = decode(path.read_bytes())
    assert found.format == "JPEG"
    close(found.pixels, Image.open(path), 2)


def test_channels_are_repeated_or_weighed(picture):
    pixels = np.asarray(picture)
    grey = with_channels(pixels, 1)
    assert grey.shape == (44, 60, 1)
    weighed = pixels @ np.array([0.299, 0.587, 0.114])
    assert np.abs(grey[:, :, 0] - weighed).max() <= 1
    assert (with_channels(grey, 3) == grey).all()
    assert with_channels(pixels, 3) is pixels


def wrong(data):
    with pytest.raises(BadImage) as caught:
        decode(data)
    return caught.value


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.35, 0.7, 0.97])
def test_cut_files_are_called_truncated(kind, share):
    image = zoo.drawn(np.random.default_rng(2), (200, 160))
    data = zoo.encoded(image, kind)
    error = wrong(data[: int(len(data) * share)])
    assert error.kind == "truncated"
    assert error.message == "the file ends in the middle of the picture"


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (b"<!doctype html><p>sorry", "web_page", "web page"),
        (bytes(3000), "zeros", "zero bytes"),
        (DRAW.bytes(3000), "not_a_picture", "known format"),
        (b"PK\x03\x04" + bytes(50), "not_a_picture", "archive"),
        (zoo.bomb_png(), "bomb", "50000 x 50000"),
        (zoo.bomb_gif(), "bomb", "bomb"),
        (zoo.encoded(Image.new("F", (5, 5), 0.1), "TIFF"), "depth", "32 bits a channel"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "damaged", "no chunk"),
        (b"GIF89a\x05", "truncated", "middle"),
        (b"II*\x00\x08\x00\x00\x00\xff\xff" + bytes(9), "damaged", "TIFF"),
    ],
)
def test_each_kind_has_its_reason(data, kind, words):
    error = wrong(data)
    assert error.kind == kind
    assert words in error.message


def test_overwritten_data_are_found(picture):
    """Pillow passes such files: a part of the picture would be grey or garbled."""
    big = zoo.drawn(np.random.default_rng(3), (300, 200))
    jpeg = bytearray(zoo.encoded(big, "JPEG", quality=95))
    jpeg[3000:3600] = bytes(600)
    assert Image.open(io.BytesIO(jpeg)).load() is not None
    assert wrong(bytes(jpeg)).kind == "damaged"
    png = bytearray(zoo.encoded(picture, "PNG", compress_level=0))
    png[200] ^= 1
    error = wrong(bytes(png))
    assert error.kind == "damaged" and "checksum of IDAT" in error.message


def test_stray_bytes_after_the_end_are_no_reason(picture):
    for kind in ("JPEG", "PNG", "GIF", "WEBP"):
        data = zoo.encoded(picture, kind)
        assert (decode(data + b"more;").pixels == decode(data).pixels).all()


def test_random_damage_is_never_another_error(picture):
    """A thousand broken files: either pixels or a BadImage, nothing else."""
    draw = np.random.default_rng(9)
    kinds = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP")
    whole = [zoo.encoded(picture, kind) for kind in kinds]
    whole.append(zoo.encoded(picture.convert("CMYK"), "JPEG"))
    for i in range(1000):
        data = bytearray(whole[i % len(whole)])
        for at in draw.integers(0, len(data), draw.integers(1, 12)):
            data[at] = draw.integers(256)
        if i % 3 == 0:
            del data[draw.integers(1, len(data)) :]
        try:
            found = decode(bytes(data))
        except BadImage as error:
            assert error.kind and error.message
        else:
            assert found.pixels.ndim == 3 and found.pixels.size


def test_reading_says_what_the_disk_says(tmp_path, monkeypatch):
    def kind(path):
        with pytest.raises(BadImage) as caught:
            read_bytes(path)
        return caught.value.kind

    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to("nowhere")
    assert kind(tmp_path / "empty.jpg") == "empty"
    assert kind(tmp_path / "folder.jpg") == "folder"
    assert kind(tmp_path / "link.jpg") == "link"
    assert kind(tmp_path / "none.jpg") == "missing"
    for error, name in ((PermissionError(13, "no"), "permission"), (OSError(5, "io"), "disk")):

        def fail(_, error=error):
            raise error

        monkeypatch.setattr(images.Path, "read_bytes", fail)
        assert kind(tmp_path / "empty.jpg") == name


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_no_permission(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"x")
    path.chmod(0)
    with pytest.raises(BadImage, match="permission"):
        read_bytes(path)
