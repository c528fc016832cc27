"""The description of a view: what it refuses, and how it changes with size and channels."""

import pytest
from pydantic import ValidationError

from foveal.views.presets import (
    byol_views,
    center_view,
    dino_views,
    padded_view,
    plain_view,
    simclr_view,
)
from foveal.views.spec import (
    Affine,
    Blur,
    ChannelDrop,
    ChannelShift,
    Choice,
    Crop,
    HSVPowers,
    Jitter,
    Noise,
    PCAContrast,
    Posterise,
    Sharpness,
    Shrink,
    Tiles,
    View,
)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: View(size=0), "greater than 0"),
        (lambda: View(size=8, colour=1), "Extra inputs"),
        (lambda: View(size=8, flip=1.2), "less than or equal to 1"),
        (lambda: View(size=8, interpolation="lanczos"), "'bilinear' or 'bicubic'"),
        (lambda: Crop(kind="five"), "random_resized"),
        (lambda: Crop(scale=(0.5, 0.2)), "scale must be"),
        (lambda: Crop(scale=(0.0, 0.2)), "scale must be"),
        (lambda: Crop(scale=(0.5, 1.2)), "at most 1"),
        (lambda: Crop(ratio=(-1, 1)), "ratio must be"),
        (lambda: Jitter(p=-0.1), "greater than or equal to 0"),
        (lambda: Jitter(hue=0.6), "less than or equal to 0.5"),
        (lambda: Blur(sigma=(0.0, 1.0)), "sigma must be"),
        (lambda: Blur(sigma=(2.0, 1.0)), "sigma must be"),
        (lambda: Blur(kernel=4), "odd"),
        (lambda: View(size=100, tiles=Tiles()), "tiles need 255 pixels and size is 100"),
        (lambda: View(size=8, threshold=(0.9, 0.1)), "threshold lies in"),
        (lambda: View(size=8, turns=(0, 4)), "some of 0, 1, 2, 3"),
        (lambda: View(size=8, turns=()), "at least 1"),
        (lambda: Affine(scale=(0.0, 1.0)), "scale must be"),
        (lambda: Affine(shear=(90, 0)), "below 90"),
        (lambda: Shrink(pixels=(0, 5)), "pixels must be"),
        (lambda: PCAContrast(factor=(0, 1)), "factor must be"),
        (lambda: HSVPowers(power=(2, 1)), "power must be"),
        (lambda: HSVPowers(add=(0.2, 0.1)), "add must be"),
        (lambda: Posterise(bits=(0, 8)), "bits must be"),
        (lambda: Sharpness(factor=(-1, 1)), "factor must be"),
        (lambda: ChannelShift(pixels=(2, -2)), "pixels must be"),
        (lambda: Noise(sigma=(0.2, 0.1)), "sigma must be"),
        (lambda: Choice(of=("blur", "grey"), count=3), "count=3 of 2"),
        (lambda: Choice(of=("blur", "blur")), "named twice"),
        (lambda: Choice(of=("cutout",)), "Input should be"),
        (
            lambda: View(size=300, tiles=Tiles(), affine=Affine(border="picture")),
            "tiles see nothing around them",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_words(make, words):
    with pytest.raises(ValidationError, match=words):
        make()


def test_views_are_frozen_and_survive_json():
    for view in (*byol_views(), simclr_view(), padded_view(), View(size=255, tiles=Tiles())):
        assert View.model_validate_json(view.model_dump_json()) == view
        assert hash(view) == hash(View.model_validate(view.model_dump()))
        with pytest.raises(ValidationError):
            view.size = 3


def test_presets_are_those_of_the_papers():
    simclr = simclr_view(strength=0.5, blur=False)
    assert simclr.blur is None and simclr.grey == 0.2
    assert simclr.jitter == Jitter(p=0.8, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
    assert simclr_view().jitter.hue == 0.2 and simclr_view().blur.p == 0.5
    first, second = byol_views()
    assert (first.blur.p, second.blur.p) == (1.0, 0.1)
    assert (first.solarise, second.solarise) == (0.0, 0.2)
    assert first.jitter == second.jitter
    assert first.jitter.saturation == 0.2 and first.jitter.additive
    assert plain_view(64) == View(size=64)
    assert padded_view().crop == Crop(kind="pad_random", pad=4)
    assert center_view(64).flip == 0.0


def test_shapes_and_parts():
    assert View(size=9).shape(1) == (9, 9, 1) and View(size=9).parts == 1
    tiled = View(size=255, tiles=Tiles())
    assert tiled.shape(3) == (9, 64, 64, 3) and tiled.parts == 10
    assert tiled.tiles.side == (255, 255)


@pytest.mark.parametrize(("size", "kernel"), [(224, 23), (96, 9), (40, 5), (30, 3)])
def test_the_blur_kernel_is_a_tenth_of_the_view_made_odd(size, kernel):
    assert simclr_view(size).blur_kernel == kernel
    assert View(size=size, blur=Blur(kernel=7)).blur_kernel == 7
    assert View(size=size).blur_kernel == 1


def test_another_size_keeps_the_proportions():
    assert byol_views(224)[0].resized(96) == byol_views(96)[0]
    assert simclr_view(224).resized(16).blur is None
    probe = View(size=224, crop=Crop(kind="resize_random", resize=256)).resized(112)
    assert probe.crop.resize == 128
    assert padded_view(32, 4).resized(64).crop.pad == 8
    tiled = View(size=255, tiles=Tiles(), blur=Blur())
    for size in (300, 255, 128, 96, 51, 17):
        small = tiled.resized(size)
        assert max(small.tiles.side) <= size
        assert small.tiles.rows == 3 and small.parts == 10
    assert tiled.resized(255) == tiled
    assert tiled.resized(85).tiles == Tiles(stride=28, size=21, jitter=7)


def test_pixels_of_further_operations_keep_their_proportions():
    view = View(
        size=96,
        shrink=Shrink(pixels=(100, 9025)),
        channel_shift=ChannelShift(pixels=(-4, 4)),
    )
    half = view.resized(48)
    assert half.shrink.pixels == (25, 9025 / 4) and half.channel_shift.pixels == (-2, 2)
    assert view.resized(8).channel_shift is None  # a third of a pixel moves nothing
    assert view.resized(96) == view


def test_further_operations_that_need_colour():
    view = View(
        size=8,
        pca=PCAContrast(),
        hsv=HSVPowers(),
        projection=0.5,
        channel_shift=ChannelShift(),
        channel_drop=ChannelDrop(),
        posterise=Posterise(),
        noise=Noise(),
    )
    names = ["pca", "hsv", "projection", "channel_shift", "channel_drop"]
    assert view.needs_colour() == names
    plain = view.without_colour()
    assert plain == View(size=8, posterise=Posterise(), noise=Noise())


def test_dino_crops():
    views = dino_views()
    assert list(views)[:3] == ["global_0", "global_1", "local_0"] and len(views) == 10
    assert [v.size for v in views.values()] == [224] * 2 + [96] * 8
    assert (views["global_0"].blur.p, views["global_1"].blur.p) == (1.0, 0.1)
    assert views["global_1"].solarise == 0.2 and views["local_7"].blur_kernel == 9


def test_without_colour():
    view = byol_views(64)[1]
    assert view.needs_colour() == ["saturation", "hue", "grey"]
    plain = view.without_colour()
    assert plain.needs_colour() == []
    assert plain.jitter.brightness == 0.4 and plain.solarise == 0.2 and plain.blur == view.blur
    assert View(size=8).without_colour() == View(size=8)
    off = view.colour_off()
    assert off == ["jitter.saturation=0", "jitter.hue=0", "grey=0.0"]
    drop = View(size=8, channel_drop=ChannelDrop(), projection=0.5)
    assert drop.colour_off() == ["projection=0.0", "channel_drop=null"]
