"""Fixed layers between a picture in [0, 1] and its trunk: normalisation, colour, Sobel, channels.

Each is an ``nn.Module`` without trained parameters that ``describe_input`` turns into plain values
and ``build_input`` makes again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.core.colour import grey_mean, rgb_to_lab, rgb_to_lightness


class Normalise(nn.Module):
    """``(x - mean) / std`` per channel.

    Args:
        mean, std: Of pixels in [0, 1].
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.arguments = {"mean": [float(m) for m in mean], "std": [float(s) for s in std]}
        self.register_buffer("mean", torch.tensor(self.arguments["mean"])[:, None, None], False)
        self.register_buffer("std", torch.tensor(self.arguments["std"])[:, None, None], False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        pixels = x.movedim(-3, -1)
        plain = x.device.type != "cpu" or torch.compiler.is_compiling()
        if plain or not pixels.is_contiguous():
            return (x - self.mean) / self.std
        # Channels last on a CPU: the same arithmetic over rows of W * C numbers is 2.5 times as
        # quick as over three at a time.
        width, channels = pixels.shape[-2:]
        mean, std = (v.flatten().expand(channels).repeat(width) for v in (self.mean, self.std))
        return ((pixels.flatten(-2) - mean) / std).view(pixels.shape).movedim(-1, -3)


class Standardise(nn.Module):
    """``gain * (x - mean) / std`` with the mean and spread of the picture or tile itself.

    Against low-level statistics that tell tiles of one picture from others: Jigsaw (section 3.3)
    per channel; Kolesnikov et al. 2019 over all channels at once; relative patches (2015) take the
    mean per channel, the spread over all, and ``gain=50``.

    Args:
        mean: ``channel``, or ``all``: one mean for all channels.
        std: Likewise. Of a population: divided by n.
        floor: Smallest std; None is 1 / sqrt(n), n being the values it is taken over. Where there
            is only rounding noise (less than a grey level) nothing should be made of it.
        gain: What the result is multiplied with.
    """

    def __init__(
        self,
        mean: Literal["channel", "all"] = "channel",
        std: Literal["channel", "all"] = "channel",
        floor: float | None = 1 / 255,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.arguments = {"mean": mean, "std": std, "floor": floor, "gain": gain}
        self.mean_axes = (2, 3) if mean == "channel" else (1, 2, 3)
        self.std_axes = (2, 3) if std == "channel" else (1, 2, 3)
        self.floor, self.gain = floor, gain

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]; tiles are pictures of their own."""
        centred = x - x.mean(self.mean_axes, keepdim=True)
        spread = centred.square().mean(self.std_axes, keepdim=True).sqrt()
        floor = self.floor
        if floor is None:
            floor = (spread.numel() / x.numel()) ** 0.5
        return centred * (self.gain / spread.clamp_min(floor))


class Sobel(nn.Module):
    """Grey by the plain mean of the channels, then horizontal and vertical Sobel responses.

    DeepCluster's fixed first layers (section 4.1 and its released network): zero padding, kernels
    as cross-correlations, no bias.

    Args:
        padding: Pixels of zeros on each side: 1 keeps the size; DeeperCluster's released network
            has 2, which makes the picture 2 pixels larger.
    """

    kernels: Tensor

    def __init__(self, padding: int = 1) -> None:
        super().__init__()
        self.arguments: dict[str, Any] = {"padding": padding}
        x = [[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]]
        y = [[1.0, 2.0, 1.0], [0.0, 0.0, 0.0], [-1.0, -2.0, -1.0]]
        self.register_buffer("kernels", torch.tensor([[x], [y]]), False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, 2, H, W] at padding 1."""
        grey = grey_mean(x)
        return F.conv2d(grey, self.kernels.to(x.dtype), padding=self.arguments["padding"])


class Channels(nn.Module):
    """Some channels of the picture.

    Args:
        rows: Which, in order.
    """

    def __init__(self, rows: Sequence[int]) -> None:
        super().__init__()
        self.arguments = {"rows": [int(r) for r in rows]}

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, len(rows), H, W]."""
        return x[:, self.arguments["rows"]]


class Lab(nn.Module):
    """RGB to some channels of CIE Lab, in Lab's own units (``foveal.core.colour``).

    Args:
        rows: Which of L (0), a (1) and b (2), in order.
    """

    def __init__(self, rows: Sequence[int] = (0, 1, 2)) -> None:
        super().__init__()
        self.arguments = {"rows": [int(r) for r in rows]}

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, len(rows), H, W]."""
        rows = self.arguments["rows"]
        return rgb_to_lightness(x) if rows == [0] else rgb_to_lab(x)[:, rows]


class Grey(nn.Module):
    """The plain mean of the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.arguments: dict[str, Any] = {}

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, 1, H, W]."""
        return grey_mean(x)


_INPUTS = {
    "normalise": Normalise,
    "standardise": Standardise,
    "sobel": Sobel,
    "channels": Channels,
    "lab": Lab,
    "grey": Grey,
}


def describe_input(layer: nn.Module) -> dict[str, Any]:
    """``{"layer": name, **arguments}``."""
    name = next(name for name, kind in _INPUTS.items() if type(layer) is kind)
    return {"layer": name, **layer.arguments}  # type: ignore[dict-item]


def build_input(about: dict[str, Any]) -> nn.Module:
    """The layer a description stands for."""
    arguments = {name: value for name, value in about.items() if name != "layer"}
    layer: nn.Module = _INPUTS[about["layer"]](**arguments)
    return layer
