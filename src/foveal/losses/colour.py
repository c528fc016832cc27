"""Colour as classes: the 313 ab bins of Zhang et al., and the hue and chroma bins of Larsson et al.

Zhang, Isola, Efros, "Colorful Image Colorization", ECCV 2016 (arXiv 1603.08511), section 2.
Larsson, Maire, Shakhnarovich, "Colorization as a Proxy Task for Visual Understanding", CVPR 2017
(arXiv 1703.04044), section 3.

Legend: B pictures, P positions, Q bins, K neighbours.
"""

from __future__ import annotations

import torch
from torch import Tensor

from foveal.core.colour import rgb_to_lab

AB_BINS = 313
L_BINS = 100  # of width 1 (Zhang et al., "Split-Brain Autoencoders", CVPR 2017)
SIGMA = 5.0  # of the soft code and of the smoothed frequencies, in units of a and b
GREY = 5.0  # a picture without any |a| or |b| above it is a grey one
TEMPERATURE = 0.38  # of the annealed mean
HUE_BINS = 32
_STEP = 10
# First and last b of the bins of each a from -90 to 100: there is no rule that gives them. (All
# colours of 8-bit sRGB, rounded to the grid, hit 261 of them.)
_B_RANGES = (
    (50, 90), (20, 90), (0, 90), (-20, 90), (-30, 100), (-40, 100), (-50, 100), (-50, 100),
    (-60, 100), (-70, 100), (-80, 90), (-80, 90), (-90, 90), (-100, 90), (-100, 80), (-110, 80),
    (-110, 80), (-110, 70), (-110, 70), (-90, 0),
)  # fmt: skip


def ab_bins() -> Tensor:
    """Centres (a, b) of the 313 bins, float32 [Q, 2], a outer and b inner, ascending."""
    rows = [
        (a, b)
        for a, (low, high) in zip(range(-90, 101, _STEP), _B_RANGES, strict=True)
        for b in range(low, high + 1, _STEP)
    ]
    return torch.tensor(rows, dtype=torch.float32)


def lab_at(images: Tensor, step: int) -> Tensor:
    """Lab of every ``step``-th pixel of [B, 3, H, W], row by row, [B, P, 3]: picked, not averaged.

    The places are those of ``foveal.backbones.hypercolumn.sample_grid``.
    """
    return rgb_to_lab(images[..., ::step, ::step].float()).flatten(2).transpose(1, 2)


def lightness_bin(lightness: Tensor) -> Tensor:
    """Bin of width 1 of an L in [0, 100], int64; 100 belongs to the last."""
    return lightness.floor().clamp(0, L_BINS - 1).long()


def soft_code(ab: Tensor, bins: Tensor, neighbours: int) -> tuple[Tensor, Tensor]:
    """The nearest bins of each colour, weighted by a Gaussian of their distance (section 2.2).

    Args:
        ab: [..., P, 2].
        bins: Centres, [Q, 2].
        neighbours: K; 1 is the nearest bin alone. Goyal et al. (2019) take it for the hardness of
            the task.

    Returns:
        Bins int64 [..., P, K], the nearest first, and weights [..., P, K] that sum to 1.
    """
    # Not by a matrix product: that rounds squares of 100, and the nearest bins with them.
    distance = torch.cdist(ab, bins, compute_mode="donot_use_mm_for_euclid_dist")
    near, which = distance.topk(neighbours, dim=-1, largest=False)
    return which, torch.softmax(-near.square() / (2 * SIGMA**2), dim=-1)


def soft_cross_entropy(logits: Tensor, which: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy with a soft code, [..., Q] and [..., K] -> [...]."""
    return -(logits.log_softmax(-1).gather(-1, which) * weight).sum(-1)


def coloured(ab: Tensor, least: float = GREY) -> Tensor:
    """Which pictures hold colour: bool [B] of ab [B, P, 2] (Zhang et al.'s released code).

    A grey photograph would teach that things have no colour.
    """
    return (ab.abs() > least).flatten(1).any(1)


def rebalancing(frequency: Tensor, uniform: float) -> Tensor:
    """Weights ``((1 - uniform) p + uniform / Q)^-1``, scaled so that their mean under p is 1.

    Args:
        frequency: Share p of each bin, [Q].
        uniform: 0 weighs by the inverse of p, 1 all bins alike, 1/2 in the paper.
    """
    weight = 1 / ((1 - uniform) * frequency + uniform / len(frequency))
    return weight / (weight * frequency).sum()


def smoothed(frequency: Tensor, bins: Tensor) -> Tensor:
    """Frequencies blurred over neighbouring bins by a Gaussian of ``SIGMA``, [Q] (section 2.2)."""
    distance = (bins[:, None] - bins[None]).square().sum(-1)
    kernel = torch.softmax(-distance / (2 * SIGMA**2), dim=1)
    found = frequency @ kernel
    return found / found.sum()


def annealed_mean(logits: Tensor, bins: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """One colour for each histogram, for showing: [..., Q] -> [..., 2] (section 2.3).

    The mean of the sharpened histogram: between its mean (temperature 1: dull) and its mode (0).
    """
    return (logits / temperature).softmax(-1) @ bins


def level(value: Tensor, bins: int = HUE_BINS) -> Tensor:
    """Bin of a hue or chroma in [0, 1], int64."""
    return (0.99999 * bins * value).long()


def hue_chroma_losses(
    hue_logits: Tensor, chroma_logits: Tensor, hue: Tensor, chroma: Tensor
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the hue and of the chroma at each position, [...] each (section 3.1).

    Larsson et al. add ``chroma + 5 * C * hue``: a hue means little where there is hardly any
    colour C, and 5 is about one over the mean chroma.

    Args:
        hue_logits: [..., bins].
        chroma_logits: [..., bins].
        hue: In [0, 1), [...].
        chroma: In [0, 1], [...].
    """

    def cross_entropy(logits: Tensor, value: Tensor) -> Tensor:
        target = level(value, logits.shape[-1])
        return -logits.log_softmax(-1).gather(-1, target[..., None])[..., 0]

    return cross_entropy(hue_logits, hue), cross_entropy(chroma_logits, chroma)


def hue_mean(logits: Tensor) -> Tensor:
    """One hue in [0, 1) for each histogram, [..., bins] -> [...]: the mean on the circle."""
    bins = logits.shape[-1]
    angle = (torch.arange(bins, device=logits.device) + 0.5) / bins * 2 * torch.pi
    share = logits.softmax(-1)
    found = torch.atan2((share * angle.sin()).sum(-1), (share * angle.cos()).sum(-1))
    return (found / (2 * torch.pi)) % 1


def chroma_median(logits: Tensor) -> Tensor:
    """One chroma in [0, 1] for each histogram, [..., bins] -> [...]: its median bin's middle."""
    below = (logits.softmax(-1).cumsum(-1) < 0.5).sum(-1)
    return (below + 0.5) / logits.shape[-1]
