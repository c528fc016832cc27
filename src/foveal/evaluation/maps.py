"""Which maps of a network a protocol reads."""

from __future__ import annotations

from foveal.backbones.encoder import Encoder
from foveal.errors import FovealError


def named_maps(encoder: Encoder, end: str | None) -> list[str]:
    """The map of this name alone; None: all maps, in the network's order.

    Raises:
        FovealError: The network has no maps, or not this one.
    """
    maps = [e.name for e in encoder.ends if e.kind == "map"]
    if not maps:
        raise FovealError(
            "the network has no map that says what is where",
            hint="a convolutional network or ViT",
        )
    if end is not None and end not in maps:
        raise FovealError(f"the network has no map '{end}'", hint=f"its maps are {', '.join(maps)}")
    return maps if end is None else [end]
