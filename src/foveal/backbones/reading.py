"""Batches of pictures through a frozen encoder, a piece at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from foveal.backbones.encoder import Encoder
from foveal.core.batch import as_images

# A CPU reads so many pixels at once: maps of more than some 32 MB are given back to the system and
# asked for again at every layer, which takes longer than the arithmetic (docs/performance.md).
PIECE = 1 << 18


def device_of(network: nn.Module) -> torch.device:
    """Where a network's weights are."""
    return next((p.device for p in network.parameters()), torch.device("cpu"))


def piece_of(encoder: Encoder, side: int) -> int:
    """Pictures of ``side`` pixels that an encoder on a CPU reads at once."""
    return max(1, PIECE // encoder.pixels_read(side))


def in_pieces(
    encoder: Encoder, pixels: Tensor, read: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """What ``read`` makes of pictures, float32 [B, D] on the CPU.

    Args:
        encoder: Where it is, the pictures are brought; on an accelerator all at once.
        pixels: As the loader gives them, [B, H, W, C].
        read: Pictures [B, C, H, W] in [0, 1] to [B, D]; None: the encoder's ``pooled``.
    """
    device = device_of(encoder)
    piece = piece_of(encoder, max(pixels.shape[1:3])) if device.type == "cpu" else len(pixels)
    found = []
    for some in torch.split(pixels, piece):
        images = as_images(some.to(device))
        found.append((encoder(images)["pooled"] if read is None else read(images)).float().cpu())
    return torch.cat(found)
