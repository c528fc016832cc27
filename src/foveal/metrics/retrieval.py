"""Does a picture find its own kind: recall at k, and rankings with junk."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from foveal.errors import FovealError
from foveal.metrics.average_precision import average_precision


def recall_at_k(
    features_ND: Tensor, labels_N: Tensor, ks: Sequence[int], *, chunk: int = 1024
) -> dict[int, float]:
    """Share of pictures with one of their class among the k nearest others (cosine).

    Args:
        features_ND: Features of all pictures; each is a query against all others.
        labels_N: Their classes, int64.
        ks: How many neighbours are looked at.
        chunk: Queries compared at a time.

    Returns:
        Recall by k. A picture alone in its class counts as a miss.
    """
    n = len(features_ND)
    if n < 2 or min(ks) < 1:
        raise FovealError(f"recall@{min(ks)} of {n} pictures: at least 2 pictures, k at least 1")
    unit = torch.nn.functional.normalize(features_ND.float(), dim=1)
    deepest = min(max(ks), n - 1)
    hits = torch.zeros(deepest, dtype=torch.float64)
    for start in range(0, n, chunk):
        rows = torch.arange(start, min(start + chunk, n))
        similarity = unit[rows] @ unit.T
        similarity[torch.arange(len(rows)), rows] = -torch.inf  # not itself
        nearest = similarity.topk(deepest, dim=1).indices
        right = labels_N[nearest] == labels_N[rows][:, None]
        hits += (right.cumsum(1) > 0).double().sum(0)
    return {k: float(hits[min(k, deepest) - 1] / n) for k in ks}


def ranking_ap(similarity_QG: Tensor, positive_QG: Tensor, junk_QG: Tensor | None = None) -> Tensor:
    """Trapezoid average precision of every query (Oxford and Paris buildings), float64 [Q].

    Args:
        similarity_QG: Similarity of query and gallery picture.
        positive_QG: Whether the gallery picture is right.
        junk_QG: Pictures taken out of the ranking (the query itself, bad views).

    Raises:
        FovealError: A query has nothing to find.
    """
    found = []
    for q in range(len(similarity_QG)):
        keep = ~junk_QG[q] if junk_QG is not None else torch.ones_like(positive_QG[q])
        positive = positive_QG[q][keep]
        if not positive.any():
            raise FovealError(f"query {q} has no right picture in the gallery")
        scores = similarity_QG[q][keep].double().cpu().numpy()
        found.append(average_precision(scores, positive.cpu().numpy(), form="trapezoid"))
    return torch.tensor(found, dtype=torch.float64)
