"""Colour spaces as batched tensor functions on any device, with gradient.

sRGB and its matrix are IEC 61966-2-1's, Lab is CIE 1976 under D65 with the 2-degree observer (the
numbers of scikit-image). Sums of products are written out: a matrix product would be rounded to
bfloat16 under autocast.

Shapes: colours are [..., 3, H, W], RGB in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
_FROM_XYZ = np.linalg.inv(np.array(_TO_XYZ)).tolist()
_WHITE = (0.95047, 1.0, 1.08883)
_EPSILON, _KAPPA = 0.008856, 7.787  # where Lab's cube root turns into a line, and its slope


def srgb_to_linear(x: Tensor) -> Tensor:
    """Takes sRGB's gamma off, value by value."""
    return torch.where(x > 0.04045, ((x + 0.055) / 1.055).clamp_min(1e-6) ** 2.4, x / 12.92)


def linear_to_srgb(x: Tensor) -> Tensor:
    """Puts sRGB's gamma on; values below 0 stay on the straight part."""
    return torch.where(x > 0.0031308, 1.055 * x.clamp_min(1e-6) ** (1 / 2.4) - 0.055, 12.92 * x)


def rgb_to_xyz(x: Tensor) -> Tensor:
    """Turns sRGB [..., 3, H, W] into CIE XYZ [..., 3, H, W], white has Y = 1."""
    return _mix(srgb_to_linear(x), _TO_XYZ)


def xyz_to_rgb(x: Tensor) -> Tensor:
    """CIE XYZ -> sRGB; what no screen can show lies outside of [0, 1]."""
    return linear_to_srgb(_mix(x, _FROM_XYZ))


def rgb_to_lab(x: Tensor) -> Tensor:
    """Turns sRGB [..., 3, H, W] into L in [0, 100], a about -86 to 98, b about -108 to 94."""
    fx, fy, fz = (_lab_curve(v / w) for v, w in zip(rgb_to_xyz(x).unbind(-3), _WHITE, strict=True))
    return torch.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], dim=-3)


def rgb_to_lightness(x: Tensor) -> Tensor:
    """The L of Lab alone, [..., 1, H, W]: a third of the work."""
    r, g, b = srgb_to_linear(x).unbind(-3)
    kr, kg, kb = _TO_XYZ[1]
    return (116 * _lab_curve(kr * r + kg * g + kb * b) - 16).unsqueeze(-3)


def lab_to_rgb(x: Tensor) -> Tensor:
    """Lab -> sRGB; what no screen can show lies outside of [0, 1]."""
    lightness, a, b = x.unbind(-3)
    fy = (lightness + 16) / 116
    scaled = [
        w * _lab_curve_inverse(f) for w, f in zip(_WHITE, (fy + a / 500, fy, fy - b / 200),
                                                  strict=True)
    ]  # fmt: skip
    return xyz_to_rgb(torch.stack(scaled, dim=-3))


def grey_mean(x: Tensor) -> Tensor:
    """The plain mean of the channels, [..., 1, H, W] (Larsson et al.'s intensity)."""
    return x.mean(-3, keepdim=True)


def hue_chroma(x: Tensor) -> tuple[Tensor, Tensor]:
    """Hue in [0, 1) and chroma in [0, 1] of RGB, each [..., H, W].

    Hue is HSV's, 0 where there is none; chroma is the largest minus the smallest channel (Larsson
    et al. 2016, section 3.2).
    """
    r, g, b = x.unbind(-3)
    top = x.amax(-3)
    chroma = top - x.amin(-3)
    c = torch.where(chroma > 0, chroma, torch.ones_like(chroma))
    sixth = torch.where(
        top == r, ((g - b) / c) % 6, torch.where(top == g, (b - r) / c + 2, (r - g) / c + 4)
    )
    hue = torch.where(chroma > 0, sixth / 6, torch.zeros_like(sixth))
    # The remainder of a tiny negative number is rounded up to the whole turn.
    return torch.where(hue >= 1, torch.zeros_like(hue), hue), chroma


def from_hue_chroma(grey: Tensor, hue: Tensor, chroma: Tensor) -> Tensor:
    """The RGB [..., 3, H, W] of this hue and chroma whose channels have the mean ``grey``.

    All arguments [..., H, W]. What no screen can show lies outside of [0, 1].
    """
    shift = torch.tensor([0.0, 2 / 3, 1 / 3], dtype=hue.dtype, device=hue.device)
    turn = (hue.unsqueeze(-3) + shift[:, None, None]) % 1
    # Each channel is a trapezium over the turn: full within a sixth of its own hue.
    pure = ((turn * 6 - 3).abs() - 1).clamp(0, 1)
    coloured = pure * chroma.unsqueeze(-3)
    return coloured + grey.unsqueeze(-3) - coloured.mean(-3, keepdim=True)


def _mix(x: Tensor, rows: Sequence[Sequence[float]]) -> Tensor:
    p, q, r = x.unbind(-3)
    return torch.stack([k[0] * p + k[1] * q + k[2] * r for k in rows], dim=-3)


def _lab_curve(t: Tensor) -> Tensor:
    return torch.where(t > _EPSILON, t.clamp_min(1e-6) ** (1 / 3), _KAPPA * t + 16 / 116)


def _lab_curve_inverse(f: Tensor) -> Tensor:
    return torch.where(f > 0.2068966, f**3, (f - 16 / 116) / _KAPPA)
