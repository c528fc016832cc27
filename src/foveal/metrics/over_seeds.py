"""Intervals over runs that differ in their seed: few values, so Student's t."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from foveal.errors import FovealError


def student_interval(values: Sequence[float], *, level: float = 0.95) -> tuple[float, float]:
    """Interval of the mean of independent values.

    Raises:
        FovealError: Fewer than two: nothing says how far they spread.
    """
    from scipy.stats import t as student

    x = np.asarray(values, np.float64)
    _check(x)
    half = float(student.ppf(0.5 + level / 2, len(x) - 1)) * float(x.std(ddof=1)) / len(x) ** 0.5
    return float(x.mean()) - half, float(x.mean()) + half


def welch_interval(
    a: Sequence[float], b: Sequence[float], *, level: float = 0.95
) -> tuple[float, float]:
    """Interval of ``mean(a) - mean(b)`` of independent values, spreads unequal.

    Welch, "The generalization of 'Student's' problem when several different population variances
    are involved", Biometrika 1947, with Satterthwaite's degrees of freedom.

    Raises:
        FovealError: Fewer than two on one side.
    """
    from scipy.stats import t as student

    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    _check(x)
    _check(y)
    parts = [v.var(ddof=1) / len(v) for v in (x, y)]
    difference, total = float(x.mean() - y.mean()), float(sum(parts))
    if total == 0:
        return difference, difference
    free = total**2 / sum(p**2 / (len(v) - 1) for p, v in zip(parts, (x, y), strict=True))
    half = float(student.ppf(0.5 + level / 2, free)) * total**0.5
    return difference - half, difference + half


def _check(x: NDArray[np.float64]) -> None:
    if len(x) < 2:
        raise FovealError(f"{len(x)} value has no interval", hint="two or more seeds")
