"""How a score grows with the number of pictures: ``score = a + b log10 N``.

Sun, Shrivastava, Singh, Gupta, "Revisiting unreasonable effectiveness of data in deep learning
era", ICCV 2017 (section 5): a straight line over the logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foveal.errors import FovealError


@dataclass(frozen=True)
class LogLinear:
    """A fitted line.

    Attributes:
        a: The score at N = 1.
        b: What ten times as many pictures add.
        interval: Of ``b``; infinite where two points leave nothing to judge by.
        r2: Share of the scores' variance that the line explains; 1 where all scores are equal.
        points: How many scores were fitted.
    """

    a: float
    b: float
    interval: tuple[float, float]
    r2: float
    points: int

    def at(self, n: float) -> float:
        """The score the line gives for ``n`` pictures."""
        return self.a + self.b * math.log10(n)


def fit_log_linear(
    counts: Sequence[float], scores: Sequence[float], *, level: float = 0.95
) -> LogLinear:
    """Least squares, with Student's interval of the slope (n - 2 degrees of freedom).

    The interval takes the scores for independent with one spread: give every seed its own point.

    Raises:
        FovealError: Fewer than two different counts, or one that is not positive.
    """
    from scipy.stats import t as student

    n, y = np.asarray(counts, np.float64), np.asarray(scores, np.float64)
    if n.shape != y.shape or (n <= 0).any() or len(np.unique(n)) < 2:
        raise FovealError(
            f"no line through {len(n)} counts and {len(y)} scores",
            hint="as many scores as counts, two or more different counts, all above 0",
        )
    x = np.log10(n)
    dx, dy = x - x.mean(), y - y.mean()
    sxx = float((dx**2).sum())
    b = float((dx * dy).sum()) / sxx
    a = float(y.mean() - b * x.mean())
    rest, total = float(((y - a - b * x) ** 2).sum()), float((dy**2).sum())
    free = len(y) - 2
    half = math.inf
    if free > 0:
        half = float(student.ppf(0.5 + level / 2, free)) * math.sqrt(rest / free / sxx)
    return LogLinear(a, b, (b - half, b + half), 1 - rest / total if total else 1.0, len(y))
