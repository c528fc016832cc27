"""A grid of 39 linear heads as one matrix, against one head after another.

    python benchmarks/linear_grid.py [--rows 20000] [--dim 384] [--classes 100] [--rounds 3]

One epoch of SGD (Nesterov 0.9, batch 256, cosine) of 13 learning rates x 3 weight decays on the
same features. Against: the usual torch loop (``nn.Linear``, ``torch.optim.SGD``), and
scikit-learn's ``SGDClassifier``, of which ``--sklearn-heads`` heads are timed and counted up to 39.
"""

from __future__ import annotations

import argparse
import itertools
import math

import numpy as np
import torch
from sklearn.linear_model import SGDClassifier
from torch import Tensor, nn
from torch.nn import functional as F

from _ab import in_turn, machine
from foveal.core import rng
from foveal.evaluation.sgd import train_heads

RATES = [0.001 * 10 ** (i / 4) for i in range(13)]
DECAYS = [0.0, 1e-4, 1e-3]
GRID = list(itertools.product(RATES, DECAYS))
BATCH = 256


def problem(rows: int, dim: int, classes: int) -> tuple[Tensor, Tensor]:
    """Gaussian clouds that overlap, standardised as features are before a probe."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(classes, dim, generator=generator)
    y = torch.randint(0, classes, (rows,), generator=generator)
    x = 0.3 * centres[y] + torch.randn(rows, dim, generator=generator)
    return (x - x.mean(0)) / x.std(0), y


def torch_loop(x: Tensor, y: Tensor, classes: int, heads: list[tuple[float, float]]) -> Tensor:
    """As it is usually written; the same order of rows as ours."""
    steps = math.ceil(len(x) / BATCH)
    order = torch.from_numpy(rng.permute(rng.key(0, "sgd", 0), len(x), np.arange(len(x))))
    for lr, decay in heads:
        head = nn.Linear(x.shape[1], classes)
        nn.init.zeros_(head.weight), nn.init.zeros_(head.bias)
        optimiser = torch.optim.SGD(
            [{"params": [head.weight], "weight_decay": decay}, {"params": [head.bias]}],
            lr=lr, momentum=0.9, nesterov=True,
        )  # fmt: skip
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for step in range(steps):
            rows = order[step * BATCH : (step + 1) * BATCH]
            loss = F.cross_entropy(head(x[rows]), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return torch.cat([head.weight.detach().T, head.bias.detach()[None]])


def scikit(x: Tensor, y: Tensor, heads: list[tuple[float, float]]) -> None:
    for lr, decay in heads:
        SGDClassifier(
            loss="log_loss", alpha=max(decay, 1e-9), learning_rate="constant", eta0=lr,
            max_iter=1, tol=None, random_state=0,
        ).fit(x.numpy(), y.numpy())  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sklearn-heads", type=int, default=2)
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    print(machine())
    x, y = problem(o.rows, o.dim, o.classes)

    def ours() -> tuple[Tensor, Tensor]:
        return train_heads(x, y, classes=o.classes, heads=GRID, seed=0, epochs=1)

    print(f"{len(GRID)} heads, {o.rows} x {o.dim}, {o.classes} classes, one epoch")
    times = in_turn(ours, lambda: torch_loop(x, y, o.classes, GRID), o.rounds)
    print(f"one matrix against a torch loop: {times}")
    some = GRID[:: len(GRID) // o.sklearn_heads][: o.sklearn_heads]
    times = in_turn(ours, lambda: scikit(x, y, some), o.rounds)
    factor = len(GRID) / len(some)
    print(f"against scikit-learn, {len(some)} heads: {times}; all 39: {times.ratio * factor:.0f}x")
    weight_DHC, bias_HC = ours()
    last = torch.cat([weight_DHC[:, -1], bias_HC[-1:]])
    loop = torch_loop(x, y, o.classes, GRID[-1:])
    print(f"largest difference of a weight to the loop's: {(last - loop).abs().max():.1e}")


if __name__ == "__main__":
    main()
