"""Pictures of a world to features for an agent, through a frozen network.

Goyal et al., "Scaling and benchmarking self-supervised visual representation learning", ICCV 2019,
as its released configuration has it: a map of the network, compressed by a random 1x1 convolution.

Legend: W worlds, H, W pixels of a picture, C channels, K channels kept, h, w cells, D features.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from foveal.backbones.encoder import Encoder
from foveal.backbones.reading import device_of
from foveal.core import rng
from foveal.core.batch import as_images
from foveal.data.picture import with_channels
from foveal.views.make import apply_rows
from foveal.views.spec import Crop, View
from foveal.views.table import sample

_LEAST_DEVIATION = 1e-3
_BATCH = 64


def whole_squashed(size: int) -> View:
    """The whole picture as a square."""
    return View(size=size, crop=Crop(kind="whole"), interpolation="bicubic")


class Eyes:
    """A frozen network, its map compressed and standardised.

    Args:
        encoder: In evaluation mode.
        end: A map of it.
        channels: K.
        size: Side of the squashed picture.
        seed: Of the compression, which depends on the seed and the channels alone.
        typical: Pictures uint8 [N, H, W, C] by which each feature gets mean 0 and deviation 1.
    """

    def __init__(
        self,
        encoder: Encoder,
        end: str,
        *,
        channels: int,
        size: int,
        seed: int,
        typical: NDArray[np.uint8],
    ) -> None:
        self.encoder, self.end, self.view = encoder, end, whole_squashed(size)
        given = next(e.channels for e in encoder.ends if e.name == end)
        key = rng.key(seed, "navigation", "compression")
        weights_KC = rng.normal(key, np.arange(channels), given) / given**0.5
        self.weights = torch.from_numpy(weights_KC.astype(np.float32)).to(device_of(encoder))
        self.rows = sample(self.view, (0, 0), np.zeros(1, np.int64), _sizes(typical[:1]))[0]
        parts = np.array_split(typical, -(-len(typical) // _BATCH))
        seen = np.concatenate([self._raw(some) for some in parts])
        self.dim = seen.shape[1]
        self.mean, self.deviation = seen.mean(0), np.maximum(seen.std(0), _LEAST_DEVIATION)

    def __call__(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Pictures [W, H, W, C] -> float32 [W, D]."""
        found: NDArray[np.float32] = (self._raw(pictures) - self.mean) / self.deviation
        return found

    @torch.no_grad()
    def _raw(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        side, channels = self.view.size, self.encoder.channels
        seen = np.empty((len(pictures), side, side, channels), np.uint8)
        for picture, out in zip(pictures, seen, strict=True):
            apply_rows(self.view, with_channels(picture, channels), self.rows, out)
        images = as_images(torch.from_numpy(seen).to(self.weights.device))
        maps = self.encoder(images, [self.end])[self.end].float()
        flat = torch.einsum("kc,bchw->bkhw", self.weights, maps).flatten(1)
        found: NDArray[np.float32] = flat.cpu().numpy()
        return found


def _sizes(pictures: NDArray[np.uint8]) -> NDArray[np.int32]:
    return np.array([picture.shape[:2] for picture in pictures], np.int32)
