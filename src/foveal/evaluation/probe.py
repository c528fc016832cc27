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

_FLAT = 1e-6  # a feature that varies less than this is left as it is
_MAX_PIXEL_DIM = 256


@dataclass(frozen=True)
class Problem:
    """What a probe may see. Test labels are not part of it.

    Attributes:
        train_x: float32 [N, D].
        train_y: int64 [N].
        test_x: float32 [Q, D].
        classes: C.
        seed: Keys the held-out part and the order of samples.
        k: Neighbours of kNN.
        pixels: The features are raw pixels.
    """

    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    classes: int
    seed: int = 0
    k: int = 20
    pixels: bool = False


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
    """The orthonormal directions of most variance of centred features, [D, count]."""
    axes_DD: Tensor = torch.linalg.eigh((centred_ND.T @ centred_ND).double()).eigenvectors
    return axes_DD[:, -count:].to(centred_ND.dtype)


def standardised(problem: Problem) -> tuple[Tensor, Tensor, str]:
    """Training and test features as linear probes take them, and what was done to them."""
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
    """``held_out`` of a problem, on its device."""
    kept, held = held_out(problem.train_y.cpu().numpy(), seed=problem.seed)
    return kept.to(problem.train_y.device), held.to(problem.train_y.device)


CHOSEN_ON = "a fifth of every class of the training split, held out; refitted on all of it"
