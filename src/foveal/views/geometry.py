"""What was drawn in a picture moves with it: masks, depth, normals and boxes, by the table's rows.

Coordinates are continuous and count from the corner of the first pixel, y down. Only the geometry
of a row counts (crop, mirror, affine, quarter turns); colours and ``shrink`` leave targets alone.

Legend: S side of the view, T tiles, P parts, K columns.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.core.compiled import compiled
from foveal.views import layout as lay
from foveal.views.kernels.warp import inverse_affine, reflected
from foveal.views.layout import parameters
from foveal.views.make import Box, inside, move_floats
from foveal.views.spec import View


@compiled()
def _trace(y: Any, x: Any, crop: Any, row: Any, p: Any, bounded: Any) -> Any:
    """Source coordinates of a point of the view (or tile), and whether there is anything.

    With ``bounded`` the borders of the warp count; without, the map is one affine function.
    """
    whole = p[lay.P_SIZE]
    tiled = p[lay.P_ROWS] > 0
    side = p[lay.P_TILE] if tiled else whole
    turns = int(row[lay.C_TURNS])
    if turns == 1:
        y, x = x, side - y
    elif turns == 2:
        y, x = side - y, side - x
    elif turns == 3:
        y, x = side - x, y
    if row[lay.C_AFFINE] > 0:
        m = inverse_affine(
            row[lay.C_ANGLE], row[lay.C_SHIFT_Y], row[lay.C_SHIFT_X], row[lay.C_SCALE],
            row[lay.C_SHEAR_Y], row[lay.C_SHEAR_X], side,
        )  # fmt: skip
        x, y = m[0, 0] * x + m[0, 1] * y + m[0, 2], m[1, 0] * x + m[1, 1] * y + m[1, 2]
        if bounded and p[lay.P_BORDER] < 2 and not (0 <= y < side and 0 <= x < side):
            if p[lay.P_BORDER] == 0:
                return y, x, False
            y = reflected(math.floor(y), int(side)) + 0.5
            x = reflected(math.floor(x), int(side)) + 0.5
    if tiled:
        x = side - x if row[lay.C_FLIP] > 0 else x
        y += row[lay.C_TILE_TOP]
        x += row[lay.C_TILE_LEFT]
    if crop[lay.C_FLIP] > 0:
        x = whole - x
    y = crop[lay.C_TOP] + y * crop[lay.C_HEIGHT] / whole
    x = crop[lay.C_LEFT] + x * crop[lay.C_WIDTH] / whole
    return y, x, True


@compiled()
def _nearest(image: Any, box: Any, crop: Any, row: Any, p: Any, out: Any) -> None:
    """``out`` [s, s, C] looks up ``image`` [H, W, C]; where there is nothing it stays as it is."""
    side = p[lay.P_TILE] if p[lay.P_ROWS] > 0 else p[lay.P_SIZE]
    around = p[lay.P_BORDER] == 2 and row[lay.C_AFFINE] > 0
    step = side / out.shape[0]
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            y, x, there = _trace((i + 0.5) * step, (j + 0.5) * step, crop, row, p, True)
            if not there:
                continue
            if around:
                at_y = reflected(math.floor(y + box[0]), image.shape[0])
                at_x = reflected(math.floor(x + box[1]), image.shape[1])
            elif 0 <= y < box[2] and 0 <= x < box[3]:
                at_y, at_x = math.floor(y + box[0]), math.floor(x + box[1])
            else:
                continue
            for c in range(image.shape[2]):
                out[i, j, c] = image[at_y, at_x, c]


def move_ids(
    image: NDArray[Any],
    rows: NDArray[np.float32],
    view: View,
    *,
    side: int | None = None,
    fill: float = 0,
    box: Box | None = None,
) -> NDArray[Any]:
    """Ids, masks or depth by nearest neighbour: no value that was not there.

    Args:
        image: [H, W] or [H, W, C] of any type, as large as the picture.
        rows: The sample's rows of the table, [P, K].
        view: The view they belong to.
        side: Side of the result; None: that of the view (of a tile). A smaller one looks at the
            same region in larger steps.
        fill: Where the view shows nothing of the picture.
        box: (top, left, height, width) of the sample in the picture, if it was made from one.

    Returns:
        [s, s] or [s, s, C], with tiles [T, s, s] or [T, s, s, C], of the image's type.
    """
    planes = np.ascontiguousarray(image if image.ndim == 3 else image[..., None])
    placed = np.array(inside(box, planes.shape[0], planes.shape[1]), np.float64)
    s = side or view.side
    p = parameters(view)
    parts = rows if view.tiles is None else rows[1:]
    out = np.full((len(parts), s, s, planes.shape[2]), fill, planes.dtype)
    for part, row in enumerate(parts):
        _nearest(planes, placed, rows[0], row, p, out[part])
    out = out if view.tiles is not None else out[0]
    return out if image.ndim == 3 else out[..., 0]


def move_soft(
    image: NDArray[Any],
    rows: NDArray[np.float32],
    view: View,
    *,
    side: int | None = None,
    box: Box | None = None,
) -> NDArray[np.float32]:
    """Soft masks, antialiased and bilinear as the pixels are; 0 where there is nothing.

    Args as ``move_ids``; values in [0, 1]. Returns float32 [s, s, ...], [T, s, s, ...].
    """
    planes = np.ascontiguousarray(image if image.ndim == 3 else image[..., None], np.float32)
    out = move_floats(view, planes, rows, side or view.side, box)
    out = out if view.tiles is not None else out[0]
    return out if image.ndim == 3 else out[..., 0]


def move_mask(
    mask: NDArray[Any],
    rows: NDArray[np.float32],
    view: View,
    *,
    side: int | None = None,
    box: Box | None = None,
) -> NDArray[Any]:
    """A mask moved with its picture: floats in [0, 1] as ``move_soft``, all else as ``move_ids``.

    Args as ``move_ids``. A value of its own for "nothing here" is ``move_ids(..., fill=...)``.
    """
    if np.issubdtype(mask.dtype, np.floating):
        return move_soft(mask, rows, view, side=side, box=box)
    return move_ids(mask, rows, view, side=side, box=box)


def source_from_view(rows: NDArray[np.float32], view: View, part: int = 0) -> NDArray[np.float64]:
    """The affine map from a point of the view to the sample: [2, 3] of (y, x) from (y, x, 1).

    Args:
        rows: The sample's rows, [P, K].
        view: The view.
        part: The tile, counted from 1, where there are tiles; else 0.
    """
    p = parameters(view)
    at = [_trace(y, x, rows[0], rows[part], p, False)[:2] for y, x in ((0, 0), (1, 0), (0, 1))]
    origin, down, right = (np.array(point) for point in at)
    return np.stack([down - origin, right - origin, origin], axis=1)


def move_points(
    points: NDArray[Any], rows: NDArray[np.float32], view: View, part: int = 0
) -> NDArray[np.float64]:
    """Points (y, x) of the sample, [N, 2], in the view's pixels; they may lie outside of it."""
    m = source_from_view(rows, view, part)
    return (np.asarray(points, np.float64) - m[:, 2]) @ np.linalg.inv(m[:, :2]).T


def move_boxes(
    boxes: NDArray[Any], rows: NDArray[np.float32], view: View, part: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Boxes (top, left, height, width) of the sample, [N, 4], in the view's pixels.

    Returns:
        The upright boxes around the moved ones, cut to the view, [N, 4] (height or width 0:
        outside), and the share of each one's area that is still in sight, [N].
    """
    b = np.asarray(boxes, np.float64).reshape(-1, 4)
    corners = np.stack(
        [b[:, :2] + b[:, 2:] * np.array(share) for share in ((0, 0), (0, 1), (1, 0), (1, 1))], 1
    )
    moved = move_points(corners.reshape(-1, 2), rows, view, part).reshape(-1, 4, 2)
    low, high = moved.min(1), moved.max(1)
    cut_low, cut_high = np.clip(low, 0, view.side), np.clip(high, 0, view.side)
    area = np.prod(high - low, axis=1)
    seen = np.prod(cut_high - cut_low, axis=1)
    return np.concatenate([cut_low, cut_high - cut_low], axis=1), seen / np.maximum(area, 1e-12)


def move_normals(
    normals: NDArray[Any],
    rows: NDArray[np.float32],
    view: View,
    *,
    side: int | None = None,
    box: Box | None = None,
) -> NDArray[np.float32]:
    """Surface normals moved and turned with the camera: mirrored, rolled, nearest neighbour.

    Args as ``move_ids``; vectors (x right, y down, z), [H, W, 3]. Scale and shear move normals but
    do not tilt them. Zero vectors where there is nothing.
    """
    out = move_ids(np.asarray(normals, np.float32), rows, view, side=side, box=box)
    for part in range(view.parts) if view.tiles is None else range(1, view.parts):
        m = source_from_view(rows, view, part)[:, :2]
        # Columns in view pixels of equal size, then the nearest rotation or mirroring (polar).
        m = m / np.array([[float(rows[0, lay.C_HEIGHT])], [float(rows[0, lay.C_WIDTH])]])
        u, _, v = np.linalg.svd(m)
        turn = (u @ v).T  # from (y, x) of the source to (y, x) of the view
        vectors = out if view.tiles is None else out[part - 1]
        yx = vectors[..., 1::-1] @ turn.T.astype(np.float32)
        vectors[..., 0], vectors[..., 1] = yx[..., 1].copy(), yx[..., 0].copy()
    return out
