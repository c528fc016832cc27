"""Jitter, grey, blur and solarise of a batch: what most views have, [N, C, s, s] in [0, 1]."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from foveal.views.device.rows import Rows, beside, column, places
from foveal.views.layout import ORDERS
from foveal.views.spec import View

_LUMA = (0.2989, 0.587, 0.114)


def plain_colour(view: View, x: Tensor, rows: Rows) -> Tensor:
    """Jitter in each picture's order, then grey, blur and solarise."""
    j = view.jitter
    order = column(rows, "order").astype(np.int64)
    for step in range(4 if j is not None else 0):
        now = np.where(order >= 0, ORDERS[order, step], -1)
        for op, strength in enumerate((j.brightness, j.contrast, j.saturation, j.hue)) if j else ():
            some = now == op
            if strength > 0 and some.any():
                at = places(some, x)
                x = x.index_copy(0, at, _jittered(x[at], rows[some], op, view))
    grey = column(rows, "grey") > 0
    if grey.any():
        x = torch.where(beside(grey, x) > 0, _grey(x, view.grey_kind == "mean"), x)
    sigma = column(rows, "sigma")
    if (sigma > 0).any() and view.blur is not None:
        at = places(sigma > 0, x)
        blurred = _blur(x[at], sigma[sigma > 0], view.blur_kernel, view.blur.border == "zero")
        x = x.index_copy(0, at, blurred)
    solarise = column(rows, "solarise") > 0
    if solarise.any():
        flipped = (beside(solarise, x) > 0) & (x >= beside(column(rows, "threshold"), x))
        x = torch.where(flipped, 1 - x, x)
    return x


def hue_of(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hue in sixths of a turn, largest channel and its distance to the smallest, [N, 1, s, s]."""
    top = x.amax(1, keepdim=True)
    delta = top - x.amin(1, keepdim=True)
    r, g, b = x[:, :1], x[:, 1:2], x[:, 2:]
    scale = 1 / delta.clamp(min=1e-12)
    h = torch.where(top == g, (b - r) * scale + 2, (r - g) * scale + 4)
    return torch.where(top == r, (g - b) * scale, h), top, delta


def from_hue(h: Tensor, top: Tensor, delta: Tensor) -> Tensor:
    """The picture of a hue in sixths of a turn, a largest channel and a distance, [N, 3, s, s]."""
    # Red, green and blue peak at 0, 2 and 4 sixths of a turn.
    h = h - torch.tensor((0.0, 2.0, 4.0), device=h.device)[:, None, None]
    distance = (h - 6 * (h / 6).round()).abs()
    return top - delta * (distance - 1).clamp(0, 1)


def _grey(x: Tensor, mean: bool = False) -> Tensor:
    """[N, 1, s, s]: BT.601, or the plain mean, which is also that of other than three channels."""
    if x.shape[1] != 3 or mean:
        return x.mean(1, keepdim=True)
    weights = torch.tensor(_LUMA, device=x.device)[:, None, None]
    return (x * weights).sum(1, keepdim=True)


def _jittered(x: Tensor, rows: Rows, op: int, view: View) -> Tensor:
    """One of brightness, contrast, saturation, hue on all of [N, C, s, s]."""
    if op == 3:
        h, top, delta = hue_of(x)
        return from_hue(h + 6 * beside(column(rows, "hue"), x), top, delta)
    f = beside(column(rows, ("brightness", "contrast", "saturation")[op]), x)
    if op == 0:
        x = x + f if view.jitter is not None and view.jitter.additive else x * f
    else:
        reference = _grey(x)
        reference = reference.mean((2, 3), keepdim=True) if op == 1 else reference
        x = x * f + (1 - f) * reference
    return x.clamp(0, 1)


def _blur(x: Tensor, sigma: Rows, kernel: int, zero: bool) -> Tensor:
    """Separable Gaussian blur, a sigma for each picture: one grouped convolution per axis."""
    n, channels, height, width = x.shape
    radius = kernel // 2
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma[:, None]) ** 2)
    taps = np.repeat(taps / taps.sum(1, keepdims=True), channels, axis=0)
    weight = torch.from_numpy(taps.astype(np.float32)).to(x.device)
    flat = x.reshape(1, n * channels, height, width)
    flat = F.pad(flat, (radius,) * 4, mode="constant" if zero else "reflect")
    flat = F.conv2d(flat, weight[:, None, :, None], groups=n * channels)
    flat = F.conv2d(flat, weight[:, None, None, :], groups=n * channels)
    return flat.reshape(x.shape)
