"""The SVMs with few labels: k positives a class, five draws.

Goyal et al., "Scaling and benchmarking self-supervised visual representation learning", ICCV 2019,
section 5.2. Its released code reports for every k the cost that is best *on the test pictures*:
here ``select="oracle"``. By default every class's cost is chosen by cross-validation among the
drawn pictures.

Legend: N training samples, Q test samples, D features, C classes, K costs, S draws.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.core import rng
from foveal.errors import FovealError
from foveal.evaluation.bench import Bench, Split
from foveal.evaluation.compare import WHICH, beside
from foveal.evaluation.features import compute_threads
from foveal.evaluation.result import Result
from foveal.evaluation.squared_hinge import SquaredHinge
from foveal.evaluation.svm import (
    COSTS,
    ENVELOPE,
    LOSS,
    POSITIVE,
    UNCHOSEN,
    best_costs,
    fit_each,
    normalised,
    signs,
    validated,
)
from foveal.metrics.mean_ap import class_aps, resampled_mean_ap

SHOTS = (1, 2, 4, 8, 16, 32, 64, 96)
DRAWS = 5
_RESAMPLES = 400  # of forty rankings a set of features: 2,000 would take longer than the fits
_CHOSEN_ON = {
    "cv": "cross-validation among the drawn pictures, every class alone, up to 3 folds; "
    f"{UNCHOSEN:g} where a class has one positive",
    "oracle": "the test pictures: one cost, of the best mean over the draws",
}


def svm_lowshot(bench: Bench) -> list[Result]:
    """Mean average precision for every k: the mean over the draws.

    The draws' values, their minimum, maximum and deviation are in the configuration. A k that
    some class has not enough positives for is left out.

    Raises:
        FovealError: A class has no positive.
    """
    splits = dict(zip(WHICH, (bench.trained, bench.untrained, bench.pixels), strict=True))
    marks = bench.marks(bench.test, bench.trained.test)
    positives_C = (bench.marks(bench.train, bench.trained.train) == 1).sum(0)
    shots = [k for k in SHOTS if k <= min(positives_C.min(), bench.settings.shots)]
    if not shots:
        empty = (bench.train.classes or [])[int(positives_C.argmin())]
        raise FovealError(f"no training picture of {bench.train.root} counts as {empty}",
                          hint="--protocol svm leaves such a class out")  # fmt: skip
    # Once for all k: the axes of raw pixels take longer than most fits.
    inputs = {
        which: cache(partial(normalised, bench, split, which == "pixels"))
        for which, split in splits.items()
    }
    results = []
    for k in shots:
        value, resampled, chosen = {}, {}, {}
        for which, split in splits.items():
            scores_SQC, about = _scores(bench, split, inputs[which], k, marks)
            maps = [_mean_ap(scores, marks) for scores in scores_SQC]
            value[which] = float(np.mean(maps))
            resampled[which] = np.mean([
                resampled_mean_ap(scores, marks, form="envelope", seed=bench.seed,
                                  resamples=_RESAMPLES)
                for scores in scores_SQC
            ], axis=0)  # fmt: skip
            chosen[which] = {**about, "draws": maps, "min": min(maps), "max": max(maps),
                             "std": float(np.std(maps))}  # fmt: skip
        configuration = {
            **bench.configuration(),
            "k": k,
            "draws": DRAWS,
            "negatives": f"{bench.classes - 1} x k a class; all else is left out",
            "select": bench.select,
            "chosen_on": _CHOSEN_ON[bench.select],
            "ap": ENVELOPE,
            "bootstrap": {"resamples": _RESAMPLES, "level": 0.95, "kind": "percentile"},
            "chosen": chosen,
        }
        metric = f"map_envelope k={k}" + (" oracle" if bench.select == "oracle" else "")
        results.append(beside("svm_lowshot", metric, value, resampled, len(marks), configuration))
    return results


def drawn(
    sign_NC: NDArray[np.int8], k: int, *, seed: int, several: bool, draw: int
) -> NDArray[np.int8]:
    """The signs that are left: of every class k positives and (C - 1) k negatives, int8 [N, C].

    Fewer are part of more, within a draw. Where every picture holds one class, the positives of
    the other classes are the negatives.

    Args:
        sign_NC: +1 or -1 of every picture and class.
        k: Positives a class.
        seed: Of all draws.
        several: Pictures may hold several classes.
        draw: Number of the draw.
    """
    n, classes = sign_NC.shape
    left = np.zeros_like(sign_NC)
    for c in range(classes):
        mixed = rng.permute(rng.key(seed, "low shot", draw, c), n, np.arange(n))
        left[mixed[sign_NC[mixed, c] == 1][:k], c] = 1
        if several:
            left[mixed[sign_NC[mixed, c] == -1][: (classes - 1) * k], c] = -1
    if not several:
        rows = (left == 1).any(1)
        left[rows] = sign_NC[rows]
    return left


def _scores(
    bench: Bench,
    split: Split,
    inputs: Callable[[], tuple[Tensor, Tensor, str]],
    k: int,
    marks_QC: NDArray[np.int8],
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Scores of the test pictures by every draw's SVMs [S, Q, C], kept with the features."""

    def make(path: Path) -> dict[str, Any]:
        with compute_threads(bench.device), torch.no_grad():
            train_x, test_x, normalisation = inputs()
            sign = signs(bench.marks(bench.train, split.train))
            draws = []
            for draw in range(DRAWS):
                left = drawn(sign, k, seed=bench.seed, several=bench.several, draw=draw)
                rows = np.flatnonzero(left.any(1))
                draws.append((train_x[rows], left[rows]))
            found: dict[str, Any]
            if bench.select == "oracle":
                scores, found = _best_on_test(draws, test_x, marks_QC)
            else:
                scores, found = _best_by_validation(draws, test_x, bench.seed)
        np.save(path, scores)
        return {**found, "costs": list(COSTS), "loss": LOSS, "normalisation": normalisation}

    shaped_by = {
        "probe": "svm_lowshot",
        "version": 1,
        "train": split.train.key,
        "test": split.test.key,
        "seed": bench.seed,
        "k": k,
        "select": bench.select,
    }
    scores, about, _ = bench.store.get(shaped_by, make)
    return np.asarray(scores), about


_Draws = list[tuple[Tensor, NDArray[np.int8]]]


def _best_by_validation(
    draws: _Draws, test_QD: Tensor, seed: int
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    scores, costs = [], []
    for x, sign in draws:
        cost_C = best_costs(validated(x, sign, seed=seed))
        costs.append([float(cost) for cost in cost_C])
        scores.append(fit_each(x, sign, cost_C, test_QD))
    return np.stack(scores), {"cost_per_draw_and_class": costs}


def _best_on_test(
    draws: _Draws, test_QD: Tensor, marks_QC: NDArray[np.int8]
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    scores_KSQC = np.empty((len(COSTS), len(draws), *marks_QC.shape), np.float32)
    for s, (x, sign) in enumerate(draws):
        problem = SquaredHinge(x, torch.from_numpy(sign), positive=POSITIVE)
        for i, planes in enumerate(problem.path(COSTS)):
            scores_KSQC[i, s] = planes.scores(test_QD).cpu().numpy()
    means = [np.mean([_mean_ap(scores, marks_QC) for scores in each]) for each in scores_KSQC]
    best = int(np.argmax(means))
    return scores_KSQC[best], {"cost": COSTS[best], "mean_by_cost": [float(m) for m in means]}


def _mean_ap(scores_QC: NDArray[np.float32], marks_QC: NDArray[np.int8]) -> float:
    return float(np.nanmean(class_aps(scores_QC, marks_QC, form="envelope")))
