"""Linear SVMs on frozen features, one a class, measured by average precision.

Goyal et al., "Scaling and benchmarking self-supervised visual representation learning", ICCV 2019,
section 5 and its released code: squared hinge, positives weigh twice, 26 costs, the best of each
class by three-fold cross-validation.

Legend: N training samples, Q test samples, D features, C classes, K costs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.core import rng
from foveal.evaluation.bench import Bench, Split
from foveal.evaluation.compare import WHICH, beside
from foveal.evaluation.features import compute_threads
from foveal.evaluation.probe import leading_directions
from foveal.evaluation.result import Result
from foveal.evaluation.squared_hinge import SquaredHinge
from foveal.metrics.mean_ap import class_aps, resampled_mean_ap

COSTS = tuple(sorted({10.0**e for e in range(-7, 3)} | {0.5**n for n in range(4, 20)}))
POSITIVE = 2.0
FOLDS = 3
UNCHOSEN = 1.0  # the cost where there are too few positives to hold any out
ENVELOPE = "envelope: area under the largest precision at this or a higher recall"
LOSS = "0.5 * (||w||^2 + b^2) + cost * sum of squared hinges, positives twice"
_PIXEL_DIM = 256
_TINY = 1e-5


def svm(bench: Bench) -> list[Result]:
    """Mean average precision (area under the envelope) of one SVM a class.

    Pictures with one class or several. What is marked as not to be counted (difficult objects
    alone) is a negative in training and left out of the test.
    """
    splits = dict(zip(WHICH, (bench.trained, bench.untrained, bench.pixels), strict=True))
    marks = bench.marks(bench.test, bench.trained.test)
    value, resampled, chosen = {}, {}, {}
    for which, split in splits.items():
        scores, chosen[which] = svm_scores(bench, split, which == "pixels")
        aps = class_aps(scores, marks, form="envelope")
        chosen[which]["ap_per_class"] = [None if np.isnan(ap) else float(ap) for ap in aps]
        value[which] = float(np.nanmean(aps))
        resampled[which] = resampled_mean_ap(scores, marks, form="envelope", seed=bench.seed)
    configuration = {
        **bench.configuration(),
        "ap": ENVELOPE,
        "class_names": bench.train.classes,
        "classes_tested": int((marks == 1).any(0).sum()),
        "chosen": chosen,
    }
    return [beside("svm", "map_envelope", value, resampled, len(marks), configuration)]


def svm_scores(
    bench: Bench, split: Split, pixels: bool
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Scores of the test pictures [Q, C] and what was chosen, kept with the features."""

    def make(path: Path) -> dict[str, Any]:
        with compute_threads(bench.device), torch.no_grad():
            train_x, test_x, about = normalised(bench, split, pixels)
            sign = signs(bench.marks(bench.train, split.train))
            aps_KC = validated(train_x, sign, seed=bench.seed)
            best_C = best_costs(aps_KC)
            scores = fit_each(train_x, sign, best_C, test_x)
        np.save(path, scores)
        held_out = [None if np.isnan(a).all() else float(np.nanmax(a)) for a in aps_KC.T]
        return {
            "cost_per_class": [float(c) for c in best_C],
            "costs": list(COSTS),
            "held_out_ap_per_class": held_out,
            "held_out_ap": "raw: sum of precision times step of recall",
            "chosen_on": f"{FOLDS}-fold cross-validation of the training split, every class alone; "
            f"refitted on all of it; {UNCHOSEN:g} where a class has one positive",
            "loss": LOSS,
            "normalisation": about,
        }

    shaped_by = {
        "probe": "svm",
        "version": 1,
        "train": split.train.key,
        "test": split.test.key,
        "seed": bench.seed,
    }
    found, about, _ = bench.store.get(shaped_by, make)
    return np.asarray(found), about


def normalised(bench: Bench, split: Split, pixels: bool) -> tuple[Tensor, Tensor, str]:
    """Features of unit length for training and test, and what was done to them.

    Raw pixels are then cut to the principal directions of the training pictures.
    """
    train, test = (bench.tensor(np.asarray(f.x)) for f in (split.train, split.test))
    train, test = (x / (x.norm(dim=1, keepdim=True) + _TINY) for x in (train, test))
    about = f"x / (||x|| + {_TINY:g})"
    if pixels and train.shape[1] > _PIXEL_DIM:
        mean = train.mean(0)
        axes = leading_directions(train - mean, _PIXEL_DIM)
        train, test = ((x - mean) @ axes for x in (train, test))
        about += f", then the first {_PIXEL_DIM} principal directions"
    return train, test, about


def folds_of(sign_NC: NDArray[np.int8], *, seed: int) -> NDArray[np.int64]:
    """A fold for every sample and class, [N, C]: each has its share of the class's positives.

    Where every picture holds one class, the folds are the same for all classes.
    """
    positive = sign_NC == 1
    n = len(sign_NC)
    mixed = rng.permute(rng.key(seed, "folds"), n, np.arange(n))
    folds = np.empty(sign_NC.shape, np.int64)

    def deal(groups_N: NDArray[np.int64]) -> NDArray[np.int64]:
        dealt = np.empty(n, np.int64)
        for g in np.unique(groups_N):
            members = mixed[groups_N[mixed] == g]
            dealt[members] = np.arange(len(members)) % FOLDS
        return dealt

    if (positive.sum(1) == 1).all():
        folds[:] = deal(positive.argmax(1))[:, None]
    else:
        for c in range(sign_NC.shape[1]):
            folds[:, c] = deal(positive[:, c].astype(np.int64))
    return folds


def validated(x_ND: Tensor, sign_NC: NDArray[np.int8], *, seed: int) -> NDArray[np.float64]:
    """Cross-validated raw average precision of every cost and class, [K, C].

    nan where no fold has a positive to learn from and one to find.
    """
    folds = folds_of(sign_NC, seed=seed)
    aps = np.full((FOLDS, len(COSTS), sign_NC.shape[1]), np.nan)
    for k in range(FOLDS):
        to_fit = np.where(folds != k, sign_NC, 0)
        learned = (to_fit == 1).any(0)
        counted = (folds == k) & (sign_NC != 0) & learned
        to_find = np.where(counted, sign_NC == 1, -1).astype(np.int8)
        if not (to_find == 1).any():
            continue
        rows = np.flatnonzero((to_fit != 0).any(1))
        problem = SquaredHinge(x_ND[rows], torch.from_numpy(to_fit[rows]), positive=POSITIVE)
        for i, planes in enumerate(problem.path(COSTS)):
            aps[k, i] = class_aps(planes.scores(x_ND).cpu().numpy(), to_find, form="raw")
    n = (~np.isnan(aps)).sum(0)
    return np.where(n > 0, np.nansum(aps, 0) / np.maximum(n, 1), np.nan)


def best_costs(aps_KC: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of every class the cost with the best precision, the smallest of equally good ones, [C]."""
    best = np.asarray(COSTS)[np.nan_to_num(aps_KC, nan=-1.0).argmax(0)]
    return np.where(np.isnan(aps_KC).all(0), UNCHOSEN, best)


def fit_each(
    x_ND: Tensor, sign_NC: NDArray[np.int8], cost_C: NDArray[np.float64], test_QD: Tensor
) -> NDArray[np.float32]:
    """Scores of the test pictures [Q, C], every class fitted with its own cost."""
    costs = np.unique(cost_C)
    problem = SquaredHinge(x_ND, torch.from_numpy(sign_NC), positive=POSITIVE)
    scores = np.empty((len(test_QD), len(cost_C)), np.float32)
    for cost, planes in zip(costs, problem.path(costs.tolist()), strict=True):
        own = cost_C == cost
        scores[:, own] = planes.scores(test_QD).cpu().numpy()[:, own]
    return scores


def signs(marks_NC: NDArray[np.int8]) -> NDArray[np.int8]:
    """+1 where the picture holds the class, else -1, also where it is not to be counted."""
    return np.where(marks_NC == 1, 1, -1).astype(np.int8)
