"""Depth and surface normals, over all valid pixels of a set."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foveal.errors import FovealError

_LIMITS = {"within_11": 11.25, "within_22": 22.5, "within_30": 30.0}
_TENTHS = 1800
DEPTH_SUMS, NORMAL_SUMS = 10, 6 + _TENTHS


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
    return {k: float(v) for k, v in depth_scores_of_sums(depth_sums(predicted, truth)).items()}


def depth_sums(predicted: ArrayLike, truth: ArrayLike) -> NDArray[np.float64]:
    """What ``depth_scores`` sums over pixels, [10]; the sums of several pictures add up."""
    d, g = _flat(predicted), _flat(truth)
    if d.shape != g.shape or not d.size or d.min() <= 0 or g.min() <= 0:
        raise FovealError("depths are above 0, as many predicted as true, at least one")
    worst, off, log = np.maximum(d / g, g / d), np.abs(d - g), np.log(d / g)
    terms = [
        *(worst < 1.25**k for k in (1, 2, 3)),
        off, off / g, off**2 / g, off**2, log**2, np.abs(log) / np.log(10),
    ]  # fmt: skip
    return np.array([d.size, *(term.sum() for term in terms)], np.float64)


def depth_scores_of_sums(sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """The scores from ``depth_sums`` [..., 10]."""
    means = np.moveaxis(sums[..., 1:] / sums[..., :1], -1, 0)
    names = ("delta1", "delta2", "delta3", "abs", "rel", "sq_rel", "rms", "rms_log", "log10")
    found = dict(zip(names, means, strict=True))
    return {**found, "rms": np.sqrt(found["rms"]), "rms_log": np.sqrt(found["rms_log"])}


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
    found = normal_scores_of_sums(normal_sums(d))
    return {**{k: float(v) for k, v in found.items()}, "median": float(np.median(d))}


def normal_sums(degrees: ArrayLike) -> NDArray[np.float64]:
    """What ``normal_scores`` needs of the pixels of a picture; the sums of several add up.

    Pixels, sum of angles and of their squares, pixels below the three limits, and for the median
    the pixels in every tenth of a degree: [6 + 1800].
    """
    d = _flat(degrees)
    if not d.size:
        raise FovealError("there are no valid pixels to measure on")
    counts = np.histogram(d, bins=_TENTHS, range=(0, 180))[0]
    below = [(d < limit).sum() for limit in _LIMITS.values()]
    return np.array([d.size, d.sum(), (d**2).sum(), *below, *counts], np.float64)


def normal_scores_of_sums(sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """The scores from ``normal_sums`` [..., 1806]; the median to a tenth of a degree, or better."""
    pixels = sums[..., 0]
    half = pixels / 2
    up_to = np.cumsum(sums[..., 6:], axis=-1)
    tenth = (up_to < half[..., None]).sum(-1)  # where the middle pixel lies
    inside = np.take_along_axis(sums[..., 6:], tenth[..., None], -1)[..., 0]
    before = np.take_along_axis(up_to, tenth[..., None], -1)[..., 0] - inside
    limits = {name: sums[..., 3 + k] / pixels for k, name in enumerate(_LIMITS)}
    return {
        "mean": sums[..., 1] / pixels,
        "median": (tenth + (half - before) / inside) * 180 / _TENTHS,
        "rmse": np.sqrt(sums[..., 2] / pixels),
        **limits,
    }


def _flat(values: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(values, np.float64).reshape(-1)
