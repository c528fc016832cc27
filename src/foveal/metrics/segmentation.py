"""Segmentation: the confusion of all pixels of all pictures, and what is read from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foveal.errors import FovealError

IGNORE = 255


@dataclass(frozen=True)
class SegmentationScores:
    """Shares in [0, 1].

    Attributes:
        iou: Intersection over union of every class [K]; nan where it neither is nor was predicted.
        mean_iou: Their mean, absent classes left out.
        accuracy: Share of right pixels.
        mean_accuracy: Mean over the classes that occur of their share of right pixels.
        weighted_iou: IoU weighted by how often the class occurs.
    """

    iou: NDArray[np.float64]
    mean_iou: float
    accuracy: float
    mean_accuracy: float
    weighted_iou: float


def confusion(
    truth: NDArray[np.integer], predicted: NDArray[np.integer], classes: int
) -> NDArray[np.int64]:
    """Pixels by true class (rows) and predicted class (columns), [K, K]; 255 is left out."""
    if truth.shape != predicted.shape:
        raise FovealError(f"truth {truth.shape} and prediction {predicted.shape} differ in shape")
    keep = truth != IGNORE
    t, p = truth[keep].astype(np.int64), predicted[keep].astype(np.int64)
    if t.size and (max(t.max(), p.max()) >= classes or min(t.min(), p.min()) < 0):
        raise FovealError(f"classes are 0 to {classes - 1}, or {IGNORE} for pixels to leave out")
    return np.bincount(t * classes + p, minlength=classes**2).reshape(classes, classes)


def segmentation_scores(table: NDArray[np.int64]) -> SegmentationScores:
    """Scores from a confusion table, summed over all pictures (not averaged over them)."""
    right, true, said = np.diag(table), table.sum(1), table.sum(0)
    if not true.sum():
        raise FovealError("there are no labelled pixels to measure on")
    with np.errstate(invalid="ignore"):
        iou = right / (true + said - right)
        recall = right / true
    return SegmentationScores(
        iou,
        float(np.nanmean(iou)),
        float(right.sum() / true.sum()),
        float(np.nanmean(recall)),
        float(np.nansum(true / true.sum() * iou)),
    )
