"""Weighted kNN on l2-normalised features (NPID, section 3.4)."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from foveal.evaluation.probe import Problem
from foveal.metrics.knn import knn_scores

TEMPERATURE = 0.07


def knn(problem: Problem) -> tuple[Tensor, dict[str, Any]]:
    """Scores of ``foveal.metrics.knn``; a class that none of the neighbours has is no answer.

    Raw pixels have the mean training picture subtracted first: without it all cosines are near 1.
    """
    train_x, test_x = problem.train_x, problem.test_x
    if problem.pixels:
        mean_D = train_x.mean(0)
        train_x, test_x = train_x - mean_D, test_x - mean_D
    k = min(problem.k, len(train_x))
    scores = knn_scores(
        train_x, problem.train_y, test_x, classes=problem.classes, k=k, temperature=TEMPERATURE
    )
    normalisation = "mean training picture subtracted, then l2" if problem.pixels else "l2"
    return scores.masked_fill(scores == 0, -math.inf), {
        "k": k,
        "temperature": TEMPERATURE,
        "normalisation": normalisation,
    }
