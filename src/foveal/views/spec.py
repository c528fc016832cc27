"""What a view of a picture is: a frozen description, part of the recipe.

Sampling (``table``) turns it into numbers, applying (``make``) turns pixels and numbers into a
view. The order of operations is fixed:

    crop and resize, mirror | affine, quarter turns, shrink and back | PCA contrast, HSV powers |
    jitter in sampled order, grey, blur, solarise (BYOL's order) | invert, posterise, autocontrast,
    equalise, sharpness | projection, channel shift, channel drop, noise

Values are clipped to [0, 1] after each and rounded once, at the end. With tiles, crop and mirror
happen to the whole; everything from the mirror on happens to each tile by its own draws.
"""

from __future__ import annotations

import json
from typing import Literal

from pydantic import Field, field_validator, model_validator

from foveal.views.operations import (
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
    Range,
    Sharpness,
    Shrink,
    Tiles,
    _Frozen,
)

__all__ = [
    "Affine", "Blur", "ChannelDrop", "ChannelShift", "Choice", "Crop", "HSVPowers", "Jitter",
    "Noise", "PCAContrast", "Posterise", "Sharpness", "Shrink", "Tiles", "View",
]  # fmt: skip

_COLOUR = ("grey", "pca", "hsv", "projection", "channel_shift", "channel_drop")


class View(_Frozen):
    """One view of a picture: a square of ``size`` pixels, or the tiles cut from it."""

    size: int = Field(gt=0, description="output side in pixels")
    crop: Crop = Crop()
    interpolation: Literal["bilinear", "bicubic"] = Field(
        "bilinear", description="always antialiased"
    )
    flip: float = Field(0.5, ge=0, le=1, description="probability of mirroring")
    jitter: Jitter | None = None
    grey: float = Field(0.0, ge=0, le=1, description="probability of dropping colour")
    grey_kind: Literal["bt601", "mean"] = "bt601"
    blur: Blur | None = None
    solarise: float = Field(0.0, ge=0, le=1, description="probability")
    threshold: float | Range = Field(
        0.5, description="solarise: x >= threshold becomes 1 - x; a pair is a range (PIRL)"
    )
    affine: Affine | None = None
    turns: tuple[int, ...] = Field(
        (0,), min_length=1, max_length=16, description="quarter turns anticlockwise, drawn evenly"
    )
    shrink: Shrink | None = None
    pca: PCAContrast | None = None
    hsv: HSVPowers | None = None
    invert: float = Field(0.0, ge=0, le=1, description="probability of the negative")
    posterise: Posterise | None = None
    autocontrast: float = Field(
        0.0, ge=0, le=1, description="probability of stretching each channel to [0, 1]"
    )
    equalise: float = Field(
        0.0, ge=0, le=1, description="probability of flattening each channel's histogram"
    )
    sharpness: Sharpness | None = None
    projection: float = Field(
        0.0, ge=0, le=1, description="probability of removing green-magenta (relative patches)"
    )
    channel_shift: ChannelShift | None = None
    channel_drop: ChannelDrop | None = None
    noise: Noise | None = None
    choice: Choice | None = None
    like: str | None = Field(None, description="use the draws of another view of the stream")
    tiles: Tiles | None = None

    @field_validator("threshold")
    @classmethod
    def _threshold_inside(cls, value: float | Range) -> float | Range:
        low, high = value if isinstance(value, tuple) else (value, value)
        if not 0 <= low <= high <= 1:
            raise ValueError("threshold lies in [0, 1], and a range is (min, max)")
        return value

    @field_validator("turns")
    @classmethod
    def _quarters(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not set(value) <= {0, 1, 2, 3}:
            raise ValueError("turns are some of 0, 1, 2, 3")
        return value

    @model_validator(mode="after")
    def _tiles_fit(self) -> View:
        if self.tiles is None:
            return self
        if max(self.tiles.side) > self.size:
            raise ValueError(
                f"tiles need {max(self.tiles.side)} pixels and size is {self.size}: raise size, or "
                "lower tiles.stride, tiles.size or tiles.jitter"
            )
        if self.affine is not None and self.affine.border == "picture":
            raise ValueError("tiles see nothing around them: affine.border='reflect' or 'zero'")
        return self

    @property
    def parts(self) -> int:
        """Rows of the table: one for the picture, one more for every tile."""
        return 1 if self.tiles is None else 1 + self.tiles.rows * self.tiles.columns

    def shape(self, channels: int) -> tuple[int, ...]:
        """Shape of the pixels: (H, W, C), or (T, h, w, C) with tiles."""
        if self.tiles is None:
            return (self.size, self.size, channels)
        return (self.parts - 1, self.tiles.size, self.tiles.size, channels)

    @property
    def side(self) -> int:
        """Side of what comes out, in pixels: of the view, or of a tile."""
        return self.size if self.tiles is None else self.tiles.size

    @property
    def blur_kernel(self) -> int:
        """Odd side of the blur kernel in pixels: 23 for 224 (SimCLR: a tenth of the height)."""
        if self.blur is None:
            return 1
        if self.blur.kernel is not None:
            return self.blur.kernel
        return (self.side // 10) | 1

    @property
    def sees_around(self) -> bool:
        """Whether it reads the picture outside of the region it was given."""
        return self.affine is not None and self.affine.border == "picture"

    def needs_colour(self) -> list[str]:
        """The operations of this view that need three channels."""
        needs = []
        if self.jitter is not None and self.jitter.saturation > 0:
            needs.append("saturation")
        if self.jitter is not None and self.jitter.hue > 0:
            needs.append("hue")
        return needs + [name for name in _COLOUR if getattr(self, name)]

    def colour_off(self) -> list[str]:
        """``key=value`` for every operation of ``needs_colour`` that switches it off."""
        found = []
        for name in self.needs_colour():
            if name in ("saturation", "hue"):
                found.append(f"jitter.{name}=0")
            else:
                found.append(f"{name}={json.dumps(View.model_fields[name].default)}")
        return found

    def without_colour(self) -> View:
        """The same view with the operations that need three channels switched off."""
        jitter = self.jitter and self.jitter.model_copy(update={"saturation": 0.0, "hue": 0.0})
        off = {name: View.model_fields[name].default for name in _COLOUR}
        return self.model_copy(update={"jitter": jitter, **off})

    def resized(self, size: int) -> View:
        """The same view with another output side; what is counted in pixels keeps its proportions.

        A blur kernel below 3 pixels and a channel shift below one pixel do nothing: they are
        dropped there, the blur as SimCLR does on CIFAR.
        """
        changes: dict[str, object] = {"size": size}
        ratio = size / self.size
        if self.crop.kind == "resize_random":
            resize = max(size, round(self.crop.resize * ratio))
            changes["crop"] = self.crop.model_copy(update={"resize": resize})
        if self.crop.kind == "pad_random":
            changes["crop"] = self.crop.model_copy(update={"pad": round(self.crop.pad * ratio)})
        if self.tiles is not None:
            t = self.tiles
            changes["tiles"] = t.model_copy(
                update={
                    "stride": max(1, int(t.stride * ratio)),
                    "size": max(1, int(t.size * ratio)),
                    "jitter": int(t.jitter * ratio),
                }
            )
        if self.channel_shift is not None:
            low, high = (round(v * ratio) for v in self.channel_shift.pixels)
            changes["channel_shift"] = (
                self.channel_shift.model_copy(update={"pixels": (low, high)})
                if (low, high) != (0, 0)
                else None
            )
        if self.shrink is not None:
            few, many = (max(1.0, v * ratio**2) for v in self.shrink.pixels)
            changes["shrink"] = self.shrink.model_copy(update={"pixels": (few, many)})
        view = self.model_copy(update=changes)
        if view.blur is not None and view.blur_kernel < 3:
            view = view.model_copy(update={"blur": None})
        return View.model_validate(view.model_dump())
