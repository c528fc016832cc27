"""What a classifier makes of the test pictures: the rank of the true class, kept on disk."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.evaluation.bench import Bench, Split
from foveal.evaluation.features import compute_threads
from foveal.evaluation.probe import Probe, Problem
from foveal.metrics.accuracy import true_class_rank

_TOP5_FROM = 10  # below this many classes top-5 says little


def kept_ranks(
    bench: Bench, name: str, probe: Probe, split: Split, pixels: bool
) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Rank of the true class for every test picture, kept with the features.

    Args:
        bench: What is measured.
        name: Of the probe.
        probe: Gives class scores.
        split: Its features.
        pixels: They are raw pixels.

    Returns:
        Ranks int64 [Q], 0 a right answer; and what the probe says of itself.
    """

    def make(path: Path) -> dict[str, Any]:
        problem = Problem(
            train_x=bench.tensor(split.train.x),
            train_y=bench.tensor(split.train.labels),
            test_x=bench.tensor(split.test.x),
            classes=bench.classes,
            seed=bench.seed,
            k=bench.k,
            pixels=pixels,
        )
        with compute_threads(bench.device), torch.no_grad():
            scores, about = probe(problem)
        np.save(path, _ranks(scores, bench.tensor(split.test.labels)))
        return about

    shaped_by = {
        "probe": name,
        "version": 2,
        "train": split.train.key,
        "test": split.test.key,
        "seed": bench.seed,
        "k": bench.k if name == "knn" else None,
    }
    found, about, _ = bench.store.get(shaped_by, make)
    return np.asarray(found), about


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
