"""Non-local consensus voting: regions that look alike should agree.

Legend: N regions of all frames of a shot, M links of a region, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foveal.motion.packages import opencv
from foveal.motion.regions import region_means
from foveal.motion.settings import Settings


@dataclass(frozen=True)
class Links:
    """The row-stochastic transition matrix, sparse. Rows sum to 1 with ``own``.

    Attributes:
        to: Linked regions, intp [N, M].
        weight: Their weights, float32 [N, M]; 0 on itself and on exactly equal regions.
        own: Weight of the region itself, float32 [N].
    """

    to: NDArray[np.intp]
    weight: NDArray[np.float32]
    own: NDArray[np.float32]

    def vote(self, votes: NDArray[np.float32]) -> NDArray[np.float32]:
        """T v."""
        spread: NDArray[np.float32] = np.einsum("nm,nm->n", self.weight, votes[self.to])
        return self.own * votes + spread


def make_links(to: NDArray[np.intp], squared: NDArray[np.float32], variance: float = 0.1) -> Links:
    """Weights exp(-d^2 / variance) of links, 1 of itself, normalised.

    A distance of exactly 0 gives no link: the region itself, and copies of it.

    Args:
        to: [N, M].
        squared: Squared distances, [N, M].
        variance: Of the weights.
    """
    weight = np.where(squared > 0, np.exp(-squared / variance), 0).astype(np.float32)
    total = 1 + weight.sum(1)
    return Links(to, weight / total[:, None], (1 / total).astype(np.float32))


def nearest_links(features: Sequence[NDArray[np.float32]], settings: Settings) -> Links:
    """Links of every region to its nearest ones in the frames around its own.

    Args:
        features: [R_t, D] of each frame.
        settings: ``radius``, ``links`` and ``link_variance``.
    """
    starts = np.concatenate([[0], np.cumsum([len(f) for f in features])])
    every = np.concatenate(features)
    norms = np.einsum("nd,nd->n", every, every)
    wanted = settings.links * (2 * settings.radius + 1)
    to, squared = [], []
    for t in range(len(features)):
        low = starts[max(0, t - settings.radius)]
        high = starts[min(len(features), t + settings.radius + 1)]
        own, near = every[starts[t] : starts[t + 1]], every[low:high]
        away = norms[None, low:high] - 2 * (own @ near.T)  # the row's own norm orders nothing
        m = min(wanted, high - low)
        found = np.argpartition(away, m - 1, axis=1)[:, :m] + low
        if m < wanted:  # few frames: the rest are links to itself, of no weight
            fill = np.repeat(np.arange(starts[t], starts[t + 1])[:, None], wanted - m, axis=1)
            found = np.concatenate([found, fill], axis=1)
        to.append(found)
        # Again from differences: products round equal regions to distances above 0.
        squared.append(((own[:, None] - every[found]) ** 2).sum(2))
    return make_links(np.concatenate(to), np.concatenate(squared), settings.link_variance)


def per_frame(votes: NDArray[np.float32], starts: NDArray[np.intp]) -> NDArray[np.float32]:
    """Divides the votes of each frame by its largest; a frame without votes stays as it is."""
    largest = np.maximum.reduceat(votes, starts[:-1])
    divided: NDArray[np.float32] = votes / np.repeat(
        np.where(largest > 0, largest, 1), np.diff(starts)
    )
    return divided


def consensus(
    votes: NDArray[np.float32],
    links: Links,
    labels: Sequence[NDArray[np.uint16]],
    settings: Settings,
) -> NDArray[np.float32]:
    """Rounds of voting; after each, blobs of low mean vote are cleared.

    Votes drift to a constant: the number of votes is part of the method. With the released
    thresholds no blob is ever cleared here, since each of its pixels is above ``foreground``
    already; what clears blobs is ``final_masks``.

    Args:
        votes: First votes, float32 [N], frame by frame.
        links: Of these regions.
        labels: [H, W] of each frame, see ``superpixels``.
        settings: Counts and thresholds.

    Returns:
        float32 [N] in [0, 1].
    """
    starts = np.cumsum([0, *(int(x.max()) + 1 for x in labels)])
    for _ in range(settings.rounds):
        for _ in range(settings.votes):
            votes = per_frame(links.vote(votes), starts)
        if settings.blob_mean > settings.foreground:
            votes = np.concatenate(
                [
                    region_means(_cleared(votes[starts[t] : starts[t + 1]][x], settings), x)
                    for t, x in enumerate(labels)
                ]
            )
    return votes


def _cleared(soft: NDArray[np.float32], settings: Settings) -> NDArray[np.float32]:
    count, blobs = blobs_of(soft > settings.foreground)
    if not count:
        return soft
    mean = np.bincount(blobs.reshape(-1), soft.reshape(-1)) / np.bincount(blobs.reshape(-1))
    low = mean < settings.blob_mean
    low[0] = False
    return np.where(low[blobs], np.float32(settings.blob_cleared), soft)


def blobs_of(mask: NDArray[np.bool_]) -> tuple[int, NDArray[np.int32]]:
    """Connected parts (by edges) of a mask: how many, and [H, W] numbered from 1; 0 is outside."""
    count, blobs = opencv().connectedComponents(mask.astype(np.uint8), connectivity=4)
    return count - 1, blobs


def final_mask(soft: NDArray[np.float32], settings: Settings) -> NDArray[np.float32]:
    """Soft votes with the small blobs taken out of the foreground.

    Blobs above ``foreground`` that are smaller than ``blob_share`` of the frame's largest are
    lowered to it: neither foreground nor background.
    """
    count, blobs = blobs_of(soft > settings.foreground)
    if count < 2:
        return soft
    sizes = np.bincount(blobs.reshape(-1))
    small = sizes < settings.blob_share * sizes[1:].max()
    small[0] = False
    return np.where(small[blobs], np.minimum(soft, np.float32(settings.foreground)), soft)
