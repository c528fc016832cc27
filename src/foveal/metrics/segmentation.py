"""Segmentation: the confusion of all pixels of all pictures, and what is read from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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


def class_counts(table: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of a confusion table all that the scores need: right, true, predicted pixels, [3, K]."""
    return np.stack([np.diag(table), table.sum(1), table.sum(0)])


def scores_of_counts(counts: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """``iou`` [..., K] and the scores below, [...], from ``class_counts`` [..., 3, K].

    Raises:
        FovealError: There is not a labelled pixel.
    """
    right, true, said = np.moveaxis(np.asarray(counts, np.float64), -2, 0)
    pixels = true.sum(-1)
    if not np.all(pixels):
        raise FovealError("there are no labelled pixels to measure on")
    with np.errstate(invalid="ignore"):
        iou = right / (true + said - right)
        recall = right / true
    return {
        "iou": iou,
        "mean_iou": np.nanmean(iou, axis=-1),
        "accuracy": right.sum(-1) / pixels,
        "mean_accuracy": np.nanmean(recall, axis=-1),
        "weighted_iou": np.nansum(true * iou, axis=-1) / pixels,
    }


def segmentation_scores(table: NDArray[np.int64]) -> SegmentationScores:
    """Scores from a confusion table, summed over all pictures (not averaged over them)."""
    found = scores_of_counts(class_counts(table))
    iou = found.pop("iou")
    return SegmentationScores(iou, **{name: float(value) for name, value in found.items()})
