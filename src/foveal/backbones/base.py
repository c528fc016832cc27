"""What a trunk is: images in, named end points and one pooled vector out.

Legend: B images, C channels, H, W pixels, N tokens, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from torch import Tensor, nn

from foveal.errors import FovealError


@dataclass(frozen=True)
class End:
    """One end point.

    Attributes:
        name: ``conv1``, ``stage2``, ``block11``, ...
        channels: Features per cell, token or picture.
        stride: Input pixels per cell along one side; 0 for a vector.
        kind: ``map`` [B, C, h, w], ``tokens`` [B, N, C] or ``vector`` [B, C].
    """

    name: str
    channels: int
    stride: int
    kind: Literal["map", "tokens", "vector"] = "map"


@dataclass(frozen=True)
class LastStage:
    """The end of a network, for those who run it on regions of a map by themselves (detection).

    Attributes:
        reads: The end point whose map it takes.
        layers: [R, C, h, w] -> vectors [R, D]; the network's own layers, not copies.
        cells: Side of the map it needs; None: any.
    """

    reads: str
    layers: nn.Module
    cells: int | None = None


class Body(Protocol):
    """The network inside a ``Backbone``: an ``nn.Module`` of any make."""

    def __call__(self, x: Tensor, ends: tuple[str, ...]) -> dict[str, Tensor]:
        """[B, C, H, W] -> the asked end points, and ``pooled`` [B, D]."""
        ...


class Backbone(nn.Module):
    """A trunk.

    Args:
        body: The network.
        ends: Its end points in order.
        dim: Features of ``pooled``.
        in_chans: Channels of its input.
        spec: The arguments of ``build_backbone`` that make this network again, plain values.
    """

    def __init__(
        self, body: nn.Module, *, ends: Sequence[End], dim: int, in_chans: int, spec: dict[str, Any]
    ) -> None:
        super().__init__()
        self.body = body
        self.ends = tuple(ends)
        self.dim = dim
        self.in_chans = in_chans
        self.spec = dict(spec)

    def forward(self, x: Tensor, ends: Sequence[str] = ()) -> dict[str, Tensor]:
        """Normalised images [B, C, H, W] -> the asked end points and ``pooled`` [B, D].

        Everything carries gradient.
        """
        known = {end.name for end in self.ends}
        if not known.issuperset(ends):
            unknown = ", ".join(sorted(set(ends) - known))
            raise FovealError(
                f"{self.spec['name']} has no end point {unknown}",
                hint=f"its end points are {', '.join(end.name for end in self.ends)}",
            )
        found: dict[str, Tensor] = self.body(x, tuple(ends))
        return found

    def until(self, x: Tensor, ends: Sequence[str]) -> dict[str, Tensor]:
        """The asked end points alone, without ``pooled``.

        The network runs no further than they need, where it can stop: layers behind them put no
        condition on the size of the pictures.
        """
        body: Any = self.body
        if hasattr(body, "until"):
            found: dict[str, Tensor] = body.until(x, tuple(ends))
            return found
        found = self(x, ends)
        return {name: found[name] for name in ends}

    def last_stage(self) -> LastStage | None:
        """What is behind the last map but one, or the fully connected layers; None: not apart."""
        body: Any = self.body
        if not hasattr(body, "last_stage"):
            return None
        found: LastStage | None = body.last_stage()
        return found

    def maps(self) -> list[End]:
        """The end points that are maps, in the network's order.

        Raises:
            FovealError: There is none.
        """
        found = [end for end in self.ends if end.kind == "map"]
        if not found:
            raise FovealError(
                f"{self.spec['name']} has no maps to read", hint="a convolutional --backbone"
            )
        return found

    def for_pictures(self) -> Backbone:
        """The same weights for whole pictures; itself, unless it reads tiles of one size only."""
        if not hasattr(self.body, "for_pictures"):
            return self
        body: Any = self.body
        whole: Backbone = body.for_pictures(self)
        return whole

    def tokens(
        self,
        x: Tensor,
        keep: Tensor | None = None,
        mask: Tensor | None = None,
        mask_token: Tensor | None = None,
    ) -> Tensor:
        """Tokens of the last block of a vision transformer, [B, N, D], prefix tokens first.

        Args:
            x: Normalised images; any size the patch divides.
            keep: int64 [B, K]: patches that are kept before the blocks (MAE, I-JEPA).
            mask: bool [B, P]: patches replaced by ``mask_token`` (iBOT, SimMIM).
            mask_token: [D].

        Raises:
            FovealError: This trunk has no tokens.
        """
        if not hasattr(self.body, "tokens"):
            raise FovealError(
                f"{self.spec['name']} has no tokens to mask", hint="a ViT, e.g. --backbone vit_tiny"
            )
        body: Any = self.body
        found: Tensor = body.tokens(x, keep, mask, mask_token)
        return found
