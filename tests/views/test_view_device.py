"""The batched torch applier against the compiled one, on CPU tensors."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_view_parity import CHAINS, LEVEL, reference, seeds

from foveal.core import rng
from foveal.errors import FovealError
from foveal.views.device import apply_table
from foveal.views.make import apply_rows
from foveal.views.presets import center_view, dino_views, padded_view, simclr_view
from foveal.views.spec import Affine, Jitter, Tiles, View
from foveal.views.table import sample

VIEWS = {
    "byol": CHAINS[0],
    "bicubic": CHAINS[2],
    "simclr": simclr_view(30),
    "local": dino_views(60, 30)["local_0"],
    "padded": padded_view(40, 5),
    "center": center_view(33),
    "wider": View(size=70),
    "tiles": View(
        size=36,
        jitter=Jitter(p=1.0, brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1),
        tiles=Tiles(rows=2, columns=2, stride=18, size=12, jitter=6),
    ),
}


def pictures(seed, n, height, width, channels=3):
    draw = np.random.default_rng(seed)
    small = draw.integers(0, 256, (n, 4, 5, 3)).astype(np.uint8)
    large = [np.asarray(Image.fromarray(s).resize((width, height), 3)) for s in small]
    return np.stack(large)[..., :channels].copy()


def both(view, images, seed):
    """What the compiled and the batched applier make of the same table."""
    sizes = np.tile(np.array(images.shape[1:3], np.int32), (len(images), 1))
    table = sample(view, rng.key(seed, "d"), np.arange(len(images)), sizes)
    cpu = np.empty((len(images), *view.shape(images.shape[-1])), np.uint8)
    for image, rows, out in zip(images, table, cpu, strict=True):
        apply_rows(view, image, rows, out)
    device = apply_table(view, torch.from_numpy(images), table)
    assert device.dtype == torch.uint8 and device.shape == cpu.shape
    return cpu, device.numpy(), table


@pytest.mark.parametrize("name", VIEWS)
@settings(deadline=None, max_examples=12)
@given(seeds, st.integers(12, 60), st.integers(12, 60))
def test_the_device_makes_what_the_cpu_makes(name, seed, height, width):
    view = VIEWS[name]
    images = pictures(seed, 5, height, width)
    cpu, device, table = both(view, images, seed)
    off = np.abs(cpu.astype(int) - device)
    if view.solarise:
        for b, image in enumerate(images):
            off[b][reference(image, table[b, 0], view)[1]] = 0
    assert off.max() <= 2
    assert (off > 1).mean() < 0.01


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_other_than_three_channels(channels):
    view = VIEWS["byol"].without_colour()
    images = np.concatenate([pictures(s, 6, 40, 50) for s in (0, 1)], axis=3)[..., :channels]
    cpu, device, _ = both(view, np.ascontiguousarray(images), 3)
    assert device.shape[-1] == channels
    off = np.abs(cpu.astype(int) - device)
    # Solarised pixels on the threshold may fall on either side of it.
    assert (off > 1 + 255 * LEVEL).mean() < 0.01


def test_what_the_device_does_not_know_is_refused():
    images = torch.zeros(2, 20, 20, 3, dtype=torch.uint8)
    table = np.zeros((2, 1, 54), np.float32)
    with pytest.raises(FovealError, match="crop, mirror, jitter"):
        apply_table(View(size=8, affine=Affine(rotation=9)), images, table)
    with pytest.raises(FovealError, match="grey need three channels"):
        apply_table(View(size=8, grey=0.1), images[..., :1], table)
