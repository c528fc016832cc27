"""Retrieval: does a test picture find others of its class?"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from foveal.evaluation.bench import Bench, Split
from foveal.evaluation.compare import WHICH, compared
from foveal.evaluation.features import compute_threads
from foveal.evaluation.result import Result
from foveal.metrics.retrieval import first_right

KS = (1, 5, 10)


def retrieval(bench: Bench) -> list[Result]:
    """Recall at 1, 5 and 10: every test picture is a query against all other test pictures.

    Cosine of the features; of each picture of raw pixels its own mean is taken out first. A
    picture alone in its class counts as a miss. Source: Jegou et al. (recall at k); the metric of
    nearest-neighbour retrieval in Jing and Tian's survey, section 4.3.
    """
    splits = (bench.trained, bench.untrained, bench.pixels)
    values = {
        which: _hits(bench, split, which == "pixels")
        for which, split in zip(WHICH, splits, strict=True)
    }
    about = {"similarity": "cosine", "pixels_centred": True, "gallery": "the other test pictures"}
    return compared(bench, "retrieval", values, about)


def _hits(bench: Bench, split: Split, pixels: bool) -> dict[str, NDArray[np.float64]]:
    x_ND = bench.tensor(np.ascontiguousarray(split.test.x))
    if pixels:
        x_ND = x_ND - x_ND.mean(1, keepdim=True)
    labels: Any = bench.tensor(split.test.labels)
    with compute_threads(bench.device), torch.no_grad():
        place = first_right(x_ND, labels, max(KS)).cpu().numpy()
    return {f"recall@{k}": (place < k).astype(np.float64) for k in KS}
