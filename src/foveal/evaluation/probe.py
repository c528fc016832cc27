"""What the probes share: their problem, standardisation, and a held-out part of the training data.

Legend: N training samples, Q test samples, D features, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.core import rng
from foveal.errors import FovealError
from foveal.evaluation.settings import Metric
from foveal.metrics.accuracy import mean_per_class_accuracy, topk_accuracy
from foveal.metrics.mean_ap import class_aps

_FLAT = 1e-6  # a feature that varies less than this is left as it is
_MAX_PIXEL_DIM = 256
_EXACT, _OVERSAMPLED, _POWER = 1024, 32, 3  # of principal directions


@dataclass(frozen=True)
class Problem:
    """What a probe may see. Test labels are not part of it.

    Attributes:
        train_x: float32 [N, D].
        train_y: int64 [N]; int8 [N, C] where a picture may hold several classes: 1 yes, 0 no,
            -1 not to be counted.
        test_x: float32 [Q, D].
        classes: C.
        seed: Keys the held-out part and the order of samples.
        k: Neighbours of kNN.
        pixels: The features are raw pixels.
        metric: What choices are made by.
        prepared: What was done to the features; None: a probe prepares them itself.
    """

    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    classes: int
    seed: int = 0
    k: int = 20
    pixels: bool = False
    metric: Metric = "top1"
    prepared: str | None = None

    def score(self, scores: Tensor, rows: Tensor) -> float:
        """What class scores of some training samples are worth, by ``metric``."""
        y = self.train_y[rows]
        if self.metric == "map_eleven_point":
            marks = y if y.ndim == 2 else (y[:, None] == torch.arange(self.classes).to(y.device))
            aps = class_aps(
                scores.cpu().numpy(), marks.cpu().numpy().astype(np.int8), form="eleven_point"
            )
            return float(np.nanmean(aps))
        if self.metric == "mean_per_class":
            # Of equal scores the lower class: argmax takes the first.
            return mean_per_class_accuracy(scores.argmax(1), y)
        return topk_accuracy(scores, y)


Probe: TypeAlias = Callable[[Problem], tuple[Tensor, dict[str, Any]]]
"""Class scores [Q, C] (-inf: never predicted), and what was chosen or fixed on the way."""


class Standardise:
    """``(x - mean) / std`` of the training features; raw pixels are also cut to 256 directions.

    Every feature then weighs the same in the penalty. Features that do not vary are only centred.
    Linear probes depend on the features through their span, so a rotation changes nothing;
    leaving out the directions of least variance of raw pixels (of which there are thousands)
    makes their probe as quick as the others.

    Args:
        x_ND: Training features.
        max_dim: Principal directions kept; None keeps the features.
    """

    def __init__(self, x_ND: Tensor, *, max_dim: int | None = None) -> None:
        self.mean_D = x_ND.mean(0)
        std_D = x_ND.std(0, correction=0)
        self.std_D = torch.where(std_D > _FLAT, std_D, torch.ones_like(std_D))
        self.axes_DK: Tensor | None = None
        if max_dim is not None and max_dim < x_ND.shape[1]:
            self.axes_DK = leading_directions((x_ND - self.mean_D) / self.std_D, max_dim)

    def __call__(self, x_ND: Tensor) -> Tensor:
        """[N, D] -> [N, D], or [N, max_dim]."""
        z_ND = (x_ND - self.mean_D) / self.std_D
        return z_ND if self.axes_DK is None else z_ND @ self.axes_DK

    @property
    def about(self) -> str:
        """For the configuration of a result."""
        text = "per feature to mean 0 and deviation 1 on the training features"
        if self.axes_DK is not None:
            text += f", then the first {self.axes_DK.shape[1]} principal directions"
        return text


def leading_directions(centred_ND: Tensor, count: int) -> Tensor:
    """The orthonormal directions of most variance of centred features, [D, count], the most last.

    Exact up to a thousand features or for few samples, whose span has no more directions than there
    are samples (then so many are returned at most). Else by subspace iteration with 32 directions
    more than are kept (Halko, Martinsson and Tropp, SIAM Review 2011), started from rows of the
    features themselves, so that nothing is drawn.
    """
    n, d = centred_ND.shape
    start = count + _OVERSAMPLED
    if n < d and n <= 2 * start:
        # By the n x n products: those of thousands of features would take minutes.
        wide = centred_ND.double()
        turn = torch.linalg.eigh(wide @ wide.T).eigenvectors[:, -min(count, n) :]
        # The largest first, so that directions without variance cannot disturb the others.
        axes: Tensor = torch.linalg.qr((wide.T @ turn).flip(1)).Q.flip(1)
        return axes.to(centred_ND.dtype)
    if d <= _EXACT or n <= 2 * start:
        axes_DD: Tensor = torch.linalg.eigh((centred_ND.T @ centred_ND).double()).eigenvectors
        return axes_DD[:, -count:].to(centred_ND.dtype)
    basis = centred_ND[torch.linspace(0, n - 1, start, device=centred_ND.device).long()].T
    for _ in range(_POWER):
        basis = torch.linalg.qr(basis).Q
        basis = centred_ND.T @ (centred_ND @ basis)
    basis = torch.linalg.qr(basis).Q
    projected = centred_ND @ basis
    turn = torch.linalg.eigh((projected.T @ projected).double()).eigenvectors[:, -count:]
    found: Tensor = basis @ turn.to(basis.dtype)
    return found


def standardised(problem: Problem) -> tuple[Tensor, Tensor, str]:
    """Training and test features as linear probes take them, and what was done to them."""
    if problem.prepared is not None:
        return problem.train_x, problem.test_x, problem.prepared
    scale = Standardise(problem.train_x, max_dim=_MAX_PIXEL_DIM if problem.pixels else None)
    return scale(problem.train_x), scale(problem.test_x), scale.about


def held_out(
    labels_N: NDArray[np.int64], *, seed: int, share: float = 0.2
) -> tuple[Tensor, Tensor]:
    """Rows to fit on and rows to choose on: a keyed share of the samples of every class.

    Of a class with few samples at least one is held out and at least one kept; a class with a
    single sample is fitted on.

    Raises:
        FovealError: No class has two samples.
    """
    mixed = rng.permute(rng.key(seed, "held out"), len(labels_N), np.arange(len(labels_N)))
    chosen = []
    for c in np.unique(labels_N):
        members = mixed[labels_N[mixed] == c]
        if len(members) > 1:
            chosen.append(members[: max(1, int(share * len(members)))])
    if not chosen:
        raise FovealError(
            "no class has two training samples, so nothing can be held out to choose by",
            hint="--protocol knn needs no choice",
        )
    held = np.sort(np.concatenate(chosen))
    kept = np.setdiff1d(np.arange(len(labels_N)), held)
    return torch.from_numpy(kept), torch.from_numpy(held)


def parts(problem: Problem) -> tuple[Tensor, Tensor]:
    """``held_out`` of a problem, on its device; of pictures of several classes a fifth of all."""
    y = problem.train_y.cpu().numpy()
    kept, held = held_out(y if y.ndim == 1 else np.zeros(len(y), np.int64), seed=problem.seed)
    return kept.to(problem.train_y.device), held.to(problem.train_y.device)


CHOSEN_ON = "a fifth of every class of the training split, held out; refitted on all of it"


def chosen_by(problem: Problem, figure: float) -> dict[str, Any]:
    """For the configuration of a result: on what choices were made, and how good they were there.

    Args:
        problem: Of the probe.
        figure: The best value on the held-out part.
    """
    one = problem.train_y.ndim == 1
    on = CHOSEN_ON if one else CHOSEN_ON.replace("every class of ", "")
    what = "map" if problem.metric == "map_eleven_point" else "accuracy"
    return {"chosen_on": on, f"held_out_{what}": figure}
