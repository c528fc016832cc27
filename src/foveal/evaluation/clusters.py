"""Clusters of the features against classes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from foveal.clustering.kmeans import kmeans
from foveal.core import rng
from foveal.evaluation.bench import Bench, Split
from foveal.evaluation.compare import WHICH
from foveal.evaluation.result import Result
from foveal.metrics import clustering as metrics
from foveal.metrics.bootstrap import percentiles

RESAMPLES = 200
_Labels = NDArray[np.int64]

SCORES: dict[str, Callable[[_Labels, _Labels], float]] = {
    "nmi_arithmetic": lambda y, c: metrics.normalised_mutual_information(
        y, c, normaliser="arithmetic"
    ),
    "nmi_geometric": lambda y, c: metrics.normalised_mutual_information(
        y, c, normaliser="geometric"
    ),
    "ami": metrics.adjusted_mutual_information,
    "ari": metrics.adjusted_rand_index,
    "purity": metrics.purity,
    "hungarian": metrics.hungarian_accuracy,
}


def clusters(bench: Bench) -> list[Result]:
    """k-means on unit test features, as many clusters as classes, scored against the classes.

    Intervals are over test pictures, their clusters given (200 resamples, the same for all three
    sets of features), moved to stand around their value; how clusters would differ on other
    pictures is not in them. Source: DeepCluster (NMI), SeLa (AMI, ARI).
    """
    labels = bench.trained.test.labels
    splits = (bench.trained, bench.untrained, bench.pixels)
    found = [_assign(bench, split, which == "pixels")
             for which, split in zip(WHICH, splits, strict=True)]  # fmt: skip
    n = len(labels)
    drawn = rng.integers(rng.key(bench.seed, "clusters"), np.arange(RESAMPLES), n, n)
    about = {
        **bench.configuration(),
        "clusters": bench.classes,
        "bootstrap": {"resamples": RESAMPLES, "level": 0.95, "kind": "percentile"},
    }
    results = []
    for name, score in SCORES.items():
        value = [score(labels, c) for c in found]
        again = np.array([[score(labels[rows], c[rows]) for c in found] for rows in drawn])
        # Pictures drawn twice agree with themselves, which lifts the score of every resample.
        again += value - again.mean(0)
        baselines = {
            which: {
                "value": value[i],
                "interval": list(percentiles(again[:, i])),
                "difference": value[0] - value[i],
                "difference_interval": list(percentiles(again[:, 0] - again[:, i])),
            }
            for i, which in enumerate(WHICH)
            if i
        }
        results.append(
            Result("clusters", name, value[0], percentiles(again[:, 0]), n, baselines, about)
        )
    return results


def _assign(bench: Bench, split: Split, pixels: bool) -> _Labels:
    x_ND = np.array(split.test.x)
    if pixels:
        x_ND -= x_ND.mean(1, keepdims=True)
    x_ND /= np.maximum(np.linalg.norm(x_ND, axis=1, keepdims=True), 1e-12)
    return kmeans(x_ND, bench.classes, iterations=20, seed=bench.seed).assignments
