"""Surface normals from depth and the camera.

The inverse depth of a plane is an affine function of the pixel: for points P = z (x, y, 1) with
x = (u - cx) / fx and y = (v - cy) / fy, a plane n . P = d gives 1 / z = n . (x, y, 1) / d. So a
straight least-squares fit of 1 / z in a window is the exact fit of a plane seen in perspective, and
takes box sums only.

Legend: H, W pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

# Half the windows that are tried, as shares of the picture's width (20, 10 and 5 px of 320), the
# largest first: depth cameras measure in steps and with noise, and a window that is small beside a
# step sees a step, no plane.
_HALF_WINDOWS = (1 / 16, 1 / 32, 1 / 64)
# A window holds one plane where the root mean square distance from the fit is below this share of
# the depth and what rounding to steps explains.
_ROUGHEST = 0.015


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: the point (X right, Y down, Z ahead) is seen at (fx X/Z + cx, fy Y/Z + cy).

    Attributes:
        fx, fy: Focal lengths in pixels.
        cx, cy: The optical axis in pixels, the centre of the first pixel being 0.
        step: The steps in which its depth is measured, in the depth's unit; 0: finely.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    step: float = 0.0


def normals_from_depth(depth: NDArray[np.float32], camera: Camera) -> NDArray[np.float32]:
    """Unit normals that look at the camera, from planes fitted around every pixel.

    Of three window sizes the largest is taken in which the surface is flat.

    Args:
        depth: Along the optical axis, any unit, [H, W]; 0 or less is unknown.
        camera: Of this picture, at this size.

    Returns:
        (x right, y down, z ahead), float32 [H, W, 3]; zero vectors where the smallest window
        reaches over the border, an unknown depth or an edge.
    """
    known = depth > 0
    w = np.zeros(depth.shape)
    np.divide(1.0, depth, out=w, where=known)
    out = np.zeros((*depth.shape, 3), np.float32)
    todo = known.copy()
    for share in _HALF_WINDOWS:
        n, flat = _planes(w, known, camera, max(1, round(depth.shape[1] * share)))
        new = todo & flat
        # 1 / z is above 0 on the surface, so n points away from the camera: turned round.
        out[new] = -n[new] / np.linalg.norm(n[new], axis=-1, keepdims=True)
        todo &= ~new
    return out


def _planes(
    w: NDArray[np.float64], known: NDArray[np.bool_], camera: Camera, half: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The n / d of planes through inverse depths, [H, W, 3], and where there is one."""
    side = 2 * half + 1
    at, ones = np.arange(-half, half + 1, dtype=np.float64), np.ones(side)

    def total(
        values: NDArray[np.float64], rows: NDArray[np.float64], columns: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        down = correlate1d(values, rows, axis=0, mode="constant")
        summed: NDArray[np.float64] = correlate1d(down, columns, axis=1, mode="constant")
        return summed

    count, spread = float(side**2), float(side * (at**2).sum())
    mean = total(w, ones, ones) / count
    along_u, along_v = total(w, ones, at) / spread, total(w, at, ones) / spread
    rest = total(w**2, ones, ones) / count - mean**2 - (along_u**2 + along_v**2) * spread / count
    v, u = np.mgrid[: w.shape[0], : w.shape[1]]
    on_axis = mean - along_u * (u - camera.cx) - along_v * (v - camera.cy)
    n = np.stack([along_u * camera.fx, along_v * camera.fy, on_axis], axis=-1)
    whole = total(known.astype(np.float64), ones, ones) > count - 0.5
    # Rounding to steps moves 1 / z by step / z**2, evenly spread: its deviation is 1 / sqrt(12).
    allowed = _ROUGHEST * mean + camera.step / math.sqrt(12) * mean**2
    return n, whole & (rest <= allowed**2)
