"""What says how alike two patches are: maps of a network, SIFT, grey values.

Legend: R regions, P side of a patch, C channels, D features.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from foveal.backbones.encoder import Encoder
from foveal.backbones.reading import device_of
from foveal.core.batch import as_images
from foveal.data.picture import with_channels
from foveal.evaluation.matching.regions import Regions, frames, grey, patches
from foveal.evaluation.matching.settings import MatchingSettings
from foveal.motion.packages import opencv

CELLS = 4  # a side, as SIFT has them
SIFT_SIDE, PIXEL_SIDE = 157, 32
_SIFT_WINDOW = 6  # OpenCV: four cells of 3 sigma each, and a key point's size is 2 sigma
_BATCH = 128


class Descriptor(Protocol):
    """Makes patches of a picture's regions and describes them."""

    def __call__(
        self, pixels: NDArray[np.uint8], regions: Regions
    ) -> dict[str, NDArray[np.float32]]:
        """Descriptors by name, each [R, D]; compared by Euclidean distance."""
        ...


class NetworkMaps:
    """Maps of a network over the patch, max-pooled to 4 x 4 cells.

    Args:
        encoder: In evaluation mode; not changed.
        ends: Its maps to read.
        side: P.
        settings: How patches are cut.
    """

    def __init__(
        self, encoder: Encoder, ends: list[str], side: int, settings: MatchingSettings
    ) -> None:
        self.encoder, self.ends, self.side, self.settings = encoder, ends, side, settings

    def patches(self, pixels: NDArray[np.uint8], regions: Regions) -> NDArray[np.uint8]:
        """What the network sees, uint8 [R, P, P, C]."""
        own = with_channels(pixels, self.encoder.channels)
        return patches(own, regions, _frames(pixels, regions, self.settings), self.side)

    @torch.no_grad()
    def __call__(
        self, pixels: NDArray[np.uint8], regions: Regions
    ) -> dict[str, NDArray[np.float32]]:
        """See ``Descriptor``; one for each end point."""
        seen = torch.from_numpy(self.patches(pixels, regions))
        parts: dict[str, list[NDArray[np.float32]]] = {end: [] for end in self.ends}
        for some in torch.split(seen, _BATCH):
            maps = self.encoder(as_images(some.to(device_of(self.encoder))), self.ends)
            for end in self.ends:
                cells = F.adaptive_max_pool2d(maps[end].float(), CELLS)
                parts[end].append(cells.flatten(1).cpu().numpy())
        return {end: np.concatenate(found) for end, found in parts.items() if found}


class Sift:
    """OpenCV's SIFT of the patch as it was turned, its window the whole patch."""

    def __init__(self, settings: MatchingSettings) -> None:
        self.settings = settings

    def __call__(
        self, pixels: NDArray[np.uint8], regions: Regions
    ) -> dict[str, NDArray[np.float32]]:
        """See ``Descriptor``."""
        cv2 = opencv()
        seen = patches(
            grey(pixels)[:, :, None], regions, _frames(pixels, regions, self.settings), SIFT_SIDE
        )
        middle, sift = (SIFT_SIDE - 1) / 2, cv2.SIFT_create()
        point = cv2.KeyPoint(middle, middle, SIFT_SIDE / _SIFT_WINDOW, 0.0)
        found = [sift.compute(patch[:, :, 0], [point])[1] for patch in seen]
        return {"sift": np.concatenate(found)} if found else {}


class GreyValues:
    """The patch's grey values themselves, less their mean and of length 1."""

    def __init__(self, settings: MatchingSettings) -> None:
        self.settings = settings

    def __call__(
        self, pixels: NDArray[np.uint8], regions: Regions
    ) -> dict[str, NDArray[np.float32]]:
        """See ``Descriptor``."""
        frame = _frames(pixels, regions, self.settings)
        seen = patches(grey(pixels)[:, :, None], regions, frame, PIXEL_SIDE)
        flat = seen.reshape(len(seen), PIXEL_SIDE**2).astype(np.float32)
        flat -= flat.mean(1, keepdims=True)
        flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
        return {"pixels": flat}


def distances(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Euclidean, [R, S]."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    squared = (x**2).sum(1)[:, None] + (y**2).sum(1)[None] - 2 * x @ y.T
    found: NDArray[np.float64] = np.sqrt(np.maximum(squared, 0))
    return found


def _frames(pixels: NDArray[np.uint8], regions: Regions, settings: MatchingSettings) -> Any:
    return frames(pixels, regions, enlarge=settings.enlarge, upright=settings.upright)
