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

    Raw pixels are treated as features are. Taking the mean training picture out of them first made
    them a weaker baseline on Doom objects (14.0 % instead of 17.1 %).
    """
    k = min(problem.k, len(problem.train_x))
    scores = knn_scores(
        problem.train_x,
        problem.train_y,
        problem.test_x,
        classes=problem.classes,
        k=k,
        temperature=TEMPERATURE,
    )
    return scores.masked_fill(scores == 0, -math.inf), {
        "k": k,
        "temperature": TEMPERATURE,
        "normalisation": "l2",
    }
