"""The same table applied on a device: batched torch, no loop over pictures.

For pictures that are already there, all of one size (a data set kept on the accelerator, a cache of
squares). Results agree with the CPU's within two levels of 255, noise included, which both draw by
the same counters.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.errors import FovealError
from foveal.views.device.colour import plain_colour
from foveal.views.device.geometry import crop, tiles, turned, warped, warped_from_picture
from foveal.views.device.more import after_colour, before_colour
from foveal.views.spec import View


def apply_table(view: View, images: Tensor, table: NDArray[np.float32] | Tensor) -> Tensor:
    """Views of a batch of pictures.

    Args:
        view: What to make.
        images: uint8 [B, H, W, C], on any device.
        table: Rows of the views, float32 [B, P, K] (``views.table.sample``), best on the CPU: which
            pictures an operation takes is then known without waiting for the device.

    Returns:
        uint8 [B, S, S, C], with tiles [B, T, s, s, C], on the device of the images.

    Raises:
        FovealError: The view needs colours the pictures do not have.
    """
    forbidden = view.needs_colour() if images.shape[-1] != 3 else []
    if forbidden:
        raise FovealError(
            f"{', '.join(forbidden)} need three channels; the pictures have {images.shape[-1]}",
            hint="View.without_colour()",
        )
    rows = np.asarray(table, np.float64)
    pictures = images.permute(0, 3, 1, 2).to(torch.float32) / 255
    x = crop(view, pictures, rows[:, 0])
    if view.tiles is not None:
        x = tiles(view, x, rows[:, 1:])
        rows = rows[:, 1:].reshape(-1, rows.shape[-1])
        x = warped(view, x, rows)
    else:
        rows = rows[:, 0]
        around = view.affine is not None and view.affine.border == "picture"
        x = warped_from_picture(view, x, pictures, rows) if around else warped(view, x, rows)
    x = turned(x, rows)
    x = before_colour(x, rows)
    x = plain_colour(view, x, rows)
    x = after_colour(view, x, rows)
    pixels = (x * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1)
    if view.tiles is not None:
        pixels = pixels.reshape(len(images), -1, *pixels.shape[1:])
    return pixels.contiguous()
