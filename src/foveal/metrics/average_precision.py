"""Average precision, in the five forms that papers mean by the name.

P_k and R_k are precision and recall after the k-th ranked item. The forms differ by up to ten
points on the same ranking, so a result always names its own.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foveal.errors import FovealError

Form = Literal["raw", "envelope", "eleven_point", "coco", "trapezoid"]


def average_precision(
    scores: ArrayLike, relevant: ArrayLike, *, form: Form, possible: int | None = None
) -> float:
    """Average precision of one ranking.

    Args:
        scores: Higher is ranked earlier, [N]. Equal scores are one rank: no order among them is
            better than another.
        relevant: Whether the item is right, [N].
        form: ``raw``: sum of (R_k - R_{k-1}) P_k (scikit-learn). ``envelope``: the same with P_k
            replaced by the largest precision at this or a higher recall (VOC from 2010).
            ``eleven_point``: mean of that envelope at recall 0, 0.1, ..., 1 (VOC07). ``coco``: the
            same at 101 recalls. ``trapezoid``: mean over relevant items of the mean of the
            precision before and after them (Oxford and Paris buildings).
        possible: How many relevant items there are, found or not; None: as many as ``relevant``
            says.

    Raises:
        FovealError: No relevant item is possible, or the lengths differ.
    """
    s, y = np.asarray(scores, np.float64), np.asarray(relevant, bool)
    if s.ndim != 1 or s.shape != y.shape:
        raise FovealError(f"scores {s.shape} and relevant {y.shape} must be [N]")
    total = int(y.sum()) if possible is None else possible
    if total < max(1, int(y.sum())):
        raise FovealError(f"{total} relevant items possible and {int(y.sum())} found")
    if form not in get_args(Form):
        raise FovealError(f"there is no form '{form}'", hint=", ".join(get_args(Form)))
    precision, recall = precision_recall(s, y, total)
    if form == "trapezoid":
        before = np.concatenate([[1.0], precision[:-1]])
        return float(np.diff(recall, prepend=0.0) @ (before + precision) / 2)
    if form == "raw":
        return float(np.diff(recall, prepend=0.0) @ precision)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    if form == "envelope":
        return float(np.diff(recall, prepend=0.0) @ envelope)
    steps = 10 if form == "eleven_point" else 100
    # i / steps: sums of 0.1 miss a recall of exactly 0.3.
    at = np.searchsorted(recall, np.arange(steps + 1) / steps - 1e-12)
    return float(np.append(envelope, 0.0)[at].mean())


def precision_recall(
    scores: NDArray[np.float64], relevant: NDArray[np.bool_], possible: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision and recall after every distinct score, highest first; both [distinct scores]."""
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(relevant[order])
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True)) if len(order) else order
    return found[last] / (last + 1.0), found[last] / possible
