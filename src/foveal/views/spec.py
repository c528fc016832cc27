"""What a view of a picture is: a frozen description, part of the recipe.

Sampling (``table``) turns it into numbers, applying (``kernels``) turns pixels and numbers into a
view. The order of operations is that of BYOL's table: crop and resize, flip, colour jitter in
sampled order, grey, blur, solarise; values are clipped to [0, 1] after each.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Crop(_Frozen):
    """Which region is resampled to the view's size.

    Kinds:
        ``random_resized``: area and log-uniform aspect, ten tries, then the centre (torchvision's
        RandomResizedCrop; Inception). ``clipped``: the same draw, once, cut to the picture (BYOL).
        ``center``: the central square of ``fraction`` of the short side. ``resize_random``: short
        side brought to ``resize``, then a random square (the probes of RotNet). ``pad_random``:
        zero padding by ``pad`` pixels, then a random square without resampling (CIFAR).
    """

    kind: Literal["random_resized", "clipped", "center", "resize_random", "pad_random"] = (
        "random_resized"
    )
    scale: tuple[float, float] = Field((0.08, 1.0), description="share of the area, min and max")
    ratio: tuple[float, float] = Field((3 / 4, 4 / 3), description="width / height, min and max")
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
    sigma: tuple[float, float] = Field((0.1, 2.0), description="uniform range, in pixels")
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


class Tiles(_Frozen):
    """A grid of tiles cut from the crop; each is coloured by its own draws.

    With ``cell`` x ``cell`` pixels a cell and a tile at a uniform offset inside it, neighbours
    never touch (Jigsaw). Without jitter and ``stride`` below the tile side they overlap (CPC).
    """

    rows: int = Field(3, gt=0)
    columns: int = Field(3, gt=0)
    stride: int = Field(85, gt=0, description="distance of neighbouring cells in pixels")
    size: int = Field(64, gt=0, description="side of a tile in pixels")
    jitter: int = Field(21, ge=0, description="largest offset of a tile in its cell, inclusive")

    @property
    def side(self) -> tuple[int, int]:
        """Height and width the grid needs."""
        reach = self.size + self.jitter
        return (self.rows - 1) * self.stride + reach, (self.columns - 1) * self.stride + reach


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
    threshold: float = Field(0.5, ge=0, le=1, description="solarise: x >= threshold becomes 1 - x")
    like: str | None = Field(None, description="use the draws of another view of the stream")
    tiles: Tiles | None = None

    @model_validator(mode="after")
    def _tiles_fit(self) -> View:
        if self.tiles is not None and max(self.tiles.side) > self.size:
            raise ValueError(
                f"tiles need {max(self.tiles.side)} pixels and size is {self.size}: raise size, or "
                "lower tiles.stride, tiles.size or tiles.jitter"
            )
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
    def blur_kernel(self) -> int:
        """Odd side of the blur kernel in pixels: 23 for 224 (SimCLR: a tenth of the height)."""
        if self.blur is None:
            return 1
        if self.blur.kernel is not None:
            return self.blur.kernel
        side = self.size if self.tiles is None else self.tiles.size
        return (side // 10) | 1

    def needs_colour(self) -> list[str]:
        """The operations of this view that need three channels."""
        needs = []
        if self.jitter is not None and self.jitter.saturation > 0:
            needs.append("saturation")
        if self.jitter is not None and self.jitter.hue > 0:
            needs.append("hue")
        if self.grey > 0:
            needs.append("grey")
        return needs

    def without_colour(self) -> View:
        """The same view with the operations that need three channels switched off."""
        jitter = self.jitter and self.jitter.model_copy(update={"saturation": 0.0, "hue": 0.0})
        return self.model_copy(update={"jitter": jitter, "grey": 0.0})

    def resized(self, size: int) -> View:
        """The same view with another output side; tiles, padding and kernel keep their proportions.

        A kernel below 3 pixels blurs nothing: blur is dropped there, as SimCLR does on CIFAR.
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
        view = self.model_copy(update=changes)
        if view.blur is not None and view.blur_kernel < 3:
            view = view.model_copy(update={"blur": None})
        return View.model_validate(view.model_dump())
