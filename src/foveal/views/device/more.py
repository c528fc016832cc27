"""The operations most views have none of, for a batch: before and after the plain colours.

All take and give [N, C, s, s] in [0, 1] and touch the pictures their row names.

Legend: N pictures or tiles, C channels, s side, L levels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from foveal.views.device.colour import from_hue, hue_of
from foveal.views.device.geometry import resize_weights
from foveal.views.device.noise import even, gaussian
from foveal.views.device.rows import Rows, beside, column, places
from foveal.views.kernels.colour import PROJECTION
from foveal.views.spec import View

_LEVELS = 256


def before_colour(x: Tensor, rows: Rows) -> Tensor:
    """Shrink and back, stretched principal components, powers of saturation and value."""
    x = _where(x, rows, column(rows, "shrink") > 0, _shrunk)
    x = _where(x, rows, column(rows, "pca") > 0, _pca_contrast)
    return _where(x, rows, column(rows, "hsv") > 0, _hsv_powers)


def after_colour(view: View, x: Tensor, rows: Rows) -> Tensor:
    """What comes after the solariser, in the order of ``views.steps``."""
    drop = view.channel_drop
    half = drop.noise if drop else 0.0
    for asked, operation in (
        (column(rows, "invert") > 0, lambda x, _: 1 - x),
        (column(rows, "posterise") > 0, _posterised),
        (column(rows, "autocontrast") > 0, lambda x, _: _autocontrast(x)),
        (column(rows, "equalise") > 0, lambda x, _: _equalised(x)),
        (column(rows, "sharpness") != 1, _sharpened),
        (column(rows, "projection") > 0, lambda x, _: _projected(x)),
        (column(rows, "channel_shift") > 0, _channels_moved),
        (column(rows, "kept") >= 0, lambda x, r: _one_channel(x, r, half)),
        (column(rows, "noise") > 0, _noisy),
    ):
        x = _where(x, rows, asked, operation)
    return x


def _where(
    x: Tensor, rows: Rows, asked: np.ndarray, operation: Callable[[Tensor, Rows], Tensor]
) -> Tensor:
    if not asked.any():
        return x
    at = places(asked, x)
    return x.index_copy(0, at, operation(x[at], rows[asked]))


def _shrunk(x: Tensor, rows: Rows) -> Tensor:
    """Down to a picture's own number of pixels, antialiased, and up again."""
    side = x.shape[2]
    small = np.maximum(1, np.rint(column(rows, "shrink"))).astype(np.int64)
    smaller = small < side
    if not smaller.any():
        return x
    small, at = small[smaller], places(smaller, x)
    n, zero = len(small), np.zeros(len(small))
    down = resize_weights(zero, np.full(n, float(side)), small, side, False, x)[:, None]
    up = resize_weights(
        zero, small.astype(np.float64), np.full(n, side), int(small.max()), False, x
    )[:, None]
    less = down @ x[at] @ down.mT
    return x.index_copy(0, at, up @ less @ up.mT)


def _pca_contrast(x: Tensor, rows: Rows) -> Tensor:
    """Colours stretched about their mean along their principal components, strongest first."""
    flat = x.flatten(2).double()
    mean = flat.mean(2, keepdim=True)
    centred = flat - mean
    _, axes = torch.linalg.eigh(centred @ centred.mT / flat.shape[2])
    factors = np.stack([column(rows, f"pca_{k}") for k in (3, 2, 1)], 1)  # eigh: weakest first
    scale = torch.from_numpy(factors).to(x.device)[:, None]
    stretched: Tensor = ((axes * scale) @ axes.mT) @ centred + mean
    return stretched.clamp(0, 1).to(x.dtype).view_as(x)


def _hsv_powers(x: Tensor, rows: Rows) -> Tensor:
    h, top, delta = hue_of(x)

    def changed(v: Tensor, of: str) -> Tensor:
        power, factor, add = (
            beside(column(rows, f"{of}_{n}"), x) for n in ("power", "factor", "add")
        )
        return (v.pow(power) * factor + add).clamp(0, 1)

    saturation = changed(delta / top.clamp(min=1e-12), "s")
    value = changed(top, "v")
    return from_hue(h + 6 * beside(column(rows, "hsv_hue"), x), value, value * saturation)


def _levels(x: Tensor) -> Tensor:
    """The nearest of 256 levels."""
    return (x * 255 + 0.5).to(torch.int64)


def _posterised(x: Tensor, rows: Rows) -> Tensor:
    bits = column(rows, "posterise").astype(np.int64)
    mask = torch.from_numpy(256 - (1 << (8 - bits))).to(x.device)[:, None, None, None]
    return (_levels(x) & mask).to(x.dtype) / 255


def _autocontrast(x: Tensor) -> Tensor:
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    stretched = ((x - low) / (high - low).clamp(min=1e-12)).clamp(max=1)
    return torch.where(high > low, stretched, x)


def _equalised(x: Tensor) -> Tensor:
    """A flat histogram of each channel, as Pillow and torchvision make it."""
    levels = _levels(x).flatten(2).flatten(0, 1)
    ones = torch.ones_like(levels)
    counts = levels.new_zeros(len(levels), _LEVELS).scatter_add_(1, levels, ones)
    last = counts.gather(1, levels.amax(1, keepdim=True))
    step = (levels.shape[1] - last) // 255
    below = counts.cumsum(1) - counts + step // 2
    table = (below // step.clamp(min=1)).clamp(max=255)
    flat = table.gather(1, levels).to(x.dtype).view_as(x) / 255
    return torch.where((step > 0).view(*x.shape[:2], 1, 1), flat, x)


def _sharpened(x: Tensor, rows: Rows) -> Tensor:
    """Away from, or towards, a 3 x 3 mean that weighs the centre five times; the border stays."""
    if min(x.shape[2:]) < 3:
        return x
    n, channels, height, width = x.shape
    kernel = torch.ones(3, 3, device=x.device, dtype=x.dtype)
    kernel[1, 1] = 5
    flat = x.reshape(n * channels, 1, height, width)
    mean = F.conv2d(flat, kernel[None, None] / 13).view(n, channels, height - 2, width - 2)
    f = beside(column(rows, "sharpness"), x)
    out = x.clone()
    out[:, :, 1:-1, 1:-1] = (f * x[:, :, 1:-1, 1:-1] + (1 - f) * mean).clamp(0, 1)
    return out


def _projected(x: Tensor) -> Tensor:
    """Without the green-magenta axis."""
    matrix = torch.from_numpy(PROJECTION).to(x.device)
    return (matrix @ x.flatten(2)).clamp(0, 1).view_as(x)


def _channels_moved(x: Tensor, rows: Rows) -> Tensor:
    """Each channel by whole pixels down and right; the border is repeated."""
    names = ("red", "green", "blue")[: x.shape[1]]

    def moves(axis: str) -> Tensor:
        found = np.stack([column(rows, f"{n}_{axis}") for n in names], 1).astype(np.int64)
        return torch.from_numpy(found).to(x.device)[..., None]

    y = (torch.arange(x.shape[2], device=x.device) - moves("y")).clamp(0, x.shape[2] - 1)
    i = (torch.arange(x.shape[3], device=x.device) - moves("x")).clamp(0, x.shape[3] - 1)
    x = x.gather(2, y[..., None].expand(-1, -1, -1, x.shape[3]))
    return x.gather(3, i[:, :, None].expand(-1, -1, x.shape[2], -1))


def _one_channel(x: Tensor, rows: Rows, half: float) -> Tensor:
    """All channels but one become even noise about the middle."""
    kept = torch.from_numpy(column(rows, "kept").astype(np.int64)).to(x.device)[:, None]
    noise = 0.5 + half * even(x, rows)
    here = torch.arange(x.shape[1], device=x.device) == kept
    return torch.where(here[..., None, None], x, noise)


def _noisy(x: Tensor, rows: Rows) -> Tensor:
    return (x + beside(column(rows, "noise"), x) * gaussian(x, rows)).clamp(0, 1)
