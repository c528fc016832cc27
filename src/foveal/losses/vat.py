"""Virtual adversarial training: predictions must not change along the direction they change most.

Miyato, Maeda, Koyama, Ishii, "Virtual adversarial training", TPAMI 2018, and the form of Zhai,
Oliver, Kolesnikov, Beyer, "S4L", ICCV 2019. Beside it the entropy of predictions (Grandvalet and
Bengio, NeurIPS 2004).

Legend: B pictures, K classes, ... their shape.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Direction = Literal["perturbed_first", "clean_first"]


def divergence(
    perturbed_BK: Tensor, clean_BK: Tensor, direction: Direction = "perturbed_first"
) -> Tensor:
    """Kullback-Leibler divergence of two softmax predictions from logits, [B].

    ``perturbed_first`` is KL(perturbed || clean), S4L's; ``clean_first`` KL(clean || perturbed),
    Miyato's. The clean prediction is a constant.
    """
    perturbed = perturbed_BK.log_softmax(1)
    clean = clean_BK.detach().log_softmax(1)
    first, second = (perturbed, clean) if direction == "perturbed_first" else (clean, perturbed)
    return (first.exp() * (first - second)).sum(1)


def entropy(logits_BK: Tensor) -> Tensor:
    """Of the softmax predictions, in nats, [B]."""
    log_p = logits_BK.log_softmax(1)
    return -(log_p.exp() * log_p).sum(1)


@dataclass(frozen=True)
class Adversary:
    """What a network says of pictures and of their perturbed copies.

    Attributes:
        clean: Logits without gradient, [B, K].
        perturbed: Logits of the perturbed pictures, [B, K].
        cosine: Between the small step that was meant and the one that float32 made of it, [B]:
            below 1 the direction was computed along something else.
    """

    clean: Tensor
    perturbed: Tensor
    cosine: Tensor


def virtual_adversary(
    network: Callable[[Tensor], Tensor],
    x: Tensor,
    noise: Tensor,
    *,
    radius: float,
    xi: float,
    direction: Direction = "perturbed_first",
) -> Adversary:
    """Pictures moved by ``radius`` along the direction their prediction changes most.

    One power iteration: the gradient of the divergence after a step of length ``xi`` along noise.
    All three forwards are in float32 whatever the precision of training, on the same pictures, so
    that batch norm sees the same company; the caller keeps its running averages from moving.

    The gradient is that of a difference of nearly equal predictions, which float32 knows to about
    seven digits. Of a small random network, its cosine with the exact direction was below 0 with
    the paper's ``xi`` of 1e-6 (pictures in [0, 1]), above .99 with 1e-4 to 1e-2 at 32 to 40
    pixels, 0.94 with 1e-2 at 224.

    Args:
        network: [B, ...] -> logits [B, K].
        x: Pictures [B, ...].
        noise: Normal, of a picture's shape [...] or [B, ...].
        radius: Euclidean length of the perturbation, in units of ``x``.
        xi: Length of the small step, in units of ``x``.
        direction: See ``divergence``.
    """
    with torch.autocast(x.device.type, enabled=False):
        x = x.detach() if x.dtype == torch.float64 else x.detach().float()
        with torch.no_grad():
            clean = network(x)
        step = (xi * _unit(noise.to(x.dtype).expand_as(x))).requires_grad_()
        with torch.enable_grad():
            moved = x + step
            # A sum, since only its direction is used, and a mean of small numbers is smaller.
            change = divergence(network(moved), clean, direction).sum()
            (gradient,) = torch.autograd.grad(change, step)
        cosine = F.cosine_similarity((moved - x).detach().flatten(1), step.detach().flatten(1))
        perturbed = network(x + radius * _unit(gradient))
    return Adversary(clean, perturbed, cosine)


def _unit(x: Tensor) -> Tensor:
    """Every row at length 1; a row of zeros stays so. Scaled first: squares of 1e-25 are 0."""
    flat = x.flatten(1)
    flat = flat / flat.abs().amax(1, keepdim=True).clamp_min(1e-38)
    return F.normalize(flat).view_as(x)
