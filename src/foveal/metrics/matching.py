"""Matching of regions between two pictures: overlap of ellipses and who is matched to whom.

Mikolajczyk and Schmid, "A performance evaluation of local descriptors", TPAMI 2005; Dosovitskiy
et al., "Discriminative unsupervised feature learning with exemplar convolutional neural networks",
TPAMI 2016, section 5.

Legend: P pairs, R and S regions of the first and of the second picture.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.core.compiled import compiled

Floats = NDArray[np.float64]

_CHORDS = 256  # an error of the overlap below 1e-5


def ellipse_iou(centres_a: Floats, shapes_a: Floats, centres_b: Floats, shapes_b: Floats) -> Floats:
    """Intersection over union of ellipses, pair by pair.

    An ellipse holds the points x with (x - c)' M^-1 (x - c) <= 1.

    Args:
        centres_a: c of the first ellipses, [P, 2].
        shapes_a: Their M, symmetric and positive definite, [P, 2, 2].
        centres_b: c of the second ellipses.
        shapes_b: Their M.

    Returns:
        [P], by adding up chords, to 1e-5.
    """
    # In coordinates where the first ellipse is the unit circle; ratios of areas stay.
    to_circle = np.linalg.inv(np.linalg.cholesky(shapes_a))
    centre = np.einsum("pij,pj->pi", to_circle, centres_b - centres_a)
    shape = to_circle @ shapes_b @ to_circle.transpose(0, 2, 1)
    a, b, c = shape[:, 0, 0, None], shape[:, 0, 1, None], shape[:, 1, 1, None]
    cx, cy = centre[:, 0, None], centre[:, 1, None]
    low, high = np.maximum(-1.0, cx - np.sqrt(a)), np.minimum(1.0, cx + np.sqrt(a))
    half, middle = np.maximum(high - low, 0) / 2, (high + low) / 2
    # Chords at equal angles, dense where they shrink to nothing.
    angle = (np.arange(_CHORDS) + 0.5) * np.pi / _CHORDS - np.pi / 2
    x = middle + half * np.sin(angle)
    circle = np.sqrt(np.maximum(1 - x**2, 0))
    other = np.sqrt(np.maximum(1 - (x - cx) ** 2 / a, 0) * (c - b**2 / a))
    at = cy + b / a * (x - cx)
    chord = np.minimum(circle, at + other) - np.maximum(-circle, at - other)
    shared = (np.maximum(chord, 0) * half * np.cos(angle)).sum(1) * np.pi / _CHORDS
    area = np.pi * np.sqrt(np.linalg.det(shape))
    found: Floats = shared / (np.pi + area - shared)
    return found


def greedy_matches(distances: Floats) -> NDArray[np.int64]:
    """One-to-one: again and again the closest two regions that are both free.

    Args:
        distances: [R, S]. Of equal ones the first in row order is taken.

    Returns:
        (row, column) by increasing distance, [min(R, S), 2].
    """
    order = np.argsort(distances, axis=None, kind="stable")
    out = np.empty((min(distances.shape), 2), np.int64)
    _take(order, *distances.shape, out)
    return out


def nearest_matches(distances: Floats) -> NDArray[np.int64]:
    """One way: every region of the first picture with the closest of the second.

    Args:
        distances: [R, S].

    Returns:
        (row, column) by increasing distance, [R, 2].
    """
    nearest = distances.argmin(1) if distances.shape[1] else np.empty(0, np.int64)
    rows = np.argsort(distances[np.arange(len(nearest)), nearest], kind="stable")
    return np.stack([rows, nearest[rows]], 1)


@compiled()
def _take(order: Any, rows: Any, columns: Any, out: Any) -> None:
    free_row, free_column = np.ones(rows, np.bool_), np.ones(columns, np.bool_)
    n = 0
    for flat in order:
        if n == len(out):
            return
        i, j = flat // columns, flat % columns
        if free_row[i] and free_column[j]:
            out[n, 0], out[n, 1] = i, j
            free_row[i] = free_column[j] = False
            n += 1
