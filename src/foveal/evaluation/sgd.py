"""A grid of linear heads trained by SGD, all at once as one matrix.

The recipe of BYOL's linear evaluation (Grill et al., NeurIPS 2020, appendix C.1: Nesterov momentum
0.9, cosine schedule, no augmentation of ours since features are extracted once), over a grid of
learning rates and weight decays.

Legend: N training samples, Q test samples, B batch, D features, H heads, C classes, M = H * C.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foveal.core import rng
from foveal.evaluation.probe import Problem, chosen_by, parts, standardised

LEARNING_RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
WEIGHT_DECAYS = (0.0, 1e-3)
_EPOCHS, _BATCH, _MOMENTUM = 30, 256, 0.9


def sgd(problem: Problem) -> tuple[Tensor, dict[str, Any]]:
    """Scores of the head that is best on a held-out part of training, then trained on all."""
    train_x, test_x, about = standardised(problem)
    y, c, seed = problem.train_y, problem.classes, problem.seed
    kept, held = parts(problem)
    grid = list(itertools.product(LEARNING_RATES, WEIGHT_DECAYS))
    weight_DHC, bias_HC = train_heads(train_x[kept], y[kept], classes=c, heads=grid, seed=seed)
    figures = [
        problem.score(train_x[held] @ weight_DHC[:, h] + bias_HC[h], held) for h in range(len(grid))
    ]
    best = max(range(len(grid)), key=lambda h: (figures[h], -h))
    weight_DHC, bias_HC = train_heads(train_x, y, classes=c, heads=[grid[best]], seed=seed)
    return test_x @ weight_DHC[:, 0] + bias_HC[0], {
        "lr": grid[best][0],
        "weight_decay": grid[best][1],
        "lr_grid": list(LEARNING_RATES),
        "weight_decay_grid": list(WEIGHT_DECAYS),
        "epochs": _EPOCHS,
        "batch": _BATCH,
        "optimiser": f"SGD, Nesterov momentum {_MOMENTUM}, cosine to 0, zero initialisation",
        **chosen_by(problem, figures[best]),
        "normalisation": about,
    }


def train_heads(
    x_ND: Tensor,
    y_N: Tensor,
    *,
    classes: int,
    heads: Sequence[tuple[float, float]],
    seed: int,
    epochs: int = _EPOCHS,
    batch: int = _BATCH,
    momentum: float = _MOMENTUM,
) -> tuple[Tensor, Tensor]:
    """Trains heads that differ in (learning rate, weight decay) and see the same batches.

    Every head minimises the mean cross-entropy of a batch; the decay spares the bias. A last
    batch that is not full is used. Weights start at zero.

    Returns:
        Weights [D, H, C] and biases [H, C].
    """
    n, d = x_ND.shape
    h = len(heads)
    # One entry a column, so that everything below runs along rows of memory; M = H * C.
    per_head_H2 = torch.tensor(heads, dtype=x_ND.dtype, device=x_ND.device)
    lr_M, decay_M = per_head_H2.repeat_interleave(classes, 0).T
    # The bias is the last row: one matrix product for everything.
    w = torch.zeros(d + 1, h * classes, dtype=x_ND.dtype, device=x_ND.device)
    average, gradient = torch.zeros_like(w), torch.empty_like(w)
    x_ND = torch.cat([x_ND, torch.ones_like(x_ND[:, :1])], 1)
    steps, step = epochs * math.ceil(n / batch), 0
    for epoch in range(epochs):
        order = rng.permute(rng.key(seed, "sgd", epoch), n, np.arange(n))
        order_N = torch.from_numpy(order).to(x_ND.device)
        for start in range(0, n, batch):
            rows = order_N[start : start + batch]
            x_BD = x_ND[rows]
            p_bC = (x_BD @ w).view(-1, classes).softmax(-1)  # b: B * H
            each_b = torch.arange(len(p_bC), device=p_bC.device)
            p_bC[each_b, y_N[rows].repeat_interleave(h)] -= 1
            torch.mm(x_BD.T / len(rows), p_bC.view(len(rows), -1), out=gradient)
            gradient[:-1].addcmul_(w[:-1], decay_M)
            # The velocity is average / (1 - momentum): one pass instead of two.
            average.lerp_(gradient, 1 - momentum)
            step_size_M = -0.5 * (1 + math.cos(math.pi * step / steps)) * lr_M
            nesterov = gradient.add_(average, alpha=momentum / (1 - momentum))
            w.addcmul_(nesterov, step_size_M)
            step += 1
    weight_DHC = w.view(d + 1, h, classes)
    return weight_DHC[:-1], weight_DHC[-1]
