"""The protocols by name. A probe gives class scores; here they become numbers with baselines."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from foveal.errors import FovealError
from foveal.evaluation.bench import Bench, Split
from foveal.evaluation.clusters import clusters
from foveal.evaluation.compare import compared
from foveal.evaluation.episodes import episodes
from foveal.evaluation.features import compute_threads
from foveal.evaluation.health import health
from foveal.evaluation.knn import knn
from foveal.evaluation.linear import linear
from foveal.evaluation.probe import Probe, Problem
from foveal.evaluation.result import Result
from foveal.evaluation.retrieval import retrieval
from foveal.evaluation.ridge import ridge
from foveal.evaluation.sgd import sgd
from foveal.metrics.accuracy import true_class_rank
from foveal.recipe import nearest

_TOP5_FROM = 10  # below this many classes top-5 says little


def get_protocol(name: str) -> Callable[[Bench], list[Result]]:
    """A protocol by name.

    Raises:
        FovealError: There is none; names the nearest.
    """
    if name not in PROTOCOLS:
        raise FovealError(f"there is no protocol '{name}'", hint=nearest(name, list(PROTOCOLS)))
    return PROTOCOLS[name]


def classify(bench: Bench, *, name: str, probe: Probe) -> list[Result]:
    """Accuracy of a probe on trained features, random initialisation and raw pixels.

    All three see the same pictures, the same held-out part and the same bootstrap resamples.
    """
    splits = {"trained": bench.trained, "random_init": bench.untrained, "pixels": bench.pixels}
    ranks, chosen = {}, {}
    for which, split in splits.items():
        ranks[which], chosen[which] = _ranks(bench, name, probe, split, which == "pixels")
    tops = [("top1", 1), ("top5", 5)] if bench.classes > _TOP5_FROM else [("top1", 1)]
    values = {
        which: {metric: (rank < k).astype(np.float64) for metric, k in tops}
        for which, rank in ranks.items()
    }
    return compared(bench, name, values, {"chosen": chosen})


def _ranks(
    bench: Bench, name: str, probe: Probe, split: Split, pixels: bool
) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Rank of the true class for every test picture, kept with the features."""

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
        labels = bench.tensor(split.test.labels)
        rank = true_class_rank(scores, labels)
        own = scores.gather(1, labels[:, None])[:, 0]
        np.save(path, rank.masked_fill(own == -math.inf, bench.classes).cpu().numpy())
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


PROTOCOLS: dict[str, Callable[[Bench], list[Result]]] = {
    "knn": partial(classify, name="knn", probe=knn),
    "linear": partial(classify, name="linear", probe=linear),
    "ridge": partial(classify, name="ridge", probe=ridge),
    "sgd": partial(classify, name="sgd", probe=sgd),
    "retrieval": retrieval,
    "episodes": episodes,
    "clusters": clusters,
    "health": health,
}
"""By name; every one takes a bench and returns its results."""
