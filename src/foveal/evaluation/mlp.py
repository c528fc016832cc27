"""Non-linear probes: a small network on frozen features.

* ``mlp``: Kolesnikov et al., "Revisiting self-supervised visual representation learning", CVPR
  2019, section 4: one hidden layer of 1000, ReLU, dropout 0.5.
* ``mlp_rotnet``: Gidaris et al., "Unsupervised representation learning by predicting image
  rotations", ICLR 2018, and its released code for CIFAR-10: two hidden layers of min(20 C, 2048)
  without biases, batch norm and ReLU after each.

Legend: N training samples, B batch, D features, C classes, U hidden units.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.core import rng
from foveal.core.schedules import warmup_cosine
from foveal.evaluation.probe import Probe, Problem, chosen_by, parts, standardised

LEARNING_RATES = (0.01, 0.03, 0.1)
_EPOCHS, _BATCH, _MOMENTUM, _DECAY = 20, 256, 0.9, 1e-4
_HIDDEN, _DROPOUT = 1000, 0.5

Kind = Literal["kolesnikov", "rotnet"]
_ABOUT = {
    "kolesnikov": f"{_HIDDEN} hidden, ReLU, dropout {_DROPOUT}",
    "rotnet": "two hidden layers of min(20 C, 2048), batch norm, ReLU",
}


class Perceptron(nn.Module):
    """The network of a probe.

    Args:
        kind: Whose.
        dim: D.
        classes: C.
        seed: Of the weights of hidden layers (He normal); the last layer starts at zero.
    """

    def __init__(self, kind: Kind, dim: int, classes: int, *, seed: int) -> None:
        super().__init__()
        plain = kind == "kolesnikov"
        width = _HIDDEN if plain else min(20 * classes, 2048)
        sizes = [dim, width] if plain else [dim, width, width]
        hidden = [nn.Linear(a, b, bias=plain) for a, b in pairwise(sizes)]
        self.hidden = nn.ModuleList(hidden)
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in self.hidden if not plain)
        self.dropout = plain
        self.last = nn.Linear(width, classes)
        with torch.no_grad():
            for i, layer in enumerate(hidden):
                key = rng.key(seed, "mlp", i)
                drawn = rng.normal(key, np.arange(layer.out_features), layer.in_features)
                layer.weight.copy_(torch.from_numpy(drawn) * math.sqrt(2 / layer.in_features))
                if layer.bias is not None:
                    layer.bias.zero_()
            self.last.weight.zero_()
            self.last.bias.zero_()

    def forward(self, x_BD: Tensor, kept_BU: Tensor | None = None) -> Tensor:
        """Logits [B, C]; ``kept_BU`` says which hidden units dropout leaves, in training."""
        for i, layer in enumerate(self.hidden):
            x_BD = layer(x_BD)
            x_BD = F.relu(self.norms[i](x_BD) if len(self.norms) else x_BD)
        if kept_BU is not None:
            x_BD = x_BD * kept_BU / (1 - _DROPOUT)
        found: Tensor = self.last(x_BD)
        return found


def _probe(problem: Problem, *, kind: Kind) -> tuple[Tensor, dict[str, Any]]:
    """Scores of the network whose learning rate is best on a held-out part, trained on all."""
    train_x, test_x, about = standardised(problem)
    y = problem.train_y
    kept, held = parts(problem)
    found = []
    for lr in LEARNING_RATES:
        net = train(kind, train_x[kept], y[kept], classes=problem.classes, lr=lr, seed=problem.seed)
        found.append(problem.score(scores_of(net, train_x[held]), held))
    best = max(range(len(found)), key=lambda i: (found[i], -i))
    lr = LEARNING_RATES[best]
    net = train(kind, train_x, y, classes=problem.classes, lr=lr, seed=problem.seed)
    return scores_of(net, test_x), {
        "network": _ABOUT[kind],
        "lr": lr,
        "lr_grid": list(LEARNING_RATES),
        "weight_decay_fixed": _DECAY,
        "epochs": _EPOCHS,
        "batch": _BATCH,
        "optimiser": f"SGD, Nesterov momentum {_MOMENTUM}, cosine to 0",
        **chosen_by(problem, found[best]),
        "normalisation": about,
    }


mlp: Probe = partial(_probe, kind="kolesnikov")
mlp_rotnet: Probe = partial(_probe, kind="rotnet")


def train(
    kind: Kind,
    x_ND: Tensor,
    y_N: Tensor,
    *,
    classes: int,
    lr: float,
    seed: int,
    epochs: int = _EPOCHS,
    batch: int = _BATCH,
) -> Perceptron:
    """Trains a probe's network on features; the last batch of an epoch joins the one before it.

    Args:
        kind: Whose network.
        x_ND: Standardised features.
        y_N: int64 classes.
        classes: C.
        lr: Peak of the cosine.
        seed: Of weights, orders and dropout.
        epochs: Passes.
        batch: Samples a step.
    """
    n = len(x_ND)
    net = Perceptron(kind, x_ND.shape[1], classes, seed=seed).to(x_ND.device, x_ND.dtype)
    optimiser = torch.optim.SGD(
        net.parameters(), lr=lr, momentum=_MOMENTUM, nesterov=True, weight_decay=_DECAY
    )
    each = max(1, n // batch)
    step = 0
    with torch.enable_grad():
        for epoch in range(epochs):
            order = rng.permute(rng.key(seed, "mlp order", epoch), n, np.arange(n))
            for rows in np.array_split(order, each):
                optimiser.param_groups[0]["lr"] = warmup_cosine(step, epochs * each, peak=lr)
                kept = _kept_units(net, seed, epoch, rows).to(x_ND) if net.dropout else None
                chosen = torch.from_numpy(rows).to(x_ND.device)
                loss = F.cross_entropy(net(x_ND[chosen], kept), y_N[chosen])
                optimiser.zero_grad()
                torch.autograd.backward(loss)
                optimiser.step()
                step += 1
    return net.eval()


def scores_of(net: Perceptron, x_QD: Tensor) -> Tensor:
    """Logits [Q, C], some thousands of rows at a time."""
    with torch.no_grad():
        return torch.cat([net(part) for part in torch.split(x_QD, 4096)])


def _kept_units(net: Perceptron, seed: int, epoch: int, rows: Any) -> Tensor:
    """1 for units that stay, 0 for the others: one random bit for each."""
    units = net.last.in_features
    words = rng.bits(rng.key(seed, "mlp dropout", epoch), rows, -(-units // 32))
    bits = np.unpackbits(words.view(np.uint8), axis=1)[:, :units]
    return torch.from_numpy(bits)
