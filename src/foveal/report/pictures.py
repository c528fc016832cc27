"""Pictures of what was learned: nearest neighbours of real pictures, filters of the first layer."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.backbones.encoder import Encoder
from foveal.backbones.reading import in_pieces
from foveal.core import rng
from foveal.core.batch import as_images
from foveal.core.files import atomic_path
from foveal.data.loader import Table, ordered_views
from foveal.data.picture import Pixels
from foveal.views.presets import center_view

_GALLERY, _QUERIES, _NEIGHBOURS, _SIDE, _GAP = 2000, 8, 7, 72, 4


@dataclass(frozen=True)
class Gallery:
    """Some pictures of the data, as the encoder sees them.

    Attributes:
        rows: Of the sample table, int64 [N].
        z_ND: Features of length 1, float32.
        thumbnails: uint8 [N, side, side, 3].
    """

    rows: NDArray[np.int64]
    z_ND: Tensor
    thumbnails: NDArray[np.uint8]


@torch.no_grad()
def take_gallery(
    encoder: Encoder, table: Table, *, fraction: float, seed: int, threads: int = 1
) -> Gallery:
    """Features and thumbnails of up to 2,000 samples drawn by the seed; the unreadable left out."""
    mixed = rng.permute(rng.key(seed, "sheet"), len(table), np.arange(len(table)))
    rows = np.sort(mixed[:_GALLERY])
    features, thumbnails, read = [], [], []
    for some, pixels, ok in ordered_views(
        table, center_view(encoder.size, fraction), batch=128, threads=threads, rows=rows
    ):
        good = torch.from_numpy(ok)
        features.append(in_pieces(encoder, pixels)[good])
        thumbnails.append(_thumbnails(pixels[good]))
        read.append(some[ok])
    return Gallery(
        np.concatenate(read), F.normalize(torch.cat(features)), np.concatenate(thumbnails)
    )


def write_neighbour_sheet(gallery: Gallery, path: Path) -> None:
    """A JPEG: each row a picture and its nearest neighbours by cosine, nearest first.

    Pictures that are (nearly) the query itself are passed over, so that copies in the data do not
    pose as good features.
    """
    order = nearest(gallery.z_ND, min(_QUERIES, len(gallery.rows)), _NEIGHBOURS)
    with atomic_path(path) as temporary:
        _sheet(gallery.thumbnails, order).save(temporary, quality=88)


def nearest(z_ND: Tensor, queries: int, neighbours: int) -> NDArray[np.int64]:
    """Rows [Q, 1 + K]: evenly spread queries, then their neighbours; no copies of the query."""
    chosen = torch.linspace(0, len(z_ND) - 1, queries).long()
    similarity = z_ND[chosen] @ z_ND.T
    similarity[similarity > 0.9999] = -2.0
    found = similarity.topk(min(neighbours, len(z_ND) - 1), dim=1).indices
    rows: NDArray[np.int64] = torch.cat([chosen[:, None], found], dim=1).numpy()
    return rows


def _thumbnails(pixels: Tensor) -> NDArray[np.uint8]:
    small = F.interpolate(
        as_images(pixels), size=(_SIDE, _SIDE), mode="bilinear", antialias=True,
        align_corners=False,
    )  # fmt: skip
    plain = pixels.dtype == torch.uint8 and small.shape[1] in (1, 3)
    return np.stack([_shown(x, plain) for x in small.permute(0, 2, 3, 1).numpy()])


def picture_of(pixels: Pixels) -> Image.Image:
    """Pixels as a colour picture to look at.

    Of other than one or three channels the first three are shown (of two the first); what is not
    8-bit grey or colour is stretched from its darkest to its brightest value.
    """
    plain = pixels.itemsize == 1 and pixels.shape[2] in (1, 3)
    x = pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    return Image.fromarray(_shown(x, plain))


def _shown(x: NDArray[np.float32], plain: bool) -> NDArray[np.uint8]:
    """[H, W, C] in [0, 1] -> uint8 [H, W, 3]."""
    x = x[:, :, :3] if x.shape[2] >= 3 else np.repeat(x[:, :, :1], 3, axis=2)
    if not plain:
        x = (x - x.min()) / max(x.max() - x.min(), 1e-6)
    return np.rint(x * 255).clip(0, 255).astype(np.uint8)


def _sheet(pictures: NDArray[np.uint8], order: NDArray[np.int64]) -> Image.Image:
    """Queries on the left, set off by a wider gap."""
    step = _SIDE + _GAP
    sheet = np.full((len(order) * step, order.shape[1] * step + 2 * _GAP, 3), 255, np.uint8)
    for r, row in enumerate(order):
        for c, i in enumerate(row):
            x = c * step + (2 * _GAP if c else 0)
            sheet[r * step : r * step + _SIDE, x : x + _SIDE] = pictures[i]
    return Image.fromarray(sheet)


def filter_sheet(encoder: nn.Module, columns: int = 16, scale: int = 5) -> Image.Image | None:
    """The kernels of the first convolution with 1 or 3 input channels, each stretched to 0-255."""
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels in (1, 3):
            weight = module.weight.detach().float().cpu()
            break
    else:
        return None
    if weight.shape[-1] < 2:
        return None
    low = weight.amin(dim=(1, 2, 3), keepdim=True)
    high = weight.amax(dim=(1, 2, 3), keepdim=True)
    weight = (weight - low) / (high - low).clamp_min(1e-12)
    tiles = (weight.expand(-1, 3, -1, -1) * 255).round().byte().permute(0, 2, 3, 1).numpy()[:64]
    k = tiles.shape[1] * max(scale, 24 // tiles.shape[1])
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (min(columns, len(tiles)) * (k + 2), rows * (k + 2)), "white")
    for i, tile in enumerate(tiles):
        picture = Image.fromarray(tile).resize((k, k), Image.Resampling.NEAREST)
        sheet.paste(picture, (i % columns * (k + 2), i // columns * (k + 2)))
    return sheet


def inline(image: Image.Image | Path, alt: str) -> str:
    """An ``<img>`` that carries its picture."""
    if isinstance(image, Path):
        kind, data = "jpeg", image.read_bytes()
    else:
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        kind, data = "png", buffer.getvalue()
    text = base64.b64encode(data).decode()
    return f'<img alt="{alt}" src="data:image/{kind};base64,{text}">'
