"""Whether an encoder is one network that other libraries make themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from foveal.backbones.encoder import Encoder
from foveal.backbones.inputs import Normalise
from foveal.errors import FovealError

# Before the names of timm's own state dict in an encoder's.
PREFIX = "trunks.0.body.net."


@dataclass(frozen=True)
class PlainNetwork:
    """One unmodified timm network on whole pictures behind a normalisation.

    Attributes:
        name: Timm's.
        arguments: Of ``timm.create_model``.
        mean, std: Per channel, of pixels in [0, 1].
    """

    name: str
    arguments: dict[str, Any]
    mean: list[float]
    std: list[float]


def plain_network(encoder: Encoder, library: str) -> PlainNetwork:
    """The network of an encoder that is nothing else.

    Raises:
        FovealError: It is more, or other, than that; ``library`` cannot build it.
    """
    from foveal.backbones import timm_bridge

    spec = None
    if len(encoder.trunks) == 1 and encoder.grid == 1:
        spec = timm_bridge.timm_spec(encoder.describe()["trunks"][0])
    layers = list(encoder.inputs[0].children())
    if spec is None or len(layers) != 1 or not isinstance(layers[0], Normalise):
        raise FovealError(
            "this encoder is not one unmodified timm network on whole pictures behind a "
            f"normalisation, so {library} cannot build it",
            hint="--format torch",
        )
    values = layers[0].arguments
    mean, std = (_per_channel(values[k], encoder.channels) for k in ("mean", "std"))
    return PlainNetwork(*spec, mean, std)


def _per_channel(values: list[float], channels: int) -> list[float]:
    return values * channels if len(values) == 1 else values
