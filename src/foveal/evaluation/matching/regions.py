"""Elliptic regions: found, followed through a homography, cut out as square patches.

Legend: R regions, S of the other picture, P side of a patch, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.metrics.matching import Floats, ellipse_iou
from foveal.motion.packages import opencv

_LEAST_AXIS, _LONGEST = 1.5, 8.0  # half axis in pixels; long by short axis
_TURN_SIDE, _TURN_BINS = 33, 36
_AT_ONCE = 1 << 16  # pairs of ellipses


@dataclass(frozen=True)
class Regions:
    """Ellipses of a picture: the points x with (x - c)' M^-1 (x - c) <= 1.

    Attributes:
        centres: c as (x, y), [R, 2].
        shapes: M, [R, 2, 2].
    """

    centres: Floats
    shapes: Floats

    def __len__(self) -> int:
        return len(self.centres)

    def __getitem__(self, rows: NDArray[Any]) -> Regions:
        return Regions(self.centres[rows], self.shapes[rows])


def find_regions(pixels: NDArray[np.uint8], most: int) -> Regions:
    """Maximally stable extremal regions, bright and dark, as ellipses of the same moments.

    Matas et al., "Robust wide baseline stereo from maximally stable extremal regions", BMVC 2002;
    OpenCV's with its defaults, on grey values.

    Args:
        pixels: uint8 [H, W, 1 or 3].
        most: The largest are kept.
    """
    found, _ = opencv().MSER_create().detectRegions(grey(pixels))
    centres, shapes = np.empty((len(found), 2)), np.empty((len(found), 2, 2))
    for i, points in enumerate(found):
        centres[i], shapes[i] = ellipse_of(points)
    axes = np.sqrt(np.linalg.eigvalsh(shapes))
    good = np.flatnonzero((axes[:, 0] >= _LEAST_AXIS) & (axes[:, 1] <= _LONGEST * axes[:, 0]))
    area = axes[good].prod(1)
    return Regions(centres, shapes)[good[np.argsort(-area, kind="stable")[:most]]]


def ellipse_of(points: NDArray[np.int32]) -> tuple[Floats, Floats]:
    """Centre [2] and M [2, 2] of the filled ellipse with the moments of some pixels [N, 2]."""
    # Its second moments are a quarter of M; a pixel's own are 1/12.
    return points.mean(0), 4 * (np.cov(points.T, bias=True) + np.eye(2) / 12)


def projected(regions: Regions, homography: Floats) -> Regions:
    """Where regions lie after a homography, which is taken as affine within each."""
    points = np.column_stack([regions.centres, np.ones(len(regions))]) @ homography.T
    centres = points[:, :2] / points[:, 2:]
    # d(x / z) = (dx - (x / z) dz) / z
    jacobians = (
        homography[None, :2, :2] - centres[:, :, None] * homography[None, None, 2, :2]
    ) / points[:, 2, None, None]
    return Regions(centres, jacobians @ regions.shapes @ jacobians.transpose(0, 2, 1))


def inside(regions: Regions, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Whether the centres lie in a picture of this shape, [R]."""
    x, y = regions.centres.T
    found: NDArray[np.bool_] = (x >= 0) & (y >= 0) & (x <= shape[1] - 1) & (y <= shape[0] - 1)
    return found


def overlaps(a: Regions, b: Regions, least: float) -> NDArray[np.bool_]:
    """Whether the intersection over union of two regions is at least ``least``, [R, S]."""
    area_a, area_b = (np.sqrt(np.linalg.det(r.shapes)) for r in (a, b))
    ratio = area_a[:, None] / area_b[None]
    apart = np.linalg.norm(a.centres[:, None] - b.centres[None], axis=-1)
    reach = [np.sqrt(np.linalg.eigvalsh(r.shapes)[:, 1]) for r in (a, b)]
    # The smaller one's share of the larger bounds the overlap.
    possible = (ratio >= least) & (ratio <= 1 / least) & (apart < reach[0][:, None] + reach[1])
    right = np.zeros(possible.shape, bool)
    rows, columns = np.nonzero(possible)
    for start in range(0, len(rows), _AT_ONCE):
        i, j = rows[start : start + _AT_ONCE], columns[start : start + _AT_ONCE]
        right[i, j] = ellipse_iou(a.centres[i], a.shapes[i], b.centres[j], b.shapes[j]) >= least
    return right


def grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 [H, W]."""
    if pixels.shape[2] == 1:
        return np.ascontiguousarray(pixels[:, :, 0])
    cv2 = opencv()
    found: NDArray[np.uint8] = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return found


def frames(pixels: NDArray[np.uint8], regions: Regions, *, enlarge: float, upright: bool) -> Floats:
    """The linear map of each patch: from the square [-1, 1]^2 to the picture, [R, 2, 2].

    It makes the enlarged ellipse a circle (the symmetric root of M); what that leaves open, a
    turn, is taken from the strongest direction of the gradients in the patch (Lowe, IJCV 2004,
    section 5, its first peak alone).
    """
    values, vectors = np.linalg.eigh(regions.shapes)
    roots: Floats = enlarge * (vectors * np.sqrt(values)[:, None]) @ vectors.transpose(0, 2, 1)
    if upright or not len(regions):
        return roots
    small = patches(grey(pixels)[:, :, None], regions, roots, _TURN_SIDE)[..., 0]
    turn = _main_directions(small.astype(np.float64))
    c, s = np.cos(turn), np.sin(turn)
    turned: Floats = roots @ np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], 1)
    return turned


def patches(
    pixels: NDArray[np.uint8], regions: Regions, linear: Floats, side: int
) -> NDArray[np.uint8]:
    """Square patches about the centres, uint8 [R, P, P, C].

    Large regions are read from a picture halved as often as their scale says, so that no detail
    aliases; beyond the border the picture is mirrored.

    Args:
        pixels: uint8 [H, W, C].
        regions: Whose centres.
        linear: See ``frames``.
        side: P.
    """
    cv2 = opencv()
    out = np.empty((len(regions), side, side, pixels.shape[2]), np.uint8)
    # Pixels of the picture for one of the patch, by area.
    steps = np.sqrt(np.abs(np.linalg.det(linear))) * 2 / side
    levels = np.floor(np.log2(np.maximum(steps, 1))).astype(int)
    pyramid = [pixels]
    for _ in range(int(levels.max(initial=0))):
        if min(pyramid[-1].shape[:2]) < 4:
            break
        pyramid.append(cv2.pyrDown(pyramid[-1]))
    middle = (side - 1) / 2
    for i, level in enumerate(np.minimum(levels, len(pyramid) - 1)):
        share = 0.5**level
        matrix = linear[i] * share * 2 / side
        # Pixel k of pyrDown lies at pixel 2 k of the picture before.
        corner = regions.centres[i] * share - matrix @ [middle, middle]
        out[i] = cv2.warpAffine(
            pyramid[level], np.column_stack([matrix, corner]), (side, side),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT_101,
        ).reshape(out.shape[1:])  # fmt: skip
    return out


def _main_directions(grey_RPP: Floats) -> Floats:
    """The angle of the strongest gradients of every patch, [R], in radians."""
    side = grey_RPP.shape[1]
    dy, dx = np.gradient(grey_RPP, axis=(1, 2))
    at = np.linspace(-1, 1, side)
    weight = np.exp(-(at[:, None] ** 2 + at**2) / (2 * 0.5**2)) * (at[:, None] ** 2 + at**2 <= 1)
    bins = np.rint(np.arctan2(dy, dx) * _TURN_BINS / (2 * np.pi)).astype(int) % _TURN_BINS
    cells = bins + np.arange(len(bins))[:, None, None] * _TURN_BINS
    counts = np.bincount(
        cells.ravel(), (np.hypot(dx, dy) * weight).ravel(), minlength=len(bins) * _TURN_BINS
    ).reshape(-1, _TURN_BINS)
    smooth = np.asarray(counts, np.float64)
    for _ in range(2):
        smooth = (np.roll(smooth, 1, 1) + smooth + np.roll(smooth, -1, 1)) / 3
    peak = smooth.argmax(1)
    left, top, right = (
        np.take_along_axis(smooth, (peak[:, None] + k) % _TURN_BINS, 1)[:, 0] for k in (-1, 0, 1)
    )
    bend = left - 2 * top + right
    offset = np.divide(left - right, 2 * bend, out=np.zeros_like(bend), where=bend < 0)
    found: Floats = (peak + offset) * 2 * np.pi / _TURN_BINS
    return found
