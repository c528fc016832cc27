"""Colour spaces: golden values, and the way back."""

import colorsys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.core.colour import (
    from_hue_chroma,
    grey_mean,
    hue_chroma,
    lab_to_rgb,
    linear_to_srgb,
    rgb_to_lab,
    rgb_to_lightness,
    rgb_to_xyz,
    srgb_to_linear,
    xyz_to_rgb,
)


def pixel(r, g, b):
    return torch.tensor([r, g, b], dtype=torch.float64).view(1, 3, 1, 1) / 255


colours = st.tuples(*[st.integers(0, 255)] * 3).map(lambda c: pixel(*c))


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((200, 100, 50), (53.6295, 36.3052, 45.3805)),
        ((255, 0, 0), (53.2406, 80.0923, 67.2028)),
        ((0, 255, 0), (87.7351, -86.1830, 83.1797)),
        ((0, 0, 255), (32.2957, 79.1856, -107.8573)),
        ((64, 128, 192), (52.2105, 0.0953, -39.4843)),
    ],
)
def test_lab_golden(rgb, lab):
    assert rgb_to_lab(pixel(*rgb)).flatten().tolist() == pytest.approx(lab, abs=1e-4)


def test_lab_covers_its_range():
    steps = torch.linspace(0, 1, 18, dtype=torch.float64)
    cube = torch.cartesian_prod(steps, steps, steps).T[None, :, :, None]
    lightness, a, b = rgb_to_lab(cube).unbind(1)
    assert (lightness.min(), lightness.max()) == pytest.approx((0, 100), abs=1e-3)
    assert (a.min(), a.max()) == pytest.approx((-86.18, 98.23), abs=0.01)
    assert (b.min(), b.max()) == pytest.approx((-107.86, 94.48), abs=0.01)


def test_black_white_and_grey():
    assert rgb_to_lab(pixel(0, 0, 0)).flatten().tolist() == pytest.approx([0, 0, 0], abs=1e-4)
    white = rgb_to_lab(pixel(255, 255, 255)).flatten().tolist()
    assert white == pytest.approx([100, 0, 0], abs=0.01)
    assert grey_mean(pixel(200, 100, 50)).item() == pytest.approx(0.457516, abs=1e-6)


@settings(deadline=None)
@given(colours)
def test_there_and_back(x):
    torch.testing.assert_close(lab_to_rgb(rgb_to_lab(x)), x, atol=2e-4, rtol=0)
    torch.testing.assert_close(xyz_to_rgb(rgb_to_xyz(x)), x, atol=1e-6, rtol=0)
    torch.testing.assert_close(linear_to_srgb(srgb_to_linear(x)), x, atol=1e-6, rtol=0)
    torch.testing.assert_close(rgb_to_lightness(x), rgb_to_lab(x)[:, :1])
    hue, chroma = hue_chroma(x)
    torch.testing.assert_close(from_hue_chroma(grey_mean(x)[:, 0], hue, chroma), x)


@settings(deadline=None)
@given(colours)
def test_hue_is_hsvs(x):
    hue, chroma = hue_chroma(x)
    values = x.flatten().tolist()
    assert 0 <= hue.item() < 1
    assert hue.item() == pytest.approx(colorsys.rgb_to_hsv(*values)[0], abs=1e-9)
    assert chroma.item() == max(values) - min(values)


@pytest.mark.parametrize(
    ("rgb", "hue", "chroma"),
    [
        ((200, 100, 50), 0.055556, 0.588235),
        ((255, 0, 1), 0.999346, 1.0),
        ((7, 7, 7), 0.0, 0.0),
    ],
)
def test_hue_and_chroma_golden(rgb, hue, chroma):
    found = [v.item() for v in hue_chroma(pixel(*rgb))]
    assert found == pytest.approx([hue, chroma], abs=1e-6)


def test_float32_is_enough_and_any_leading_shape_works():
    pixels = np.random.default_rng(0).random((2, 5, 3, 4, 6))
    exact = rgb_to_lab(torch.from_numpy(pixels))
    single = rgb_to_lab(torch.from_numpy(pixels).float())
    assert single.shape == (2, 5, 3, 4, 6)
    torch.testing.assert_close(single.double(), exact, atol=2e-3, rtol=0)


def test_gradients_are_finite_at_black():
    x = torch.zeros(1, 3, 2, 2, requires_grad=True)
    rgb_to_lab(x).sum().backward()
    assert torch.isfinite(x.grad).all()


def test_beside_scikit_image():
    colour = pytest.importorskip("skimage.color", reason="scikit-image is in the extra 'motion'")
    pixels = np.random.default_rng(0).random((16, 16, 3))
    ours = rgb_to_lab(torch.from_numpy(pixels).movedim(-1, 0)).movedim(0, -1)
    np.testing.assert_allclose(ours.numpy(), colour.rgb2lab(pixels), atol=0.01)
