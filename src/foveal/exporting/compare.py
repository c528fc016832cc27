"""Is an export the same function? Its features beside the original's, on keyed noise."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from foveal.backbones.encoder import Encoder
from foveal.core import rng
from foveal.errors import FovealError

# Largest difference between the original's and the export's features, relative to the largest
# feature: float32 sums in another order stay well below, a wrong layer or weight far above.
TOLERANCE = 1e-4
# Batches that are compared; programmes are traced with a batch of 2.
_BATCHES = (1, 3)


class Pooled(nn.Module):
    """Pictures to the pooled vector and nothing else."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pictures: Tensor) -> Tensor:
        """[B, C, size, size] in [0, 1] -> [B, D]."""
        pooled: Tensor = self.encoder(pictures)["pooled"]
        return pooled


def pictures_like(encoder: Encoder, batch: int, size: tuple[int, int] | None = None) -> Tensor:
    """Keyed noise in [0, 1], [batch, C, height, width]; None: the encoder's own size."""
    shape = (encoder.channels, *(size or (encoder.size, encoder.size)))
    values = rng.uniform(rng.key(0, "export"), np.arange(batch), int(np.prod(shape)))
    return torch.from_numpy(values.astype(np.float32)).view(batch, *shape)


@torch.no_grad()
def compare(
    encoder: Encoder,
    other: Callable[[Tensor], Tensor],
    sizes: Sequence[tuple[int, int] | None] = (None,),
) -> float:
    """Largest absolute difference of the features, over batches of 1 and 3 and the sizes.

    Raises:
        FovealError: It is beyond rounding.
    """
    worst = 0.0
    for batch, size in itertools.product(_BATCHES, sizes):
        pictures = pictures_like(encoder, batch, size)
        ours, theirs = encoder(pictures)["pooled"], other(pictures)
        difference = (ours - theirs).abs().max().item() if ours.shape == theirs.shape else np.inf
        if not difference <= TOLERANCE * max(1.0, ours.abs().max().item()):
            raise FovealError(
                f"the exported network's features differ from the original's by {difference:.2g}, "
                "so nothing was written",
                hint="please report it, naming the backbone; --format torch may work",
            )
        worst = max(worst, difference)
    return worst
