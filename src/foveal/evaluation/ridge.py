"""Ridge regression on one-hot targets, in closed form: the quickest linear probe.

Hoerl and Kennard, "Ridge regression", Technometrics 1970; as a classifier it predicts the class
with the largest output.

Legend: N training samples, Q test samples, D features, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from foveal.evaluation.probe import Problem, chosen_by, parts, standardised

L2_GRID = tuple(10 ** (i / 4) for i in range(-24, 21))


def ridge(problem: Problem) -> tuple[Tensor, dict[str, Any]]:
    """Scores of ridge regression with the l2 that is best on a held-out part of training."""
    train_x, test_x, about = standardised(problem)
    y, c = problem.train_y, problem.classes
    kept, held = parts(problem)
    figures = [
        problem.score(train_x[held] @ weight.float() + bias.float(), held)
        for weight, bias in ridge_path(train_x[kept], y[kept], classes=c, l2s=L2_GRID)
    ]
    # Of equally good values the strongest penalty.
    best = max(range(len(L2_GRID)), key=lambda i: (figures[i], L2_GRID[i]))
    weight, bias = next(ridge_path(train_x, y, classes=c, l2s=[L2_GRID[best]]))
    return test_x @ weight.float() + bias.float(), {
        "l2": L2_GRID[best],
        "l2_grid": [L2_GRID[0], L2_GRID[-1], len(L2_GRID)],
        "loss": "l2 * ||W||^2 + sum of squared errors to one-hot targets, bias free",
        **chosen_by(problem, figures[best]),
        "normalisation": about,
    }


def ridge_path(
    x_ND: Tensor, y_N: Tensor, *, classes: int, l2s: Sequence[float]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Minimisers of ``l2 * ||W||^2 + ||X W + b - Y||^2``, Y one-hot, from one decomposition.

    Yields:
        Weight [D, C] and bias [C] for each l2, float64.
    """
    x_ND = x_ND.double()
    y_NC = F.one_hot(y_N, classes).double()
    mean_D, mean_C = x_ND.mean(0), y_NC.mean(0)
    centred = x_ND - mean_D
    values_D, axes_DD = torch.linalg.eigh(centred.T @ centred)
    target_DC = axes_DD.T @ (centred.T @ (y_NC - mean_C))
    for l2 in l2s:
        weight_DC = axes_DD @ (target_DC / (values_D.clamp(min=0) + l2)[:, None])
        yield weight_DC, mean_C - mean_D @ weight_DC
