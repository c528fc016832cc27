"""What can happen to a view: one frozen description per operation, off unless it is given.

Sizes in pixels are those of the view (of the tile, where there are tiles); angles are degrees,
colours lie in [0, 1]. A pair is a range, drawn from evenly unless it says otherwise.
"""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

Range = tuple[float, float]

Name = Literal[
    "jitter", "brightness", "contrast", "saturation", "hue", "grey", "blur", "solarise",
    "turns", "affine", "rotation", "translation", "scale", "shear", "shrink", "pca", "hsv",
    "invert", "posterise", "autocontrast", "equalise", "sharpness", "projection",
    "channel_shift", "channel_drop", "noise",
]  # fmt: skip
"""Operations, and the parts of two of them, that ``Choice`` and ``Tiles.once`` can name."""

NAMES: tuple[str, ...] = get_args(Name)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _check_range(name: str, pair: Range, low: float, high: float = float("inf")) -> None:
    if not low <= pair[0] <= pair[1] <= high:
        limit = f" <= {high:g}" if high != float("inf") else ""
        raise ValueError(f"{name} must be (min, max) with {low:g} <= min <= max{limit}")


class Crop(_Frozen):
    """Which region is resampled to the view's size.

    Kinds:
        ``random_resized``: area and log-uniform aspect, ten tries, then the centre (torchvision's
        RandomResizedCrop; Inception). ``clipped``: the same draw, once, cut to the picture (BYOL).
        ``center``: the central square of ``fraction`` of the short side. ``resize_random``: short
        side brought to ``resize``, then a random square (the probes of RotNet). ``pad_random``:
        zero padding by ``pad`` pixels, then a random square without resampling (CIFAR). ``whole``:
        all of the picture, squashed to a square (the frozen tasks of Goyal et al. 2019).
    """

    kind: Literal["random_resized", "clipped", "center", "resize_random", "pad_random", "whole"] = (
        "random_resized"
    )
    scale: Range = Field((0.08, 1.0), description="share of the area, min and max")
    ratio: Range = Field((3 / 4, 4 / 3), description="width / height, min and max")
    fraction: float = Field(0.875, gt=0, le=1, description="center: share of the short side")
    resize: int = Field(256, gt=0, description="resize_random: short side in pixels")
    pad: int = Field(4, ge=0, description="pad_random: pixels of zeros on each side")

    @model_validator(mode="after")
    def _ordered(self) -> Crop:
        for name in ("scale", "ratio"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} must be (min, max) with 0 < min <= max")
        if self.scale[1] > 1:
            raise ValueError("scale is a share of the area: at most 1")
        return self


class Affine(_Frozen):
    """Rotation, shear, scale and translation about the centre, bilinear (Exemplar-CNN, CPC v2).

    The order and the signs are torchvision's: positive angles turn clockwise. ``border``: "zero"
    and "reflect" know only the crop; "picture" looks at the picture around the crop, and mirrors
    only what lies outside of the picture (Exemplar: a border would give the class away).
    """

    p: float = Field(1.0, ge=0, le=1, description="probability")
    rotation: float = Field(0.0, ge=0, le=180, description="largest angle, either way")
    translation: float = Field(0.0, ge=0, le=1, description="largest share of the side, per axis")
    scale: Range = Field((1.0, 1.0), description="range of the magnification")
    shear: Range = Field((0.0, 0.0), description="largest angle along x and along y")
    border: Literal["zero", "reflect", "picture"] = "zero"

    @model_validator(mode="after")
    def _possible(self) -> Affine:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError("scale must be (min, max) with 0 < min <= max")
        if not all(0 <= s < 90 for s in self.shear):
            raise ValueError("shear must be two angles from 0 to below 90 degrees")
        return self


class Shrink(_Frozen):
    """Shrunk to fewer pixels and brought back (relative patches, section 3: against pixelation).

    Down antialiased, up bilinear; the side is the root of an even draw of the number of pixels.
    """

    p: float = Field(0.33, ge=0, le=1, description="probability")
    pixels: Range = Field((100.0, 9025.0), description="range of the number of pixels")

    @model_validator(mode="after")
    def _possible(self) -> Shrink:
        _check_range("pixels", self.pixels, 1)
        return self


class PCAContrast(_Frozen):
    """Stretches a picture's colours along their own principal components (Exemplar-CNN).

    About the mean colour; a factor for each of the three components, log-uniform: halving is as
    likely as doubling.
    """

    p: float = Field(1.0, ge=0, le=1, description="probability")
    factor: Range = (0.5, 2.0)

    @model_validator(mode="after")
    def _possible(self) -> PCAContrast:
        if not 0 < self.factor[0] <= self.factor[1]:
            raise ValueError("factor must be (min, max) with 0 < min <= max")
        return self


class HSVPowers(_Frozen):
    """Saturation and value each to a power, times a factor, plus a number (Exemplar-CNN).

    S and V have draws of their own, and are clipped; powers and factors are log-uniform, so that
    lighter is as likely as darker. The hue turns by a share of the circle.
    """

    p: float = Field(1.0, ge=0, le=1, description="probability")
    power: Range = (0.25, 4.0)
    factor: Range = (0.7, 1.4)
    add: Range = (-0.1, 0.1)
    hue: float = Field(0.1, ge=0, le=0.5, description="largest turn of the hue, either way")

    @model_validator(mode="after")
    def _possible(self) -> HSVPowers:
        for name in ("power", "factor"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} must be (min, max) with 0 < min <= max")
        _check_range("add", self.add, -1, 1)
        return self


class Jitter(_Frozen):
    """Brightness, contrast, saturation and hue, in a random order.

    Strengths s: factors are drawn from [max(0, 1 - s), 1 + s], the hue shift from [-s, s] (of a
    full turn). Additive brightness adds a number from [-s, s] instead (SimCLR v1, BYOL).
    """

    p: float = Field(0.8, ge=0, le=1, description="probability")
    brightness: float = Field(0.0, ge=0)
    contrast: float = Field(0.0, ge=0)
    saturation: float = Field(0.0, ge=0)
    hue: float = Field(0.0, ge=0, le=0.5)
    additive: bool = Field(False, description="brightness adds instead of multiplying")
    random_order: bool = Field(True, description="otherwise as listed above")


class Blur(_Frozen):
    """Gaussian blur, separable."""

    p: float = Field(0.5, ge=0, le=1, description="probability")
    sigma: Range = Field((0.1, 2.0), description="uniform range, in pixels")
    kernel: int | None = Field(
        None, ge=1, description="odd side in pixels; None: a tenth of the view, made odd"
    )
    border: Literal["reflect", "zero"] = "reflect"

    @model_validator(mode="after")
    def _possible(self) -> Blur:
        if not 0 < self.sigma[0] <= self.sigma[1]:
            raise ValueError("sigma must be (min, max) with 0 < min <= max")
        if self.kernel is not None and self.kernel % 2 == 0:
            raise ValueError(f"kernel={self.kernel}: its side is odd, so that it has a centre")
        return self


class Posterise(_Frozen):
    """Keeps the highest bits of each 8-bit value (AutoAugment; PIRL, CPC v2)."""

    p: float = Field(0.5, ge=0, le=1, description="probability")
    bits: tuple[int, int] = Field((4, 8), description="fewest and most bits kept, inclusive")

    @model_validator(mode="after")
    def _possible(self) -> Posterise:
        _check_range("bits", self.bits, 1, 8)
        return self


class Sharpness(_Frozen):
    """Away from (above 1) or towards (below 1) a 3 x 3 smoothed copy (AutoAugment; PIRL, CPC v2).

    Pixels of the border keep their value.
    """

    p: float = Field(0.5, ge=0, le=1, description="probability")
    factor: Range = (0.1, 1.9)

    @model_validator(mode="after")
    def _possible(self) -> Sharpness:
        _check_range("factor", self.factor, 0)
        return self


class ChannelShift(_Frozen):
    """Each channel moved by whole pixels of its own (Jigsaw: against chromatic aberration).

    Moved in space, along both axes; the border is repeated.
    """

    p: float = Field(1.0, ge=0, le=1, description="probability")
    pixels: tuple[int, int] = Field((-2, 2), description="least and largest move, inclusive")

    @model_validator(mode="after")
    def _possible(self) -> ChannelShift:
        _check_range("pixels", self.pixels, -1000, 1000)
        return self


class ChannelDrop(_Frozen):
    """Keeps one channel, drawn evenly; the two others become even noise about mid-grey.

    Relative patches (section 3: about a hundredth of the kept channel's spread; the released code
    takes +-0.5 grey levels) and CPC v2. The kept channel is untouched: taking the mean out is the
    method's, after the view.
    """

    p: float = Field(1.0, ge=0, le=1, description="probability")
    noise: float = Field(0.5 / 255, ge=0, le=0.5, description="half the width of the noise")


class Noise(_Frozen):
    """Gaussian noise added to every pixel and channel."""

    p: float = Field(0.5, ge=0, le=1, description="probability")
    sigma: Range = Field((0.0, 0.05), description="range of the standard deviation")

    @model_validator(mode="after")
    def _possible(self) -> Noise:
        _check_range("sigma", self.sigma, 0)
        return self


class Choice(_Frozen):
    """Ties operations together: all of them or none (PIRL), or a few of them (CPC v2).

    With probability ``p``, ``count`` of the operations, drawn evenly (None: all of them); the
    others do nothing. What is chosen still follows its own probability, and the fixed order.
    """

    p: float = Field(1.0, ge=0, le=1, description="probability")
    of: tuple[Name, ...] = Field(min_length=1, description="names of operations")
    count: int | None = Field(None, ge=1, description="how many at once; None: all")

    @model_validator(mode="after")
    def _possible(self) -> Choice:
        if self.count is not None and self.count > len(self.of):
            raise ValueError(f"count={self.count} of {len(self.of)} operations")
        if len(set(self.of)) < len(self.of):
            raise ValueError("an operation is named twice")
        return self


class Tiles(_Frozen):
    """A grid of tiles cut from the crop; each is changed by its own draws.

    With ``cell`` x ``cell`` pixels a cell and a tile at a uniform offset inside it, neighbours
    never touch (Jigsaw). Without jitter and ``stride`` below the tile side they overlap (CPC).
    """

    rows: int = Field(3, gt=0)
    columns: int = Field(3, gt=0)
    stride: int = Field(85, gt=0, description="distance of neighbouring cells in pixels")
    size: int = Field(64, gt=0, description="side of a tile in pixels")
    jitter: int = Field(21, ge=0, description="largest offset of a tile in its cell, inclusive")
    once: tuple[Name, ...] = Field(
        (), description="operations drawn once for all tiles (Jigsaw: grey)"
    )

    @property
    def side(self) -> tuple[int, int]:
        """Height and width the grid needs."""
        reach = self.size + self.jitter
        return (self.rows - 1) * self.stride + reach, (self.columns - 1) * self.stride + reach
