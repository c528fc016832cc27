"""Kernels against torchvision, each alone and in chains, and the golden values of the papers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from foveal.core import rng
from foveal.errors import FovealError
from foveal.views import kernels as k
from foveal.views.make import apply_rows, make_view
from foveal.views.presets import byol_views
from foveal.views.spec import Blur, Crop, Jitter, View
from foveal.views.table import COLUMN, ORDERS, sample

LEVEL = 1 / 255
MODES = {False: InterpolationMode.BILINEAR, True: InterpolationMode.BICUBIC}
patient = settings(deadline=None, max_examples=60)
seeds = st.integers(0, 2**32 - 1)


def planar(seed, channels=3, height=11, width=13):
    """A random picture with flat, black, white and grey parts, float32 [C, H, W]."""
    draw = np.random.default_rng(seed)
    x = draw.random((channels, height, width)).astype(np.float32)
    x[:, :2] = 0
    x[:, 2:3] = 1
    x[:, 3:5] = x[:1, 3:5]
    x[:, :, :3] = x[:, :, :1]
    return x


def compare(kernel, reference, x, tolerance=2e-4):
    mine = x.copy()
    kernel(mine)
    expected = reference(torch.from_numpy(x)).numpy()
    assert np.abs(mine - expected).max() <= tolerance


def flat(x):
    return x.reshape(len(x), -1)


@patient
@given(seeds, st.floats(0, 2), st.sampled_from([1, 3]))
def test_brightness_and_contrast(seed, factor, channels):
    x = planar(seed, channels)
    compare(
        lambda m: k.brightness(flat(m), factor, False),
        lambda t: tv.adjust_brightness(t, factor),
        x,
    )
    compare(lambda m: k.contrast(flat(m), factor), lambda t: tv.adjust_contrast(t, factor), x)
    shift = factor - 1
    compare(lambda m: k.brightness(flat(m), shift, True), lambda t: (t + shift).clamp(0, 1), x)


@patient
@given(seeds, st.floats(0, 2))
def test_saturation(seed, factor):
    compare(
        lambda m: k.saturation(flat(m), factor),
        lambda t: tv.adjust_saturation(t, factor),
        planar(seed),
    )


@patient
@given(seeds, st.floats(-0.5, 0.5))
def test_hue(seed, shift):
    compare(lambda m: k.hue(flat(m), shift), lambda t: tv.adjust_hue(t, shift), planar(seed), 1e-3)


def test_hue_of_a_third_of_a_turn_swaps_channels():
    x = planar(3)
    turned = x.copy()
    k.hue(flat(turned), 1 / 3)
    assert np.allclose(turned, x[[2, 0, 1]], atol=1e-5)
    k.hue(flat(turned), -1 / 3)
    assert np.allclose(turned, x, atol=1e-5)


@patient
@given(seeds)
def test_grey(seed):
    x = planar(seed)
    compare(
        lambda m: k.grey(flat(m), False), lambda t: tv.rgb_to_grayscale(t, num_output_channels=3), x
    )
    compare(lambda m: k.grey(flat(m), True), lambda t: t.mean(0, keepdim=True).expand(3, -1, -1), x)


@patient
@given(seeds, st.floats(0.1, 3), st.integers(0, 5), st.sampled_from([1, 3]))
def test_blur_with_a_reflected_border(seed, sigma, radius, channels):
    kernel = 2 * radius + 1
    compare(
        lambda m: k.blur(m, sigma, kernel, False),
        lambda t: tv.gaussian_blur(t, [kernel, kernel], [sigma, sigma]),
        planar(seed, channels),
    )


@patient
@given(seeds, st.floats(0.1, 3), st.integers(1, 8))
def test_blur_with_a_border_of_zeros(seed, sigma, radius):
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    taps = (taps / taps.sum()).float()
    weight = (taps[:, None] * taps[None]).expand(3, 1, -1, -1)
    compare(
        lambda m: k.blur(m, sigma, 2 * radius + 1, True),
        lambda t: torch.nn.functional.conv2d(t, weight, padding=radius, groups=3),
        planar(seed),
    )


def test_blur_wider_than_the_picture_stays_inside():
    x = planar(1, 3, 3, 1)
    k.blur(x, 2.0, 23, False)
    assert np.isfinite(x).all() and x.min() >= 0 and x.max() <= 1.0001
    flat_picture = np.full((3, 2, 5), 0.25, np.float32)
    k.blur(flat_picture, 1.5, 31, False)
    assert np.allclose(flat_picture, 0.25, atol=1e-6)


@patient
@given(seeds, st.floats(0, 1))
def test_solarise(seed, threshold):
    threshold = float(np.float32(threshold))
    compare(
        lambda m: k.solarise(flat(m), threshold),
        lambda t: tv.solarize(t, threshold),
        planar(seed),
        1e-6,
    )


def test_golden_values():
    x = np.array([[0.3, 0.5, 0.7]], np.float32)
    k.solarise(x, 0.5)
    assert np.allclose(x, [[0.3, 0.5, 0.3]], atol=1e-6)
    x = np.array([[0.2], [0.4], [0.6]], np.float32)
    k.grey(x, False)
    assert np.allclose(x, 0.362980, atol=1e-6)
    half = k.blur_weights(2, 1.0)
    assert np.allclose(half, [0.402620, 0.244201, 0.054489], atol=1e-6)
    assert View(size=224, blur=Blur()).blur_kernel == 23


regions = st.tuples(
    st.integers(1, 40), st.integers(1, 40), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)
)


@settings(deadline=None, max_examples=150)
@given(seeds, regions, st.floats(0, 1), st.integers(1, 24), st.booleans(), st.booleans())
def test_crop_resize_and_flip(seed, shape, share, size, cubic, flip):
    height, width, top, left, other = shape
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    h, w = max(1, round(height * share)), max(1, round(width * other))
    y, x = round(top * (height - h)), round(left * (width - w))
    mine = np.empty((3, size, size), np.float32)
    k.resample(image, np.array([y, x, h, w], np.float32), cubic, flip, mine)
    tensor = torch.from_numpy(image).permute(2, 0, 1).float() / 255
    expected = tv.resized_crop(tensor, y, x, h, w, [size, size], MODES[cubic], antialias=True)
    expected = expected.flip(-1) if flip else expected
    assert np.abs(mine - expected.clamp(0, 1).numpy()).max() <= 2e-4


@patient
@given(seeds, st.booleans(), st.floats(0.4, 1), st.integers(9, 30))
def test_regions_between_pixels(seed, cubic, share, size):
    """Against Pillow, which takes such boxes, away from the border, which it treats otherwise."""
    draw = np.random.default_rng(seed)
    small = Image.fromarray(draw.integers(0, 256, (7, 9)).astype(np.uint8))
    image = np.asarray(small.resize((57, 43), Image.Resampling.BICUBIC))
    side = 43 * share
    top, left = (43 - side) / 2, (57 - side) / 2
    mine = np.empty((1, size, size), np.float32)
    k.resample(image[:, :, None], np.array([top, left, side, side]), cubic, False, mine)
    kind = Image.Resampling.BICUBIC if cubic else Image.Resampling.BILINEAR
    box = (left, top, left + side, top + side)
    floats = Image.fromarray(image.astype(np.float32))
    expected = np.asarray(floats.resize((size, size), kind, box=box)) / 255
    border = int(np.ceil(2 * max(1, size / side))) + 1
    inner = slice(border, -border)
    assert np.abs(mine[0] - expected.clip(0, 1))[inner, inner].max() <= LEVEL


@pytest.mark.parametrize(("pad", "size"), [(4, 20), (0, 20), (3, 7)])
def test_padding_moves_whole_pixels(pad, size):
    image = np.random.default_rng(0).integers(0, 256, (20, 20, 3)).astype(np.uint8)
    view = View(size=size, crop=Crop(kind="pad_random", pad=pad), flip=0.0)
    padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
    seen = set()
    for position in range(200):
        out, rows = np.empty((size, size, 3), np.uint8), np.empty((1, len(COLUMN)), np.float32)
        make_view(view, image, rng.key(0, "pad"), position, rows, out)
        top, left = int(rows[0, 0]), int(rows[0, 1])
        y, x = top + pad, left + pad
        assert np.array_equal(out, padded[y : y + size, x : x + size])
        seen |= {y, x}
    assert seen == set(range(20 + 2 * pad - size + 1))


def test_a_picture_smaller_than_the_view_is_centred_on_black():
    image = np.full((4, 10, 3), 200, np.uint8)
    view = View(size=8, crop=Crop(kind="pad_random", pad=1), flip=0.0)
    out, rows = np.empty((8, 8, 3), np.uint8), np.empty((1, len(COLUMN)), np.float32)
    make_view(view, image, rng.key(0, "pad"), 1, rows, out)
    assert (out[2:6, 1:7] == 200).all() and not out[:2].any() and not out[6:].any()


def reference(image, row, view):
    """A chain as torchvision does it; also where the solariser's threshold is near."""

    def v(name):
        return float(row[COLUMN[name]])

    x = torch.from_numpy(image).permute(2, 0, 1).float() / 255
    top, left, height, width = (int(v(n)) for n in ("top", "left", "height", "width"))
    mode = MODES[view.interpolation == "bicubic"]
    size = [view.size, view.size]
    x = tv.resized_crop(x, top, left, height, width, size, mode, antialias=True).clamp(0, 1)
    x = x.flip(-1) if v("flip") else x
    if v("order") >= 0:
        additive = view.jitter.additive
        steps = [
            lambda t: (t + v("brightness")).clamp(0, 1) if additive
            else tv.adjust_brightness(t, v("brightness")),
            lambda t: tv.adjust_contrast(t, v("contrast")),
            lambda t: tv.adjust_saturation(t, v("saturation")),
            lambda t: tv.adjust_hue(t, v("hue")),
        ]  # fmt: skip
        for op in ORDERS[int(v("order"))]:
            x = steps[op](x)
    if v("grey"):
        x = tv.rgb_to_grayscale(x, num_output_channels=3)
    if v("sigma"):
        x = tv.gaussian_blur(x, [view.blur_kernel] * 2, [v("sigma")] * 2)
    near = torch.zeros_like(x, dtype=torch.bool)
    if v("solarise"):
        near = (x - view.threshold).abs() < 2 * LEVEL
        x = tv.solarize(x, view.threshold)
    return (x * 255).permute(1, 2, 0).numpy(), near.permute(1, 2, 0).numpy()


CHAINS = [
    byol_views(30)[0],
    byol_views(31)[1].model_copy(update={"solarise": 0.7}),
    View(
        size=24,
        interpolation="bicubic",
        jitter=Jitter(p=1.0, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2),
        grey=0.2,
        blur=Blur(p=0.5, kernel=5),
        solarise=0.5,
        threshold=0.3,
    ),
]


@settings(deadline=None, max_examples=120)
@given(seeds, st.sampled_from(CHAINS), st.integers(8, 60), st.integers(8, 60))
def test_chains(seed, view, height, width):
    draw = np.random.default_rng(seed)
    small = Image.fromarray(draw.integers(0, 256, (4, 5, 3)).astype(np.uint8))
    image = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))
    image = (image ^ draw.integers(0, 16, image.shape).astype(np.uint8)).copy()
    rows = sample(view, rng.key(seed, "x"), np.array([7]), np.array([[height, width]], np.int32))
    out = np.empty((view.size, view.size, 3), np.uint8)
    apply_rows(view, image, rows[0], out)
    expected, near = reference(image, rows[0, 0], view)
    assert np.abs(out - expected)[~near].max(initial=0) <= 2


def test_one_channel_goes_through_what_it_can():
    view = CHAINS[1].without_colour()
    grey = np.random.default_rng(0).integers(0, 256, (40, 50, 1)).astype(np.uint8)
    colour = np.repeat(grey, 3, axis=2)
    for position in range(20):
        results = []
        for image in (grey, colour):
            out = np.empty((31, 31, image.shape[2]), np.uint8)
            rows = np.empty((1, len(COLUMN)), np.float32)
            make_view(view, image, (1, 2), position, rows, out)
            results.append(out)
        # The weights of BT.601 sum to 0.9999.
        assert np.abs(results[0].astype(int) - results[1]).max() <= 1


def test_arrays_that_do_not_fit_are_refused():
    """Compiled code would write past their ends."""
    view = CHAINS[0]
    image = np.zeros((20, 20, 3), np.uint8)
    rows, out = np.empty((1, len(COLUMN)), np.float32), np.empty((30, 30, 3), np.uint8)
    make_view(view, image, (0, 0), 0, rows, out)
    for bad in (
        (image, rows, out[:29]),
        (image, rows[:, :9], out),
        (image[..., :1], rows, out),
        (image[:0], rows, out),
    ):
        with pytest.raises(ValueError, match="this view makes"):
            make_view(view, bad[0], (0, 0), 0, bad[1], bad[2])
    with pytest.raises(FovealError, match="saturation, hue, grey need three channels"):
        make_view(view, image[..., :1], (0, 0), 0, rows, out[..., :1])
