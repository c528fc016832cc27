"""The same table applied on a device: batched torch, no loop over pictures.

For pictures that are already there, all of one size (a data set kept on the accelerator, a cache of
squares). It knows crop, mirror, jitter, grey, blur, solarise and tiles; the further operations are
the CPU's (``views.make``). Results agree with the CPU's within two levels of 255.

Legend: B pictures, N of views or tiles, T tiles, P parts, K columns, C channels, H, W pixels of the
pictures, S side of the view.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from foveal.errors import FovealError
from foveal.views.layout import COLUMN, ORDERS, draws_more
from foveal.views.spec import View

_LUMA = (0.2989, 0.587, 0.114)


def apply_table(view: View, images: Tensor, table: NDArray[np.float32] | Tensor) -> Tensor:
    """Views of a batch of pictures.

    Args:
        view: What to make.
        images: uint8 [B, H, W, C], on any device.
        table: Rows of the views, float32 [B, P, K] (``views.table.sample``), best on the CPU: which
            pictures an operation takes is then known without waiting for the device.

    Returns:
        uint8 [B, S, S, C], with tiles [B, T, s, s, C], on the device of the images.

    Raises:
        FovealError: The view has operations that only the CPU applies, or needs colours.
    """
    if draws_more(view):
        raise FovealError(
            "on the device views know crop, mirror, jitter, grey, blur and solarise",
            hint="views.make applies all operations",
        )
    forbidden = view.needs_colour() if images.shape[-1] != 3 else []
    if forbidden:
        raise FovealError(
            f"{', '.join(forbidden)} need three channels; the pictures have {images.shape[-1]}",
            hint="View.without_colour()",
        )
    rows = np.asarray(table, np.float64)
    x = _crop(view, images, rows[:, 0])
    if view.tiles is None:
        rows = rows[:, 0]
    else:
        x = _tiles(view, x, rows[:, 1:])
        rows = rows[:, 1:].reshape(-1, rows.shape[-1])
    x = _colour(view, x, rows)
    pixels = (x * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1)
    if view.tiles is not None:
        pixels = pixels.reshape(len(images), -1, *pixels.shape[1:])
    return pixels.contiguous()


def _column(rows: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    values: NDArray[np.float64] = rows[:, COLUMN[name]]
    return values


def _on(values: NDArray[Any], like: Tensor) -> Tensor:
    """Numbers [N] as a tensor [N, 1, 1, 1] beside another."""
    return torch.from_numpy(values.astype(np.float32)).to(like.device)[:, None, None, None]


def _crop(view: View, images: Tensor, rows: NDArray[np.float64]) -> Tensor:
    """Antialiased crop, resize and mirror: a matrix from the left, one from the right."""
    height, width = images.shape[1:3]
    cubic = view.interpolation == "bicubic"
    x = images.permute(0, 3, 1, 2).to(torch.float32) / 255

    def weights(start: str, length: str, source: int) -> Tensor:
        return _weights(_column(rows, start), _column(rows, length), source, view.size, cubic, x)

    down, across = weights("top", "height", height), weights("left", "width", width)
    mirrored = _on(_column(rows, "flip"), x)[..., 0] > 0
    across = torch.where(mirrored, across.flip(1), across)
    return (down[:, None] @ x @ across[:, None].mT).clamp(0, 1)


def _weights(
    starts: NDArray[np.float64],
    lengths: NDArray[np.float64],
    source: int,
    size: int,
    cubic: bool,
    like: Tensor,
) -> Tensor:
    """[B, size, source]: what each pixel takes of each pixel of its picture's line."""
    # Pixels outside of the picture but inside the region are zeros that count (padding).
    low = int(min(0.0, np.floor(starts.min())))
    high = int(max(float(source), np.ceil((starts + lengths).max())))
    start, length = _on(starts, like)[..., 0], _on(lengths, like)[..., 0]
    scale = length / size
    stretch = scale.clamp(min=1)
    support = (2 if cubic else 1) * stretch
    i = torch.arange(size, device=like.device, dtype=torch.float32)[:, None]
    j = torch.arange(low, high, device=like.device, dtype=torch.float32)
    centre = start + (i + 0.5) * scale
    d = ((j + 0.5 - centre) / stretch).abs()
    if cubic:
        near, far = (1.5 * d - 2.5) * d * d + 1, ((-0.5 * d + 2.5) * d - 4) * d + 2
        w = torch.where(d < 1, near, torch.where(d < 2, far, torch.zeros_like(d)))
    else:
        w = (1 - d).clamp(min=0)
    inside = (j >= start.floor()) & (j < (start + length).ceil())
    inside = inside & (j >= (centre - support + 0.5).floor())
    w = w * (inside & (j < (centre + support + 0.5).floor()))
    return (w / w.sum(2, keepdim=True))[..., -low : source - low]


def _tiles(view: View, x: Tensor, rows: NDArray[np.float64]) -> Tensor:
    """[B * T, C, s, s] from crops [B, C, S, S] and rows [B, T, K]."""
    assert view.tiles is not None
    side = np.arange(view.tiles.size)
    top, left, flip = (rows[..., COLUMN[n], None] for n in ("tile_top", "tile_left", "flip"))
    y = torch.from_numpy((top + side).astype(np.int64)).to(x.device)
    columns = np.where(flip > 0, left + side[::-1], left + side)
    i = torch.from_numpy(columns.astype(np.int64)).to(x.device)
    b = torch.arange(len(x), device=x.device)[:, None, None, None]
    tiles = x.permute(0, 2, 3, 1)[b, y[:, :, :, None], i[:, :, None, :]]
    return tiles.flatten(0, 1).permute(0, 3, 1, 2).contiguous()


def _colour(view: View, x: Tensor, rows: NDArray[np.float64]) -> Tensor:
    """Jitter in each picture's order, grey, blur, solarise; [N, C, s, s] in [0, 1]."""
    j = view.jitter
    order = _column(rows, "order").astype(np.int64)
    for step in range(4 if j is not None else 0):
        now = np.where(order >= 0, ORDERS[order, step], -1)
        for op, strength in enumerate((j.brightness, j.contrast, j.saturation, j.hue)) if j else ():
            some = np.flatnonzero(now == op)
            if strength > 0 and len(some):
                at = torch.from_numpy(some).to(x.device)
                x = x.index_copy(0, at, _jittered(x[at], rows[some], op, view))
    grey = _column(rows, "grey") > 0
    if grey.any():
        x = torch.where(_on(grey, x) > 0, _grey(x, view.grey_kind == "mean"), x)
    sigma = _column(rows, "sigma")
    some = np.flatnonzero(sigma > 0)
    if len(some) and view.blur is not None:
        at = torch.from_numpy(some).to(x.device)
        blurred = _blur(x[at], sigma[some], view.blur_kernel, view.blur.border == "zero")
        x = x.index_copy(0, at, blurred)
    solarise = _column(rows, "solarise") > 0
    if solarise.any():
        flipped = (_on(solarise, x) > 0) & (x >= _on(_column(rows, "threshold"), x))
        x = torch.where(flipped, 1 - x, x)
    return x


def _grey(x: Tensor, mean: bool = False) -> Tensor:
    """[N, 1, s, s]: BT.601, or the plain mean, which is also that of other than three channels."""
    if x.shape[1] != 3 or mean:
        return x.mean(1, keepdim=True)
    weights = torch.tensor(_LUMA, device=x.device)[:, None, None]
    return (x * weights).sum(1, keepdim=True)


def _jittered(x: Tensor, rows: NDArray[np.float64], op: int, view: View) -> Tensor:
    """One of brightness, contrast, saturation, hue on all of [N, C, s, s]."""
    if op == 3:
        return _hue(x, _on(_column(rows, "hue"), x))
    f = _on(_column(rows, ("brightness", "contrast", "saturation")[op]), x)
    if op == 0:
        x = x + f if view.jitter is not None and view.jitter.additive else x * f
    else:
        reference = _grey(x)
        reference = reference.mean((2, 3), keepdim=True) if op == 1 else reference
        x = x * f + (1 - f) * reference
    return x.clamp(0, 1)


def _hue(x: Tensor, shift: Tensor) -> Tensor:
    """A turn of the hue circle, through HSV; [N, 3, s, s], shift [N, 1, 1, 1] in turns."""
    top = x.amax(1, keepdim=True)
    delta = top - x.amin(1, keepdim=True)
    r, g, b = x[:, :1], x[:, 1:2], x[:, 2:]
    scale = 1 / delta.clamp(min=1e-12)
    h = torch.where(top == g, (b - r) * scale + 2, (r - g) * scale + 4)
    h = torch.where(top == r, (g - b) * scale, h) + 6 * shift
    # Red, green and blue peak at 0, 2 and 4 sixths of a turn.
    h = h - torch.tensor((0.0, 2.0, 4.0), device=x.device)[:, None, None]
    distance = (h - 6 * (h / 6).round()).abs()
    return top - delta * (distance - 1).clamp(0, 1)


def _blur(x: Tensor, sigma: NDArray[np.float64], kernel: int, zero: bool) -> Tensor:
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
