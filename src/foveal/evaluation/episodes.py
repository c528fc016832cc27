"""Few-shot episodes: a few examples of a few classes, and nothing is trained."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from foveal.core import rng
from foveal.errors import FovealError
from foveal.evaluation.bench import Bench, Split
from foveal.evaluation.compare import WHICH, compared
from foveal.evaluation.result import Result
from foveal.metrics.episodes import nearest_prototype

EPISODES, WAYS, SHOTS, QUERIES = 600, 5, (1, 5), 15


def episodes(bench: Bench) -> list[Result]:
    """Accuracy of nearest prototypes over 600 episodes of 5 classes, with 1 and with 5 examples.

    Episodes are drawn from the test pictures by the seed, the same for all three sets of features.
    Features have the mean of the training features taken out and length 1. Items are episodes, so
    intervals are over episodes. Source: Snell et al., NeurIPS 2017; Ericsson et al., CVPR 2021.

    Raises:
        FovealError: Fewer than 2 classes have more test pictures than examples.
    """
    labels = bench.trained.test.labels
    values: dict[str, dict[str, NDArray[np.float64]]] = {which: {} for which in WHICH}
    queries: dict[str, int] = {}
    for shots in SHOTS:
        drawn = draw_episodes(labels, shots, bench.seed)
        for which, split in zip(WHICH, (bench.trained, bench.untrained, bench.pixels), strict=True):
            values[which][f"{drawn.shape[1]}-way {shots}-shot"] = _accuracies(split, drawn, shots)
        queries[f"{shots}-shot"] = drawn.shape[2] - shots
    about = {
        "episodes": EPISODES,
        "queries_per_class": queries,
        "features": "training mean subtracted, then l2",
    }
    return compared(bench, "episodes", values, about)


def draw_episodes(labels: NDArray[np.int64], shots: int, seed: int) -> NDArray[np.int64]:
    """Rows of every episode, int64 [episodes, ways, shots + queries]; none twice in an episode.

    With fewer than 5 classes all of them, with small classes as many queries as the smallest has.
    """
    members = {int(c): np.flatnonzero(labels == c) for c in np.unique(labels)}
    fit = sorted(c for c, rows in members.items() if len(rows) > shots)
    if len(fit) < 2:
        raise FovealError(
            f"{len(fit)} classes have {shots + 1} test pictures, episodes need 2",
            hint="--protocol knn",
        )
    ways = min(WAYS, len(fit))
    each = min(shots + QUERIES, *(len(members[c]) for c in fit))
    found = np.empty((EPISODES, ways, each), np.int64)
    for e in range(EPISODES):
        classes = rng.permute(rng.key(seed, "episode", shots, e), len(fit), np.arange(ways))
        for w, c in enumerate(classes):
            rows = members[fit[int(c)]]
            own = rng.key(seed, "episode", shots, e, w)
            found[e, w] = rows[rng.permute(own, len(rows), np.arange(each))]
    return found


def _accuracies(split: Split, drawn: NDArray[np.int64], shots: int) -> NDArray[np.float64]:
    x_ND = torch.from_numpy(split.test.x - split.train.x.mean(0))
    x_ND = torch.nn.functional.normalize(x_ND, dim=1)
    truth = torch.arange(drawn.shape[1]).repeat_interleave(drawn.shape[2] - shots)
    found = []
    for rows in torch.from_numpy(drawn):
        z_NKD = x_ND[rows]
        guess = nearest_prototype(z_NKD[:, :shots], z_NKD[:, shots:].flatten(0, 1))
        found.append(float((guess == truth).double().mean()))
    return np.array(found)
