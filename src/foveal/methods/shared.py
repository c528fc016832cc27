"""What parts of a combination get in place of trunks and batches of their own.

Legend: B images, C channels, H, W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from foveal.backbones.base import Backbone
from foveal.backbones.encoder import Encoder
from foveal.backbones.inputs import Channels, Lab, Normalise
from foveal.backbones.mix import mixed
from foveal.core.batch import StreamBatch
from foveal.core.colour import rgb_to_lightness
from foveal.errors import FovealError

WHITE = 100.0  # the lightness of white


class Repeated(Backbone):
    """A trunk that is given one channel and repeats it over those it reads."""

    def forward(self, x: Tensor, ends: Sequence[str] = ()) -> dict[str, Tensor]:
        """[B, 1, H, W] -> see ``Backbone``."""
        return super().forward(x.expand(-1, self.spec["in_chans"], -1, -1), ends)


@dataclass
class SharedMaker:
    """``BackboneMaker`` that makes nothing: every trunk it gives is the shared one.

    Attributes:
        part: Whom it is for.
        trunk: The shared trunk.
        mix: Whether the part reads its own mix of residual units.
        used: Whether the part has its trunk.
    """

    part: str
    trunk: Backbone
    mix: bool
    used: bool = False

    def __call__(self, in_chans: int | None = None, **changes: Any) -> Backbone:
        """See ``BackboneMaker``."""
        t = self.trunk
        wanted = {k: v for k, v in changes.items() if t.spec.get(k) != v}
        in_chans = in_chans or t.in_chans
        if self.used or wanted or in_chans not in (1, t.in_chans):
            reason = ", ".join(f"{k}={v}" for k, v in wanted.items()) or f"in_chans={in_chans}"
            reason = "several of them" if self.used else reason
            raise FovealError(
                f"{self.part} wants trunks of its own ({reason}) and cannot share one",
                hint=f"options.{self.part}.sobel=false if it is its Sobel channels; "
                f"or --method {self.part} alone",
            )
        self.used = True
        body, spec = t.body, t.spec
        if self.mix:
            body, spec = mixed(spec["name"], body, t.ends), {**spec, "mix": True}
        kind = Backbone if in_chans == t.in_chans else Repeated
        return kind(body, ends=t.ends, dim=t.dim, in_chans=in_chans, spec=spec)


def own_encoder(encoder: Encoder, *, lightness: bool) -> Encoder:
    """A part's encoder without anything that only exists while parts share a trunk.

    Args:
        encoder: The part's.
        lightness: Whether it was trained on lightness instead of colours.
    """
    before: list[nn.Module] = []
    if lightness:
        before = [Lab([0]), Normalise([0.0], [WHITE]), Channels([0] * encoder.channels)]
    trunks, inputs = [], []
    for trunk, layers in zip(encoder.trunks, encoder.inputs, strict=True):
        assert isinstance(trunk, Backbone) and isinstance(layers, nn.Sequential)
        after: list[nn.Module] = []
        if isinstance(trunk, Repeated):
            wide = trunk.spec["in_chans"]
            after = [Channels([0] * wide)]
            trunk = Backbone(
                trunk.body, ends=trunk.ends, dim=trunk.dim, in_chans=wide, spec=trunk.spec
            )
        trunks.append(trunk)
        inputs.append([*before, *layers.children(), *after])
    return Encoder(
        trunks,
        inputs,
        channels=encoder.channels,
        size=encoder.size,
        fraction=encoder.fraction,
        grid=encoder.grid,
    )


class LightnessBatch(StreamBatch):
    """A batch whose pictures show lightness in every channel, as colorization sees them."""

    @classmethod
    def of(cls, batch: StreamBatch) -> LightnessBatch:
        """The same batch without its colours."""
        return cls(**{f.name: getattr(batch, f.name) for f in fields(batch)})

    def images(self, view: str) -> Tensor:
        """See ``StreamBatch``: L of Lab, from 0 (black) to 1."""
        return lightness(super().images(view))


@torch.no_grad()
def lightness(images: Tensor) -> Tensor:
    """[..., 3, H, W] in [0, 1] -> L of Lab over 100 in every channel, the same shape."""
    flat = images.reshape(-1, *images.shape[-3:])
    grey = rgb_to_lightness(flat) / WHITE
    return grey.expand(-1, 3, -1, -1).reshape(images.shape)
