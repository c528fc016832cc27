"""Linear probe by L-BFGS: multinomial logistic regression on frozen pooled features.

Kornblith et al., "Do better ImageNet models transfer better?", CVPR 2019, appendix A.6: 45 values
of l2 regularisation, spaced evenly in the logarithm from 1e-6 to 1e5, chosen on held-out data.

Legend: N training samples, Q test samples, D features, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from foveal.evaluation.probe import Problem, chosen_by, parts, standardised

L2_GRID = tuple(10 ** (i / 4) for i in range(-24, 21))
MAX_ITERATIONS = 100
_UNCHOSEN = 1.0
_PATIENCE, _STALL = 6, 12  # values of l2: a decade and a half, three decades
_COARSE_FROM = 1 << 28  # training values (1 GB): from here on every fourth l2
_FLOAT64_VALUES = 1 << 20  # up to this many features float64 costs nothing that is felt


def linear(problem: Problem) -> tuple[Tensor, dict[str, Any]]:
    """Scores of logistic regression with the l2 that is best on a held-out part of training.

    Where a picture may hold several classes it is one sigmoid a class, all with one l2. What is
    best is said by the problem's metric.

    The sweep starts at the largest l2, every fit where the two before it lead. It ends where the
    held-out figure has stayed below its best for a decade and a half of l2, or has not passed it
    for three decades, counted from where the data outweigh the penalty (l2 < N / C): the fits below
    take longest and are the least regularised.
    Above 2^28 training values only every fourth l2 is tried. The configuration says which values
    were tried.
    """
    train_x, test_x, about = standardised(problem)
    y, c = problem.train_y, problem.classes
    step = 1 if train_x.numel() < _COARSE_FROM else 4
    grid = L2_GRID[::-step]
    kept, held = parts(problem)
    on_kept = LogisticProblem(train_x[kept], y[kept], classes=c)
    fit: LogisticFit | None = None
    start: LogisticFit | None = None
    best_fit: LogisticFit | None = None
    below = stalled = 0
    figures: list[float] = []
    for l2 in grid:
        before, fit = fit, on_kept.fit(l2, start)
        # Steps of the grid are equal in the logarithm, along which solutions move evenly.
        start = fit if before is None else _continued(before, fit)
        figures.append(problem.score(fit.scores(train_x[held]), held))
        # The first of equally good values is the one with the strongest penalty.
        best = figures.index(max(figures))
        best_fit = fit if best == len(figures) - 1 else best_fit
        if l2 >= len(kept) / c or best == len(figures) - 1:
            below = stalled = 0
            continue
        stalled += step
        below = below + step if figures[-1] < figures[best] else 0
        if below >= _PATIENCE or stalled >= _STALL:
            break
    fit = LogisticProblem(train_x, y, classes=c).fit(grid[best], best_fit)
    return fit.scores(test_x), {
        "l2": grid[best],
        "l2_grid": [L2_GRID[0], L2_GRID[-1], len(grid)],
        "l2_tried": [grid[len(figures) - 1], grid[0], len(figures)],
        "loss": f"0.5 * l2 * ||W||^2 + sum of {'cross' if y.ndim == 1 else 'binary cross'}"
        "-entropies, bias free",
        "optimiser": f"L-BFGS, at most {MAX_ITERATIONS} iterations",
        "iterations": fit.iterations,
        **chosen_by(problem, figures[best]),
        "normalisation": about,
    }


def linear_unchosen(problem: Problem) -> tuple[Tensor, dict[str, Any]]:
    """The same with l2 = 1: for one label a class, where nothing can be held out."""
    train_x, test_x, about = standardised(problem)
    fit = LogisticProblem(train_x, problem.train_y, classes=problem.classes).fit(_UNCHOSEN)
    return fit.scores(test_x), {
        "l2": _UNCHOSEN,
        "chosen_on": "nothing: one label a class leaves none to choose by",
        "normalisation": about,
    }


@dataclass(frozen=True)
class LogisticFit:
    """A fitted classifier.

    Attributes:
        weight: [C, D].
        bias: [C].
        objective: ``0.5 * l2 * ||weight||^2 + sum of cross-entropies`` at the end.
        iterations: Of L-BFGS.
    """

    weight: Tensor
    bias: Tensor
    objective: float
    iterations: int

    def scores(self, x_QD: Tensor) -> Tensor:
        """Logits [Q, C]."""
        return x_QD.to(self.weight.dtype) @ self.weight.T + self.bias


def _continued(a: LogisticFit, b: LogisticFit) -> LogisticFit:
    """As far beyond ``b`` as it is from ``a``: a start, not a solution."""
    return replace(b, weight=2 * b.weight - a.weight, bias=2 * b.bias - a.bias)


class LogisticProblem:
    """``minimise 0.5 * l2 * ||W||^2 + sum_i CE_i``, bias not penalised, for several ``l2``.

    The loss is a sum over samples, not a mean: with a mean, l2 would be N times smaller. Two
    classes share one weight vector (a sigmoid, as in scikit-learn), whose norm is the penalty.
    Where a sample may be of several classes, CE_i is the sum of a binary cross-entropy for every
    class that is counted.

    The features are rotated onto their principal axes and each axis is scaled by a bound of its
    curvature. That changes neither the problem nor its solution, and takes L-BFGS from hundreds of
    iterations to tens.

    Args:
        x_ND: Features.
        y: int64 [N], 0 to C-1; or int8 [N, C]: 1, 0, or -1 where a class is not counted.
        classes: C.
        max_iterations: A fit ends here at the latest.
    """

    def __init__(
        self, x_ND: Tensor, y: Tensor, *, classes: int, max_iterations: int = MAX_ITERATIONS
    ) -> None:
        small = x_ND.numel() <= _FLOAT64_VALUES
        self.dtype = torch.float64 if small else torch.float32
        self.max_iterations = max_iterations
        self.classes = classes
        self.mean_D = x_ND.double().mean(0)
        centred = (x_ND - self.mean_D.to(x_ND.dtype)).to(self.dtype)
        curvature, self.axes_DD = torch.linalg.eigh((centred.T @ centred).double())
        self.curvature_D = curvature.clamp(min=0)
        self.z_ND = centred @ self.axes_DD.to(self.dtype)
        self.several = y.ndim == 2
        marks_NC = y if self.several else F.one_hot(y, classes)
        self.target_NC = (marks_NC == 1).to(self.dtype)
        self.counted_NC = (marks_NC >= 0).to(self.dtype) if self.several else None

    def fit(self, l2: float, start: LogisticFit | None = None) -> LogisticFit:
        """Solves for one ``l2``, from zero or from another fit."""
        from scipy.optimize import minimize

        n, d = self.z_ND.shape
        c = self.classes
        penalty = 2 * l2 if c == 2 and not self.several else l2
        # p (1 - p) for a classifier that knows nothing but, at most, how frequent classes are.
        p = max(float(self.target_NC.mean()), 1 / n) if self.several else 1 / c
        h = p * (1 - p) if p < 1 else 1 / n
        scale_D1 = (1 / (h * self.curvature_D + penalty).sqrt())[:, None].cpu()
        scale = torch.cat([scale_D1, torch.full((1, 1), (h * n) ** -0.5)]).double()
        begin = torch.zeros(d + 1, c, dtype=torch.float64)
        if start is not None:
            weight_CD, bias_C = start.weight.double(), start.bias.double()
            begin[:-1] = (weight_CD @ self.axes_DD).T.cpu()
            begin[-1] = (bias_C + weight_CD @ self.mean_D).cpu()

        def objective(v: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            w = torch.from_numpy(v).view(d + 1, c) * scale
            on_device = w.to(self.z_ND.device, self.dtype)
            logits = torch.addmm(on_device[-1], self.z_ND, on_device[:-1])
            loss, residual = self._loss(logits)
            gradient = torch.cat([self.z_ND.T @ residual, residual.sum(0, keepdim=True)])
            gradient = gradient.cpu().double()
            gradient[:-1] += penalty * w[:-1]
            loss = loss.cpu() + 0.5 * penalty * w[:-1].square().sum()
            return float(loss), (gradient * scale).numpy().ravel()

        exact = self.dtype == torch.float64
        found = minimize(
            objective,
            (begin / scale).numpy().ravel(),
            jac=True,
            method="L-BFGS-B",
            options={
                "maxiter": self.max_iterations,
                "maxcor": 10,
                "ftol": 1e-13 if exact else 1e-6,
                "gtol": 1e-7 if exact else 1e-3,
            },
        )
        w = torch.from_numpy(found.x).view(d + 1, c) * scale
        weight_CD = (self.axes_DD.cpu() @ w[:-1]).T.to(self.mean_D.device)
        bias_C = w[-1].to(self.mean_D.device) - weight_CD @ self.mean_D
        return LogisticFit(
            weight_CD.to(self.dtype), bias_C.to(self.dtype), float(found.fun), int(found.nit)
        )

    def _loss(self, logits_NC: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of the cross-entropies, and its gradient by the logits."""
        if self.counted_NC is None:
            log_p = F.log_softmax(logits_NC, 1)
            loss = -(log_p * self.target_NC).double().sum()
            return loss, log_p.exp_().sub_(self.target_NC)
        each = F.softplus(logits_NC) - self.target_NC * logits_NC
        loss = (each * self.counted_NC).double().sum()
        return loss, (logits_NC.sigmoid() - self.target_NC) * self.counted_NC
