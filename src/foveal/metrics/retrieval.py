"""Does a picture find its own kind: recall at k, and rankings with junk."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from foveal.errors import FovealError
from foveal.metrics.average_precision import average_precision


def first_right(
    features_ND: Tensor, labels_N: Tensor, deepest: int, *, chunk: int = 1024
) -> Tensor:
    """Place of the nearest picture of the same class among all others (cosine), int64 [N].

    Args:
        features_ND: Features of all pictures; each is a query against all others.
        labels_N: Their classes, int64.
        deepest: How many neighbours are looked at; their number where none is right, as for a
            picture alone in its class.
        chunk: Queries compared at a time.
    """
    n = len(features_ND)
    if n < 2 or deepest < 1:
        raise FovealError(f"recall@{deepest} of {n} pictures: at least 2 pictures, k at least 1")
    unit = torch.nn.functional.normalize(features_ND.float(), dim=1)
    found = []
    for start in range(0, n, chunk):
        rows = torch.arange(start, min(start + chunk, n), device=unit.device)
        similarity = unit[rows] @ unit.T
        similarity[torch.arange(len(rows), device=unit.device), rows] = -torch.inf  # not itself
        nearest = similarity.topk(min(deepest, n - 1), dim=1).indices
        right = labels_N[nearest] == labels_N[rows][:, None]
        place = right.int().argmax(1)
        found.append(place.masked_fill(~right.any(1), deepest))
    return torch.cat(found)


def recall_at_k(features_ND: Tensor, labels_N: Tensor, ks: Sequence[int]) -> dict[int, float]:
    """Share of pictures with one of their class among the k nearest others, by k."""
    if min(ks) < 1:
        raise FovealError(f"recall@{min(ks)}: k is at least 1")
    place = first_right(features_ND, labels_N, max(ks))
    return {k: float((place < k).double().mean()) for k in ks}


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
