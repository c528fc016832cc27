"""What every number is shown beside: the same network untrained, and the pixels themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from foveal.backbones.batchnorm import estimate_batchnorm
from foveal.backbones.encoder import Encoder
from foveal.backbones.reading import device_of
from foveal.core import rng
from foveal.core.batch import as_images
from foveal.data.loader import Table, ordered_views
from foveal.data.sources import Source
from foveal.evaluation.features import Store, compute_threads, placed, weights_digest
from foveal.views.presets import center_view
from foveal.views.spec import View

PIXEL_SIZE = 32
BN_PICTURES, _BN_BATCH = 2048, 256
_BN_PIXELS = 256 * 224 * 224  # memory: pictures larger than 224 come in smaller batches


def random_init(
    encoder: Encoder, source: Source, *, seed: int, store: Store, view: View | None = None
) -> Encoder:
    """The same network as ``encoder``, weights drawn from ``seed``, batch norms estimated.

    They are estimated on ``view``; None is the encoder's centre view. The seed is used as a run
    uses it, so a run's own seed gives the weights it started from where its method draws the trunk
    first. torch's generator is left as it was.
    """
    device = device_of(encoder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.seed64(seed, "init"))
        drawn = placed(Encoder.from_description(encoder.describe()), device)
    _estimate_batch_norm(drawn, source, seed=seed, store=store, view=view)
    return drawn.eval()


def _estimate_batch_norm(
    encoder: Encoder, source: Source, *, seed: int, store: Store, view: View | None
) -> None:
    """Sets the running statistics of every batch norm to those of training pictures.

    The plain mean of the statistics of equal batches of one view (momentum None) over a
    keyed sample of up to 2,048 pictures. Everything else stays in evaluation mode.
    """
    layers = [m for m in encoder.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not layers:
        return
    mixed = rng.permute(rng.key(seed, "batch norm"), len(source), np.arange(len(source)))
    # In mixed order: batches of one class each would not see how classes differ.
    rows = mixed[:BN_PICTURES]

    def make(path: Path) -> None:
        _estimate(encoder, source, rows, view or center_view(encoder.size, encoder.fraction))
        np.save(path, torch.cat([_statistics(layer) for layer in layers]).cpu().numpy())

    values, _, _ = store.get(
        {
            "batch norm of": weights_digest(encoder),
            "network": encoder.describe(),
            "data": source.fingerprint(),
            "channels": source.channels,
            "bits": source.bits,
            "seed": seed,
            "pictures": len(rows),
            "batch": _BN_BATCH,
            **({} if view is None else {"view": view.model_dump(mode="json")}),
        },
        make,
    )
    at = 0
    for layer in layers:
        n = layer.num_features
        found = torch.from_numpy(np.array(values[at : at + 2 * n]))
        assert layer.running_mean is not None and layer.running_var is not None
        layer.running_mean.copy_(found[:n])
        layer.running_var.copy_(found[n:])
        if layer.num_batches_tracked is not None:
            layer.num_batches_tracked.zero_()  # the same network, estimated or read
        at += 2 * n


def _statistics(layer: _BatchNorm) -> Tensor:
    assert layer.running_mean is not None and layer.running_var is not None
    return torch.cat([layer.running_mean, layer.running_var])


@torch.no_grad()
def _estimate(encoder: Encoder, source: Source, rows: NDArray[np.int64], view: View) -> None:
    device = device_of(encoder)
    table = Table(source, rows, np.full(len(rows), -1, np.int64))
    most = int(np.clip(_BN_PIXELS // view.size**2, 16, _BN_BATCH))
    size = -(-len(rows) // -(-len(rows) // most))

    def batches(threads: int) -> Iterator[Tensor]:
        for _, pixels, ok in ordered_views(table, view, batch=size, threads=threads):
            images = as_images(pixels[torch.from_numpy(ok)].to(device))
            if len(images) > 1:  # after global pooling one picture has no deviation
                yield images

    with compute_threads(device) as threads:
        estimate_batchnorm(encoder, batches(threads))


def pixels_of_view(pixels: Tensor) -> Tensor:
    """uint8 [B, H, W, C] -> float32 [B, H * W * C] in [0, 1]."""
    return as_images(pixels).flatten(1).contiguous()
