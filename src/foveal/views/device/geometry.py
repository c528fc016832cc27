"""Where the pixels of a batch of views come from: resampling, tiles, warps, quarter turns.

Legend: B pictures, N of views or tiles, T tiles, K columns, C channels, H, W pixels of the
pictures, S side of the view, s of a tile.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.views.device.rows import Rows, beside, column, places
from foveal.views.kernels.warp import inverse_affine
from foveal.views.layout import COLUMN
from foveal.views.spec import View

_AFFINE = ("angle", "shift_y", "shift_x", "scale", "shear_y", "shear_x")


def crop(view: View, x: Tensor, rows: Rows) -> Tensor:
    """The region of each picture, antialiased and mirrored; [B, C, H, W] to [B, C, S, S]."""
    top, left, height, width = (column(rows, n) for n in ("top", "left", "height", "width"))
    cubic, sizes = view.interpolation == "bicubic", np.full(len(rows), view.size)
    down = resize_weights(top, height, sizes, x.shape[2], cubic, x)
    across = resize_weights(left, width, sizes, x.shape[3], cubic, x, column(rows, "flip") > 0)
    return (down[:, None] @ x @ across[:, None].mT).clamp(0, 1)


def resize_weights(
    starts: Rows,
    lengths: Rows,
    sizes: NDArray[np.int64],
    source: int,
    cubic: bool,
    like: Tensor,
    mirrored: NDArray[np.bool_] | None = None,
) -> Tensor:
    """What each pixel of a resized line takes of each pixel of its source, [B, largest, source].

    Args:
        starts: Of the region, in pixels of the source, [B].
        lengths: Of the region, [B].
        sizes: Pixels it becomes, [B]; rows past a line's own size hold nothing of use.
        source: Pixels of the source.
        cubic: Keys' cubic instead of the triangle.
        like: On the same device.
        mirrored: Lines whose pixels come in the opposite order, [B].
    """
    # Pixels outside of the picture but inside the region are zeros that count (padding).
    low = int(min(0.0, np.floor(starts.min())))
    high = int(max(float(source), np.ceil((starts + lengths).max())))
    start, length = beside(starts, like)[..., 0], beside(lengths, like)[..., 0]
    scale = beside(lengths / sizes, like)[..., 0]
    stretch = scale.clamp(min=1)
    support = (2 if cubic else 1) * stretch
    i = torch.arange(int(sizes.max()), device=like.device, dtype=torch.float32)[:, None]
    if mirrored is not None:
        last = beside(sizes - 1.0, like)[..., 0]
        i = torch.where(beside(mirrored, like)[..., 0] > 0, last - i, i)
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
    # Rows past a line's own size may see nothing at all.
    return (w / w.sum(2, keepdim=True).clamp(min=1e-12))[..., -low : source - low]


def tiles(view: View, x: Tensor, rows: Rows) -> Tensor:
    """[B * T, C, s, s] from crops [B, C, S, S] and rows [B, T, K]."""
    assert view.tiles is not None
    side = np.arange(view.tiles.size)
    top, left, flip = (rows[..., COLUMN[n], None] for n in ("tile_top", "tile_left", "flip"))
    y = torch.from_numpy((top + side).astype(np.int64)).to(x.device)
    columns = np.where(flip > 0, left + side[::-1], left + side)
    i = torch.from_numpy(columns.astype(np.int64)).to(x.device)
    b = torch.arange(len(x), device=x.device)[:, None, None, None]
    found = x.permute(0, 2, 3, 1)[b, y[:, :, :, None], i[:, :, None, :]]
    return found.flatten(0, 1).permute(0, 3, 1, 2).contiguous()


def warped(view: View, x: Tensor, rows: Rows) -> Tensor:
    """Affine within each crop or tile, [N, C, s, s]."""
    moved = column(rows, "affine") > 0
    if view.affine is None or not moved.any():
        return x
    some, at = rows[moved], places(moved, x)
    u, v = _looked_up(_inverse(some, x.shape[2]), x.shape[2], x)
    sizes = np.full(len(some), x.shape[2])
    return x.index_copy(0, at, _bilinear(x[at], u, v, sizes, sizes, view.affine.border == "zero"))


def warped_from_picture(view: View, x: Tensor, pictures: Tensor, rows: Rows) -> Tensor:
    """Affine that sees the picture around the crop, mirrored beyond it; [N, C, S, S].

    As much around each region as its warp looks at is resampled in the region's scale, then warped.
    """
    moved = column(rows, "affine") > 0
    if not moved.any():
        return x
    some, at, side = rows[moved], places(moved, x), view.size
    inverse = _inverse(some, side)
    start = np.stack([column(some, "top"), column(some, "left")], 1)
    step = np.stack([column(some, "height"), column(some, "width")], 1) / side
    flip = column(some, "flip") > 0
    # Whole pixels of the view's grid that lie in the picture, in the mirrored frame.
    low = np.ceil(-start / step)
    high = np.floor((np.array(pictures.shape[2:]) - start) / step)
    low[:, 1], high[:, 1] = (
        np.where(flip, side - high[:, 1], low[:, 1]),
        np.where(flip, side - low[:, 1], high[:, 1]),
    )
    # What the warp looks at: its corners, and a pixel or two for interpolation.
    corners = np.array([(0, 0, 1), (side, 0, 1), (0, side, 1), (side, side, 1)])
    seen = (corners @ inverse.transpose(0, 2, 1))[..., ::-1]
    low = np.maximum(low, np.floor(seen.min(1)) - 2)
    high = np.minimum(high, np.ceil(seen.max(1)) + 2)
    high = np.maximum(high, low + 1)
    sizes = (high - low).astype(np.int64)
    first = np.stack([low[:, 0], np.where(flip, side - high[:, 1], low[:, 1])], 1)
    wide, lengths, cubic = start + first * step, sizes * step, view.interpolation == "bicubic"
    rows_, columns = (sizes[:, k] for k in range(2))
    down = resize_weights(wide[:, 0], lengths[:, 0], rows_, pictures.shape[2], cubic, x)
    across = resize_weights(wide[:, 1], lengths[:, 1], columns, pictures.shape[3], cubic, x, flip)
    around = (down[:, None] @ pictures[at] @ across[:, None].mT).clamp(0, 1)
    u, v = _looked_up(inverse, side, x)
    u, v = u - beside(low[:, 1], x)[..., 0], v - beside(low[:, 0], x)[..., 0]
    return x.index_copy(0, at, _bilinear(around, u, v, rows_, columns, zero=False))


def turned(x: Tensor, rows: Rows) -> Tensor:
    """Quarter turns anticlockwise, [N, C, s, s]."""
    turns = column(rows, "turns").astype(np.int64)
    for k in np.unique(turns[turns > 0]).tolist():
        at = places(turns == k, x)
        x = x.index_copy(0, at, x[at].rot90(k, (2, 3)))
    return x


def _inverse(rows: Rows, side: int) -> Rows:
    """Where each pixel of a warp comes from, [N, 2, 3]."""
    of = np.stack([column(rows, name) for name in _AFFINE], 1)
    return np.stack([inverse_affine(*row, float(side)) for row in of.tolist()])


def _looked_up(inverse: Rows, side: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Columns and rows a warp looks at, in pixels whose centres are whole numbers, [N, s, s]."""
    at = torch.arange(side, device=like.device, dtype=torch.float32) + 0.5
    y, x = torch.meshgrid(at, at, indexing="ij")
    m = torch.from_numpy(inverse.astype(np.float32)).to(like.device)[..., None, None]
    u, v = (m[:, k, 0] * x + m[:, k, 1] * y + m[:, k, 2] - 0.5 for k in range(2))
    return u, v


def _bilinear(
    x: Tensor,
    u: Tensor,
    v: Tensor,
    heights: NDArray[np.int64],
    widths: NDArray[np.int64],
    zero: bool,
) -> Tensor:
    """Of four neighbours; outside of a picture's own height and width zeros, or mirrored."""
    height = torch.from_numpy(heights).to(x.device)[:, None, None]
    width = torch.from_numpy(widths).to(x.device)[:, None, None]
    left, top = u.floor(), v.floor()
    flat = x.flatten(2)
    out: Tensor | None = None
    for dy in (0, 1):
        for dx in (0, 1):
            w = (v - top if dy else 1 - (v - top)) * (u - left if dx else 1 - (u - left))
            row, i = top.long() + dy, left.long() + dx
            if zero:
                w = w * ((row >= 0) & (row < height) & (i >= 0) & (i < width))
            index = _reflected(row, height) * x.shape[3] + _reflected(i, width)
            index = index.flatten(1)[:, None].expand(-1, x.shape[1], -1)
            part = w[:, None] * flat.gather(2, index).view(*x.shape[:2], *u.shape[1:])
            out = part if out is None else out + part
    assert out is not None
    return out


def _reflected(i: Tensor, n: Tensor) -> Tensor:
    """Index of a border that is mirrored without repeating the edge, however far outside."""
    period = (2 * (n - 1)).clamp(min=1)
    i = i.abs() % period
    return torch.where(i >= n, period - i, i) * (n > 1)
