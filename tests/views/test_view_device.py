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
from foveal.views.spec import (
    Affine,
    ChannelDrop,
    ChannelShift,
    Choice,
    Crop,
    HSVPowers,
    Jitter,
    Noise,
    PCAContrast,
    Posterise,
    Sharpness,
    Shrink,
    Tiles,
    View,
)  # fmt: skip
from foveal.views.table import COLUMN, sample

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


SIDE = 26
WHOLE = Crop(kind="center", fraction=1.0)
AFFINE = Affine(
    p=0.8, rotation=180, translation=0.4, scale=(0.5, 2.0), shear=(30, 20), border="zero"
)
# Each of the further operations on pixels that were not resampled, so that both sides round alike.
FURTHER = {
    "affine": {"affine": AFFINE},
    "affine, reflected": {"affine": AFFINE.model_copy(update={"border": "reflect"})},
    "turns": {"turns": (0, 1, 2, 3)},
    "shrink": {"shrink": Shrink(p=0.8, pixels=(9, 900))},
    "pca": {"pca": PCAContrast(p=0.8)},
    "hsv": {"hsv": HSVPowers(p=0.8)},
    "invert": {"invert": 0.5},
    "posterise": {"posterise": Posterise(bits=(1, 8))},
    "autocontrast": {"autocontrast": 0.5},
    "equalise": {"equalise": 0.5},
    "sharpness": {"sharpness": Sharpness(factor=(0.1, 3.0))},
    "projection": {"projection": 0.5},
    "channel shift": {"channel_shift": ChannelShift(pixels=(-30, 30))},
    "channel drop": {"channel_drop": ChannelDrop(p=0.7, noise=0.4)},
    "noise": {"noise": Noise(p=0.8, sigma=(0.0, 0.3))},
    "a choice of two": {
        "invert": 1.0, "equalise": 1.0, "turns": (1, 2),
        "choice": Choice(of=("invert", "equalise", "turns"), count=2),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", FURTHER)
@settings(deadline=None, max_examples=8)
@given(seeds)
def test_further_operations(name, seed):
    view = View(size=SIDE, crop=WHOLE, flip=0.5, **FURTHER[name])
    cpu, device, _ = both(view, pictures(seed, 6, SIDE, SIDE), seed)
    assert np.abs(cpu.astype(int) - device).max() <= 2


@pytest.mark.parametrize("name", FURTHER)
def test_further_operations_do_something(name):
    images = pictures(0, 12, SIDE, SIDE) // 2 + 40  # so that there is contrast to gain
    plain, changed = (
        both(View(size=SIDE, crop=WHOLE, **more), images, 0)[1] for more in ({}, FURTHER[name])
    )
    assert (plain != changed).any(axis=(1, 2, 3)).sum() >= 3


@settings(deadline=None, max_examples=25)
@given(seeds, st.integers(20, 60), st.integers(20, 60), st.booleans())
def test_a_warp_that_sees_the_picture_around_the_crop(seed, height, width, cubic):
    view = View(
        size=24,
        crop=Crop(scale=(0.1, 0.6)),
        interpolation="bicubic" if cubic else "bilinear",
        affine=AFFINE.model_copy(update={"border": "picture"}),
        turns=(0, 3),
    )
    cpu, device, _ = both(view, pictures(seed, 5, height, width), seed)
    assert np.abs(cpu.astype(int) - device).max() <= 2


@settings(deadline=None, max_examples=10)
@given(seeds)
def test_operations_of_tiles(seed):
    view = View(
        size=36,
        affine=AFFINE,
        pca=PCAContrast(),
        projection=0.3,
        noise=Noise(),
        tiles=Tiles(rows=2, columns=2, stride=18, size=12, jitter=6),
    )
    cpu, device, _ = both(view, pictures(seed, 3, 50, 40), seed)
    assert np.abs(cpu.astype(int) - device).max() <= 2


def test_colours_that_are_not_there_are_refused():
    images = torch.zeros(2, 20, 20, 1, dtype=torch.uint8)
    table = np.zeros((2, 1, len(COLUMN)), np.float32)
    with pytest.raises(FovealError, match="grey need three channels"):
        apply_table(View(size=8, grey=0.1), images, table)
