"""The head of the dense tasks, and its training.

Legend: B pictures, C channels of the map, O outputs, h, w cells, H, W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.core import rng
from foveal.engine.screen import ProgressScreen
from foveal.evaluation.dense.settings import DenseSettings
from foveal.evaluation.fit import by_steps, fit
from foveal.methods.base import Group
from foveal.recipe import Optimiser, Schedule

_WEIGHT_DECAY = 1e-4
_WARMUP = 0.1  # of all steps


class DenseHead(nn.Module):
    """Two dilated 3x3 convolutions and a 1x1 (the head of FCN in He et al., MoCo, CVPR 2020).

    Args:
        channels: Of the map.
        outputs: Of every pixel.
        width: Channels of the convolutions.
        cells: Side of the map. The dilation is 6 as there (a map of 32 cells), and smaller on
            smaller maps, where most of a wider kernel would lie outside.
    """

    def __init__(self, channels: int, outputs: int, *, width: int, cells: int) -> None:
        super().__init__()
        d = min(6, max(1, cells // 5))
        # Features come in any scale: brought to one, so that one learning rate fits all networks.
        layers: list[nn.Module] = [nn.BatchNorm2d(channels, affine=False)]
        for inside in (channels, width):
            layers += [
                nn.Conv2d(inside, width, 3, padding=d, dilation=d, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, outputs, 1))

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """[B, C, h, w] -> [B, O, H, W], bilinear."""
        return F.interpolate(self.layers(x), size=size, mode="bilinear", align_corners=False)


def fit_head(
    head: DenseHead,
    batches: Iterable[tuple[Tensor, Tensor]],
    loss: Callable[[Tensor, Tensor], Tensor],
    settings: DenseSettings,
    steps: int,
    body: Sequence[nn.Parameter] = (),
    *,
    screen: ProgressScreen | None = None,
) -> None:
    """Trains a head by AdamW, warmed up over a tenth of the steps, then along a cosine to 0.

    Args:
        head: Trained in place, left in evaluation mode.
        batches: Maps [B, C, h, w] and targets.
        loss: From outputs [B, O, H, W] and targets; a mean.
        settings: Learning rates.
        steps: In all.
        body: Parameters of the network, where it is trained too.
        screen: Told how it goes.
    """
    optimiser = Optimiser(name="adamw", lr=settings.lr, scaling="none", weight_decay=_WEIGHT_DECAY)
    schedule = Schedule(name="cosine", warmup=max(1, round(_WARMUP * steps)))
    groups = [Group(list(head.parameters()))]
    if body:
        groups.append(Group(list(body), lr=settings.body_lr / settings.lr))
    head.train()
    losses = (loss(head(x, (int(t.shape[1]), int(t.shape[2]))), t) for x, t in batches)
    rate = by_steps(optimiser, schedule, steps)
    fit(losses, groups, optimiser, rate, steps, screen=screen, batch=settings.batch)
    head.eval()


def drawn_head(channels: int, outputs: int, *, width: int, cells: int, seed: int) -> DenseHead:
    """A head with weights drawn from a seed: the same for every network it stands on."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.seed64(seed, "dense head"))
        head = DenseHead(channels, outputs, width=width, cells=cells)
    return head.to(memory_format=torch.channels_last)
