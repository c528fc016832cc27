"""Depth and surface normals, over all valid pixels of a set."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foveal.errors import FovealError


def depth_scores(predicted: ArrayLike, truth: ArrayLike) -> dict[str, float]:
    """The usual figures of depth (Eigen et al.; NYUv2).

    Args:
        predicted: Depths above 0, any shape; only valid pixels.
        truth: The same pixels, the same unit.

    Returns:
        ``delta1`` to ``delta3``: share with max(d/g, g/d) below 1.25, 1.25**2, 1.25**3. ``rel``,
        ``sq_rel``: mean of |d - g| / g and (d - g)**2 / g. ``abs``: mean |d - g|. ``rms``,
        ``rms_log``, ``log10``: root mean square of d - g and ln d - ln g, mean of the absolute
        difference of the decimal logarithms.
    """
    d, g = _flat(predicted), _flat(truth)
    if d.shape != g.shape or not d.size or d.min() <= 0 or g.min() <= 0:
        raise FovealError("depths are above 0, as many predicted as true, at least one")
    worst = np.maximum(d / g, g / d)
    return {
        **{f"delta{k}": float((worst < 1.25**k).mean()) for k in (1, 2, 3)},
        "abs": float(np.abs(d - g).mean()),
        "rel": float((np.abs(d - g) / g).mean()),
        "sq_rel": float(((d - g) ** 2 / g).mean()),
        "rms": float(np.sqrt(((d - g) ** 2).mean())),
        "rms_log": float(np.sqrt((np.log(d / g) ** 2).mean())),
        "log10": float(np.abs(np.log10(d / g)).mean()),
    }


def angles(predicted: ArrayLike, truth: ArrayLike) -> NDArray[np.float64]:
    """Angles between normals [..., 3], in degrees, float64 [N]; both are brought to length 1."""
    a, b = (np.asarray(x, np.float64).reshape(-1, 3) for x in (predicted, truth))
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    found: NDArray[np.float64] = np.degrees(np.arccos(np.clip((a * b).sum(1), -1, 1)))
    return found


def normal_scores(degrees: ArrayLike) -> dict[str, float]:
    """The usual figures of surface normals, from the angle of every pixel.

    Returns:
        ``mean``, ``median``, ``rmse`` in degrees; ``within_11``, ``within_22``, ``within_30``: the
        share of pixels strictly below 11.25, 22.5 and 30 degrees.
    """
    d = _flat(degrees)
    if not d.size:
        raise FovealError("there are no valid pixels to measure on")
    limits = {"within_11": 11.25, "within_22": 22.5, "within_30": 30.0}
    return {
        "mean": float(d.mean()),
        "median": float(np.median(d)),
        "rmse": float(np.sqrt((d**2).mean())),
        **{name: float((d < limit).mean()) for name, limit in limits.items()},
    }


def _flat(values: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(values, np.float64).reshape(-1)
