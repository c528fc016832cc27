"""How often the colours of the pictures at hand are, counted before the first step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from foveal.errors import FovealError
from foveal.losses.colour import coloured, rebalancing, smoothed, soft_code
from foveal.methods.base import FeaturePass
from foveal.views.spec import View


def colour_shares(
    run: FeaturePass,
    view: View,
    colours: Callable[[Tensor], Tensor],
    bins: Tensor,
    count: int,
) -> Tensor:
    """Share of every bin among all places of a sample of the pictures, [Q].

    Grey pictures count as places without a colour, so the shares add up to that of coloured ones.

    Args:
        run: The pass over the pictures.
        view: What is seen of each.
        colours: Pictures [B, C, H, W] in [0, 1] -> a and b of their places [B, P, 2].
        bins: Centres, [Q, 2].
        count: Pictures.

    Raises:
        FovealError: No picture holds any colour.
    """

    def histogram(images: Tensor) -> Tensor:
        ab_BP2 = colours(images)
        nearest = soft_code(ab_BP2, bins, 1)[0][..., 0]
        counts = F.one_hot(nearest, len(bins)).float().mean(1)
        return counts * coloured(ab_BP2)[:, None]

    found = run(histogram, view, count=count)
    counts = torch.from_numpy(found.x.sum(0, dtype="float64")).to(bins.device)
    share = (found.sum(counts) / found.total).to(bins)
    if share.sum() == 0:
        raise FovealError(
            f"not one of {found.total:,} pictures holds any colour to learn from",
            hint="--method rotation or simclr take grey pictures",
        )
    return share


def colour_weights(share: Tensor, bins: Tensor, uniform: float) -> Tensor:
    """Weight of every bin in the loss, see ``rebalancing``, [Q].

    Args:
        share: See ``colour_shares``.
        bins: Centres, [Q, 2].
        uniform: 1 weighs all alike.
    """
    return rebalancing(smoothed(share / share.sum(), bins), uniform)
