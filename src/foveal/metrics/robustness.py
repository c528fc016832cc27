"""Corruption errors, calibration and reconstruction."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foveal.errors import FovealError


def corruption_errors(
    errors: ArrayLike,
    reference: ArrayLike,
    *,
    clean: float | None = None,
    clean_reference: float | None = None,
) -> NDArray[np.float64]:
    """The CE of every corruption: error over severities relative to a reference network, [..., C].

    Args:
        errors: Error by corruption and severity, [..., C, S].
        reference: The same of the reference (AlexNet), of the same shape.
        clean: Error on clean pictures; with ``clean_reference`` it gives the relative CE, which
            is about the growth of the error.
        clean_reference: The reference's.
    """
    e, r = np.asarray(errors, np.float64), np.asarray(reference, np.float64)
    if e.ndim < 2 or e.shape != r.shape:
        raise FovealError(f"errors {e.shape} and reference {r.shape} must be [C, S]")
    if (clean is None) != (clean_reference is None):
        raise FovealError("the relative mCE needs the clean errors of both networks")
    above: NDArray[np.float64] = (e - (clean or 0)).sum(-1)
    below: NDArray[np.float64] = (r - (clean_reference or 0)).sum(-1)
    if (below <= 0).any():
        raise FovealError("the reference makes no more errors on a corruption than it may")
    return above / below


def mean_corruption_error(
    errors: ArrayLike,
    reference: ArrayLike,
    *,
    clean: float | None = None,
    clean_reference: float | None = None,
) -> float:
    """The mCE of ImageNet-C: the mean over corruptions of ``corruption_errors``, [C, S] both."""
    found = corruption_errors(errors, reference, clean=clean, clean_reference=clean_reference)
    if found.ndim != 1:
        raise FovealError(f"errors {np.shape(errors)} must be [C, S]")
    return float(found.mean())


def expected_calibration_error(confidence: ArrayLike, right: ArrayLike, bins: int = 15) -> float:
    """ECE: mean over bins (low, high], by size, of |accuracy - mean confidence|."""
    return float(np.abs(calibration_gaps(confidence, right, bins).sum(0)).sum() / np.size(right))


def calibration_gaps(
    confidence: ArrayLike, right: ArrayLike, bins: int = 15
) -> NDArray[np.float64]:
    """Right (1 or 0) less confidence, in the column of the answer's bin, [N, bins]."""
    c, y = np.asarray(confidence, np.float64), np.asarray(right, np.float64)
    if c.shape != y.shape or not c.size or c.min() < 0 or c.max() > 1:
        raise FovealError("confidences in [0, 1], as many as answers, at least one")
    index = np.clip(np.ceil(c * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.zeros((c.size, bins))
    gaps[np.arange(c.size), index] = y - c
    return gaps


def reconstruction_error(predicted: ArrayLike, truth: ArrayLike) -> dict[str, float]:
    """``l1``: mean |d| / 255 in percent; ``l2``: mean d**2 / 255**2 in percent; ``psnr`` in dB.

    Args:
        predicted: Grey levels from 0 to 255, any shape.
        truth: The same shape.
    """
    d = np.asarray(predicted, np.float64) - np.asarray(truth, np.float64)
    square = float((d**2).mean())
    psnr = 10 * np.log10(255**2 / square) if square else np.inf
    return {
        "l1": float(100 * np.abs(d).mean() / 255),
        "l2": 100 * square / 255**2,
        "psnr": float(psnr),
    }
