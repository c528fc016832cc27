"""What a classifier makes of the test pictures, kept on disk, as figures beside baselines.

Legend: Q test pictures, C classes, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.evaluation.bench import Bench, Split
from foveal.evaluation.compare import WHICH, beside, compared
from foveal.evaluation.features import compute_threads
from foveal.evaluation.probe import Probe, Problem
from foveal.evaluation.result import Result
from foveal.evaluation.settings import Metric
from foveal.metrics.accuracy import true_class_rank
from foveal.metrics.bootstrap import resampled_sums
from foveal.metrics.mean_ap import class_aps, resampled_mean_ap

_TOP5_FROM = 10  # below this many classes top-5 says little
ELEVEN_POINT = "11-point: mean over recalls 0, 0.1, ..., 1 of the largest precision there or above"


@dataclass(frozen=True)
class Answers:
    """What a probe says of the test pictures with one set of features.

    Attributes:
        found: int64 [Q]: the rank of the true class, 0 a right answer. Where mean average
            precision is measured class scores, float32 [Q, C].
        about: What the probe says of itself.
    """

    found: NDArray[Any]
    about: dict[str, Any]


def answers(
    bench: Bench,
    name: str,
    probe: Probe,
    split: Split,
    *,
    pixels: bool = False,
    prepared: str | None = None,
    metric: Metric | None = None,
) -> Answers:
    """The answers of a probe, kept with the features.

    Args:
        bench: What is measured.
        name: Of the probe.
        probe: Gives class scores.
        split: Its features.
        pixels: They are raw pixels.
        prepared: What was done to them already; None: the probe prepares them.
        metric: What choices are made by; None: the bench's.
    """
    metric = metric or bench.metric
    scored = metric == "map_eleven_point"

    def make(path: Path) -> dict[str, Any]:
        train_y: NDArray[Any] = split.train.labels
        problem = Problem(
            train_x=bench.tensor(split.train.x),
            train_y=bench.tensor(bench.marks(bench.train, split.train) if bench.several
                                 else train_y),
            test_x=bench.tensor(split.test.x),
            classes=bench.classes,
            seed=bench.seed,
            k=bench.k,
            pixels=pixels,
            metric=metric,
            prepared=prepared,
        )  # fmt: skip
        with compute_threads(bench.device), torch.no_grad():
            scores, about = probe(problem)
        if scored:
            np.save(path, scores.float().cpu().numpy())
        else:
            np.save(path, _ranks(scores, bench.tensor(split.test.labels)))
        return about

    shaped_by = {
        "probe": name,
        "version": 4,
        "train": split.train.key,
        "test": split.test.key,
        "seed": bench.seed,
        "k": bench.k if name == "knn" else None,
        "metric": metric,
    }
    found, about, _ = bench.store.get(shaped_by, make)
    return Answers(np.asarray(found), about)


def kept_ranks(
    bench: Bench, name: str, probe: Probe, split: Split, pixels: bool
) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Rank of the true class of every test picture [Q], and what the probe says of itself."""
    found = answers(bench, name, probe, split, pixels=pixels, metric="top1")
    return found.found, found.about


def figures(
    bench: Bench,
    protocol: str,
    by: Mapping[str, Answers],
    *,
    suffix: str = "",
    about: Mapping[str, Any] | None = None,
) -> list[Result]:
    """The answers of the three sets of features as results, by the bench's metric.

    Args:
        bench: What was measured.
        protocol: Its name.
        by: The answers, by ``WHICH``.
        suffix: Of the metric's name.
        about: Joins the configuration.
    """
    more = {"chosen": {which: a.about for which, a in by.items()}, **(about or {})}
    if bench.metric == "top1":
        values = {
            which: {m + suffix: v for m, v in accuracies(a.found, bench.classes).items()}
            for which, a in by.items()
        }
        return compared(bench, protocol, values, more)
    value, resampled = {}, {}
    labels = bench.trained.test.labels
    marks = bench.marks(bench.test, bench.trained.test)
    for which in WHICH:
        found = by[which].found
        if bench.metric == "mean_per_class":
            value[which], resampled[which] = _mean_per_class(found == 0, labels, bench)
        else:
            value[which] = float(np.nanmean(class_aps(found, marks, form="eleven_point")))
            resampled[which] = resampled_mean_ap(
                found, marks, form="eleven_point", seed=bench.seed
            )  # fmt: skip
    if bench.metric == "map_eleven_point":
        more["ap"] = ELEVEN_POINT
    configuration = {**bench.configuration(), **more}
    return [
        beside(protocol, bench.metric + suffix, value, resampled, len(labels), configuration)
    ]  # fmt: skip


def ranks_of(scores_QC: NDArray[np.float32], labels_Q: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rank of the true class for every picture, int64 [Q]; 0 a right answer."""
    return _ranks(torch.from_numpy(scores_QC), torch.from_numpy(labels_Q))


def _ranks(scores_QC: Tensor, labels_Q: Tensor) -> NDArray[np.int64]:
    rank = true_class_rank(scores_QC, labels_Q)
    own = scores_QC.gather(1, labels_Q[:, None])[:, 0]
    # What is never predicted is wrong at every rank.
    found = rank.masked_fill(own == -math.inf, scores_QC.shape[1])
    ranks: NDArray[np.int64] = found.cpu().numpy()
    return ranks


def accuracies(rank_Q: NDArray[np.int64], classes: int) -> dict[str, NDArray[np.float64]]:
    """By metric, 1 for every test picture that is right: top-1, and top-5 above ten classes."""
    tops = [("top1", 1), ("top5", 5)] if classes > _TOP5_FROM else [("top1", 1)]
    return {metric: (rank_Q < k).astype(np.float64) for metric, k in tops}


def _mean_per_class(
    right_Q: NDArray[np.bool_], labels_Q: NDArray[np.int64], bench: Bench
) -> tuple[float, NDArray[np.float64]]:
    """Mean over classes of their accuracy, and the same on resamples [R]; absent classes go."""
    own_QC = (labels_Q[:, None] == np.arange(bench.classes)).astype(np.float64)
    columns = np.concatenate([own_QC * right_Q[:, None], own_QC], 1)
    sums = np.concatenate([columns.sum(0)[None], resampled_sums(columns, seed=bench.seed)])
    right, n = sums[:, : bench.classes], sums[:, bench.classes :]
    share = np.divide(right, n, out=np.zeros_like(right), where=n > 0)
    means = share.sum(1) / (n > 0).sum(1)
    return float(means[0]), means[1:]
