"""Whole chains with the further operations against torchvision: within 2 levels of 255.

Left out: pixels next to a step of the posteriser or solariser, and equalise, whose steps lie
everywhere (it is exact alone: ``test_view_operations``).
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_view_parity import LEVEL, MODES, seeds
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from foveal.core import rng
from foveal.views.kernels.colour import PROJECTION
from foveal.views.make import apply_rows
from foveal.views.spec import (
    Affine,
    Blur,
    ChannelShift,
    Jitter,
    Posterise,
    Sharpness,
    Shrink,
    View,
)
from foveal.views.table import COLUMN, ORDERS, sample

SIZE = 28
CHAINS = {
    "geometry": View(
        size=SIZE,
        affine=Affine(p=0.7, rotation=180, translation=0.2, scale=(0.7, 1.4), shear=(20, 20)),
        turns=(0, 1, 2, 3),
        shrink=Shrink(p=0.5, pixels=(30, 600)),
        interpolation="bicubic",
    ),
    "tones": View(
        size=SIZE,
        jitter=Jitter(p=0.8, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2),
        grey=0.2,
        grey_kind="mean",
        blur=Blur(p=0.5, kernel=5, border="zero"),
        invert=0.5,
        autocontrast=0.5,
        sharpness=Sharpness(p=0.5),
    ),
    "steps": View(
        size=SIZE,
        affine=Affine(p=0.5, rotation=30),
        solarise=0.5,
        threshold=(0.2, 0.9),
        posterise=Posterise(p=0.7, bits=(3, 7)),
    ),
    "channels": View(
        size=SIZE,
        jitter=Jitter(p=0.8, brightness=0.4, hue=0.2),
        projection=0.5,
        channel_shift=ChannelShift(p=0.7, pixels=(-2, 2)),
    ),
}


def shifted(x, moves):
    """Channels moved by whole pixels (dy, dx), the border repeated."""
    out = []
    for plane, (dy, dx) in zip(x, np.reshape(moves, (3, 2)).astype(int), strict=True):
        y = (torch.arange(SIZE) - int(dy)).clamp(0, SIZE - 1)
        i = (torch.arange(SIZE) - int(dx)).clamp(0, SIZE - 1)
        out.append(plane[y][:, i])
    return torch.stack(out)


def blurred(x, sigma, kernel):
    """Gaussian blur with zeros around."""
    taps = torch.exp(-0.5 * (torch.arange(kernel) - kernel // 2) ** 2 / sigma**2)
    taps = (taps / taps.sum()).float()
    weight = (taps[:, None] * taps[None]).expand(3, 1, -1, -1)
    return torch.nn.functional.conv2d(x, weight, padding=kernel // 2, groups=3)


def reference(image, row, view):
    """What torchvision makes of a row, float [S, S, 3] in 0 to 255, and pixels near a step."""

    def v(name):
        return float(row[COLUMN[name]])

    x = torch.from_numpy(image).permute(2, 0, 1).float() / 255
    region = [int(v(n)) for n in ("top", "left", "height", "width")]
    mode = MODES[view.interpolation == "bicubic"]
    x = tv.resized_crop(x, *region, [SIZE, SIZE], mode, antialias=True).clamp(0, 1)
    x = x.flip(-1) if v("flip") else x
    if v("affine"):
        move = [v("shift_x") * SIZE, v("shift_y") * SIZE]
        shear = [v("shear_x"), v("shear_y")]
        x = tv.affine(x, v("angle"), move, v("scale"), shear, InterpolationMode.BILINEAR)
    x = torch.rot90(x, int(v("turns")), (1, 2))
    small = round(v("shrink"))
    if 0 < small < SIZE:
        x = tv.resize(tv.resize(x, [small, small], antialias=True), [SIZE, SIZE], antialias=True)
    if v("order") >= 0:
        steps = [
            (tv.adjust_brightness, "brightness"),
            (tv.adjust_contrast, "contrast"),
            (tv.adjust_saturation, "saturation"),
            (tv.adjust_hue, "hue"),
        ]
        for op in ORDERS[int(v("order"))]:
            adjust, name = steps[op]
            x = adjust(x, v(name))
    if v("grey"):
        x = x.mean(0, keepdim=True).expand(3, -1, -1)
    if v("sigma"):
        x = blurred(x, v("sigma"), view.blur_kernel)
    near = torch.zeros_like(x, dtype=torch.bool)
    if v("solarise"):
        near |= (x - v("threshold")).abs() < 2 * LEVEL
        x = tv.solarize(x, v("threshold"))
    x = tv.invert(x) if v("invert") else x
    if v("posterise"):
        levels = x * 255 + 0.5
        step = 2 ** (8 - int(v("posterise")))
        near |= (levels / step - (levels / step).round()).abs() * step < 0.3
        x = tv.posterize(levels.to(torch.uint8), int(v("posterise"))).float() / 255
    x = tv.autocontrast(x) if v("autocontrast") else x
    x = tv.adjust_sharpness(x, v("sharpness"))
    if v("projection"):
        x = torch.einsum("dc,chw->dhw", torch.from_numpy(PROJECTION), x).clamp(0, 1)
    if v("channel_shift"):
        x = shifted(x, row[COLUMN["red_y"] : COLUMN["blue_x"] + 1])
    return (x * 255).permute(1, 2, 0).numpy(), near.permute(1, 2, 0).numpy()


@pytest.mark.parametrize("name", CHAINS)
@settings(deadline=None, max_examples=40)
@given(seeds, st.integers(8, 60), st.integers(8, 60))
def test_chains(name, seed, height, width):
    view = CHAINS[name]
    draw = np.random.default_rng(seed)
    small = Image.fromarray(draw.integers(0, 256, (4, 5, 3)).astype(np.uint8))
    image = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)).copy()
    rows = sample(view, rng.key(seed, "x"), np.array([7]), np.array([[height, width]], np.int32))
    out = np.empty((SIZE, SIZE, 3), np.uint8)
    apply_rows(view, image, rows[0], out)
    expected, near = reference(image, rows[0, 0], view)
    assert np.abs(out - expected)[~near].max(initial=0) <= 2
