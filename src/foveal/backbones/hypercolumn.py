"""Maps read at positions of the picture, and stacked: hypercolumns.

Hariharan et al., "Hypercolumns for object segmentation and fine-grained localization", CVPR 2015;
as Larsson et al. (CVPR 2017) sample them: a point of the picture is looked up in each map by
bilinear interpolation, and only the points that are asked for are ever made.

Legend: B pictures, C channels, P points, H, W pixels, h, w cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def sample_map(map_BChw: Tensor, points_BP2: Tensor, stride: float) -> Tensor:
    """A map's values at points of the picture, float32 [B, P, C].

    Cell i stands for pixel ``stride * i``: position = pixel / stride without an offset, clamped
    to the map.

    Args:
        map_BChw: Values of cells.
        points_BP2: (row, column) in pixels, float32.
        stride: Pixels per cell.
    """
    h, w = map_BChw.shape[-2:]
    # grid_sample wants (x, y), -1 the first cell's middle and 1 the last's.
    reach = points_BP2.new_tensor([max(w - 1, 1), max(h - 1, 1)])
    grid = points_BP2.flip(-1) / stride * (2 / reach) - 1
    # In float32 whatever the map is: bfloat16 tells apart no more than 256 places along a side.
    found = F.grid_sample(
        map_BChw.float(),
        grid[:, :, None],
        mode="bilinear",
        padding_mode="border",
        align_corners=True,
    )
    return found[..., 0].transpose(1, 2)


def hypercolumns(maps: Sequence[Tensor], strides: Sequence[float], points_BP2: Tensor) -> Tensor:
    """The values of all maps at each point, side by side, [B, P, C of all maps].

    Args:
        maps: [B, C, h, w] each.
        strides: Pixels per cell of each.
        points_BP2: (row, column) in pixels, float32.
    """
    found = [sample_map(m, points_BP2, s) for m, s in zip(maps, strides, strict=True)]
    return torch.cat(found, dim=2)


def sample_grid(map_BChw: Tensor, stride: float, side: tuple[int, int], step: int) -> Tensor:
    """A map's values at every ``step``-th pixel, row by row, [B, P, C].

    Args:
        map_BChw: Values of cells.
        stride: Pixels per cell.
        side: Height and width of the picture in pixels.
        step: Pixels from one place to the next; the first is pixel 0.
    """
    points = grid_points(side, step, map_BChw.device)
    return sample_map(map_BChw, points.expand(len(map_BChw), -1, -1), stride)


def grid_points(side: tuple[int, int], step: int, device: torch.device) -> Tensor:
    """Every ``step``-th pixel (row, column) of a picture, float32 [P, 2], row by row."""
    rows, columns = (
        torch.arange(0, pixels, step, dtype=torch.float32, device=device) for pixels in side
    )
    return torch.cartesian_prod(rows, columns)
