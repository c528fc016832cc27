"""The views of the papers, as their input pipelines say."""

from __future__ import annotations

from typing import Literal

from foveal.views.spec import (
    Affine,
    Blur,
    ChannelDrop,
    ChannelShift,
    Choice,
    Crop,
    HSVPowers,
    Jitter,
    PCAContrast,
    Posterise,
    Sharpness,
    Shrink,
    Tiles,
    View,
)


def center_view(
    size: int,
    fraction: float = 0.875,
    interpolation: Literal["bilinear", "bicubic"] = "bicubic",
) -> View:
    """The deterministic test view: the central square of ``fraction`` of the short side."""
    return View(
        size=size,
        crop=Crop(kind="center", fraction=fraction),
        interpolation=interpolation,
        flip=0.0,
    )


def whole_view(size: int) -> View:
    """All of a picture at ``size`` x ``size``, its aspect not kept (Goyal et al., section 3)."""
    return View(size=size, crop=Crop(kind="whole"), interpolation="bicubic", flip=0.0)


def simclr_view(size: int = 224, *, strength: float = 1.0, blur: bool = True) -> View:
    """SimCLR (section 3, appendix A): crop, mirror, jitter p=.8, grey p=.2, blur p=.5.

    Strength 1 on ImageNet, 0.5 and no blur on CIFAR. Brightness multiplies (v2 of the code); the
    paper's v1 adds: ``jitter.additive``.
    """
    s = strength
    return View(
        size=size,
        interpolation="bicubic",
        jitter=Jitter(p=0.8, brightness=0.8 * s, contrast=0.8 * s, saturation=0.8 * s, hue=0.2 * s),
        grey=0.2,
        blur=Blur(p=0.5, border="zero") if blur else None,
    )


def byol_views(size: int = 224) -> tuple[View, View]:
    """BYOL (appendix B): the two asymmetric views T (blurred) and T' (sometimes solarised)."""
    first = View(
        size=size,
        crop=Crop(kind="clipped"),
        interpolation="bicubic",
        jitter=Jitter(p=0.8, brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, additive=True),
        grey=0.2,
        blur=Blur(p=1.0),
    )
    second = first.model_copy(update={"blur": Blur(p=0.1), "solarise": 0.2})
    return first, second


def npid_view(size: int = 224) -> View:
    """NPID (released code): crops of a fifth or more, jitter always, grey p=.2, no blur."""
    return View(
        size=size,
        crop=Crop(scale=(0.2, 1.0)),
        jitter=Jitter(p=1.0, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.4),
        grey=0.2,
    )


def sela_view(size: int = 224) -> View:
    """SeLa (released code, ImageNet): any crop, jitter always, grey p=.2."""
    return npid_view(size).model_copy(update={"crop": Crop()})


def pirl_views(size: int = 224) -> tuple[View, View]:
    """PIRL (released pipeline): a crop, and 3 x 3 tiles of 64 px of another, larger one.

    Each of the ten pictures has colours of its own: jitter always, with p=.66 posterise, sharpness,
    solarise and autocontrast together, grey p=.2, mirror.
    """
    picture = View(
        size=size,
        jitter=Jitter(p=1.0, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2),
        grey=0.2,
        solarise=1.0,
        threshold=(0.0, 1.0),
        posterise=Posterise(p=1.0),
        autocontrast=1.0,
        sharpness=Sharpness(p=1.0),
        choice=Choice(p=0.66, of=("posterise", "sharpness", "solarise", "autocontrast")),
    )
    tiles = picture.model_copy(
        update={
            "size": 255,
            "crop": Crop(scale=(0.6, 1.0)),
            "tiles": Tiles(stride=85, size=64, jitter=20),
        }
    )
    return picture, View.model_validate(tiles.model_dump())


def dino_views(size: int = 224, small: int = 96, locals_: int = 8) -> dict[str, View]:
    """DINO's multi-crop: two large views of 40-100 % of the picture, some small ones of 5-40 %.

    Named ``global_0``, ``global_1``, ``local_0``, ...; one decode serves them all. Blur and
    solarise are BYOL's on the large ones, blur p=.5 on the small ones; brightness multiplies.
    SwAV's crops: ``crop`` and ``jitter`` of these changed.
    """
    jitter = Jitter(p=0.8, brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)
    base = View(
        size=size, crop=Crop(scale=(0.4, 1.0)), interpolation="bicubic", jitter=jitter, grey=0.2
    )
    local = base.model_copy(
        update={"size": small, "crop": Crop(scale=(0.05, 0.4)), "blur": Blur(p=0.5)}
    )
    return {
        "global_0": base.model_copy(update={"blur": Blur(p=1.0)}),
        "global_1": base.model_copy(update={"blur": Blur(p=0.1), "solarise": 0.2}),
        **{f"local_{i}": local for i in range(locals_)},
    }


def plain_view(size: int = 224) -> View:
    """Random area crop and mirror: RotNet (ImageNet), DeepCluster, most probes."""
    return View(size=size)


def padded_view(size: int = 32, pad: int = 4) -> View:
    """Zero padding, random crop, mirror: RotNet on CIFAR."""
    return View(size=size, crop=Crop(kind="pad_random", pad=pad))


def jigsaw_view() -> View:
    """Jigsaw (section 3 and the released pipeline): 3 x 3 tiles of 64 px in cells of 85 px.

    The centre of the picture, gaps of 0 to 42 px, 30 % of the puzzles grey, in each tile every
    channel moved by up to 2 px, no mirror.
    """
    return View(
        size=255,
        crop=Crop(kind="center", fraction=255 / 256),
        flip=0.0,
        grey=0.3,
        grey_kind="mean",
        channel_shift=ChannelShift(pixels=(-2, 2)),
        tiles=Tiles(stride=85, size=64, jitter=21, once=("grey",)),
    )


def context_view() -> View:
    """Relative patches (section 3 and the first author's refactored code): 96 px, gap 48, jitter 7.

    The grid spans 398 px of a picture that was brought to 150,000 to 450,000 pixels: a square of
    about a third to all of its area. One channel is kept, the same in all patches of a picture;
    the others become noise. A third of the patches is shrunk and brought back.
    """
    return View(
        size=398,
        crop=Crop(scale=(0.35, 1.0), ratio=(1.0, 1.0)),
        flip=0.0,
        shrink=Shrink(p=0.33, pixels=(100, 9025)),
        channel_drop=ChannelDrop(),
        tiles=Tiles(stride=144, size=96, jitter=14, once=("channel_drop",)),
    )


def cpc_view(size: int = 260) -> View:
    """CPC v2 (section 3.2): 6 x 6 patches of 80 px, 36 px apart, each changed by its own draws.

    Two of AutoAugment's operations at its usual ranges, Inception's colours p=.8, grey p=.25, no
    mirror. Elastic deformation, sample pairing and cutout are left out.
    """
    patches = Tiles(rows=6, columns=6, stride=36, size=80, jitter=0)
    view = View(
        size=260,
        crop=Crop(kind="resize_random", resize=300),
        flip=0.0,
        affine=Affine(rotation=30.0, translation=1 / 3, shear=(16.7, 16.7), border="reflect"),
        jitter=Jitter(
            p=0.8, brightness=32 / 255, contrast=0.5, saturation=0.5, hue=0.2, additive=True
        ),
        grey=0.25,
        solarise=1.0,
        threshold=(0.0, 1.0),
        invert=1.0,
        posterise=Posterise(p=1.0),
        autocontrast=1.0,
        equalise=1.0,
        sharpness=Sharpness(p=1.0),
        choice=Choice(
            count=2,
            of=("rotation", "translation", "shear", "solarise", "invert", "posterise",
                "autocontrast", "equalise", "sharpness"),
        ),
        tiles=patches,
    )  # fmt: skip
    return view if size == view.size else view.resized(size)


def inception_view(size: int = 224, *, grey: float = 0.0) -> View:
    """Inception's training view: area and aspect, mirror, strong colour in a random order.

    Kolesnikov et al. 2019 (section 3 and the released pipelines), with ``grey`` 0.66 for exemplar.
    """
    return View(
        size=size,
        jitter=Jitter(
            p=1.0, brightness=32 / 255, contrast=0.5, saturation=0.5, hue=0.2, additive=True
        ),
        grey=grey,
    )


def exemplar_view(size: int = 32, *, strength: float = 1.0) -> View:
    """Exemplar-CNN (section 3.1): warp, contrast along principal components, powers of S and V.

    Of a seed patch, with the picture around it in sight; no mirror, and no blur (Blur is added in
    the network for matching).

    Args:
        size: Side of the patch in pixels.
        strength: 1 is the paper's ranges, 0 changes no colour: for pictures whose colour is the
            class.
    """
    s = strength
    return View(
        size=size,
        crop=Crop(kind="center", fraction=1.0),
        flip=0.0,
        affine=Affine(rotation=20.0, translation=0.2, scale=(0.7, 1.4), border="picture"),
        pca=PCAContrast(factor=(0.5**s, 2.0**s)),
        hsv=HSVPowers(
            power=(0.25**s, 4.0**s), factor=(0.7**s, 1.4**s), add=(-0.1 * s, 0.1 * s), hue=0.1 * s
        ),
    )
