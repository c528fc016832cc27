"""Each further operation against torchvision or its paper's golden values."""

import colorsys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_view_parity import LEVEL, compare, flat, planar, seeds
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from foveal.views import kernels as k
from foveal.views.kernels.colour import PROJECTION, eigenvectors
from foveal.views.make import make_view
from foveal.views.spec import View
from foveal.views.table import COLUMNS

patient = settings(deadline=None, max_examples=40)
angles = st.floats(-180, 180)


@patient
@given(seeds, st.sampled_from([1, 3]))
def test_invert_and_autocontrast(seed, channels):
    x = planar(seed, channels) * np.float32(0.7) + np.float32(0.1)
    compare(lambda m: k.invert(flat(m)), tv.invert, x, 1e-6)
    compare(lambda m: k.autocontrast(flat(m)), tv.autocontrast, x, 1e-5)
    even = np.full((3, 4, 5), 0.3, np.float32)
    compare(lambda m: k.autocontrast(flat(m)), tv.autocontrast, even, 1e-6)


@patient
@given(seeds, st.integers(1, 8))
def test_posterise_and_equalise_on_levels(seed, bits):
    levels = np.random.default_rng(seed).integers(0, 256, (3, 11, 13)).astype(np.uint8)
    levels[:, :3] = levels[0, 0, 0]
    tensor = torch.from_numpy(levels)
    x = levels.astype(np.float32) / 255
    k.posterise(flat(x), bits)
    assert np.array_equal(np.round(x * 255), tv.posterize(tensor, bits).numpy())
    for crowded in (levels, levels // 16, np.full_like(levels, 9), np.tile(levels, (1, 9, 9))):
        x = crowded.astype(np.float32) / 255
        k.equalise(flat(x))
        expected = tv.equalize(torch.from_numpy(crowded)).numpy()
        assert np.array_equal(np.round(x * 255), expected)


@patient
@given(seeds, st.floats(0, 3), st.sampled_from([(11, 13), (3, 3), (2, 9)]))
def test_sharpness(seed, factor, shape):
    x = planar(seed, 3, *shape)
    compare(lambda m: k.sharpness(m, factor), lambda t: tv.adjust_sharpness(t, factor), x)


@patient
@given(
    seeds, angles, st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.floats(0.4, 2.5),
    st.floats(-40, 40), st.floats(-40, 40),
)  # fmt: skip
def test_affine(seed, angle, down, right, scale, shear_y, shear_x):
    x = planar(seed, 3, 14, 14)
    inverse = k.inverse_affine(angle, down, right, scale, shear_y, shear_x, 14)
    mine = np.empty_like(x)
    k.warp(x, inverse, 0, 0, True, mine)
    expected = tv.affine(
        torch.from_numpy(x),
        angle,
        [right * 14, down * 14],
        scale,
        [shear_x, shear_y],
        InterpolationMode.BILINEAR,
    )
    assert np.abs(mine - expected.numpy()).max() < LEVEL


def test_affine_with_reflected_border_is_the_crop_mirrored():
    x = planar(0, 3, 9, 9)
    inverse = k.inverse_affine(0.0, 2 / 9, -3 / 9, 1.0, 0.0, 0.0, 9)
    mine = np.empty_like(x)
    k.warp(x, inverse, 0, 0, False, mine)
    padded = np.pad(x, ((0, 0), (9, 9), (9, 9)), mode="reflect")[:, :27, :27]
    assert np.allclose(mine, padded[:, 7:16, 12:21], atol=1e-6)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_are_those_of_numpy(turns):
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    view = View(size=20)
    plain, turned = np.empty((20, 20, 3), np.uint8), np.empty((20, 20, 3), np.uint8)
    rows = np.empty((1, len(COLUMNS)), np.float32)
    for position in range(5):
        make_view(view, image, (1, 2), position, rows, plain)
        make_view(
            view.model_copy(update={"turns": (turns,)}), image, (1, 2), position, rows, turned
        )
        assert np.array_equal(turned, np.rot90(plain, turns))


@patient
@given(seeds, st.integers(1, 16))
def test_shrink_and_back(seed, small):
    def reference(t):
        less = tv.resize(t, [small, small], antialias=True)
        return tv.resize(less, [12, 12], antialias=True)

    x = planar(seed, 3, 12, 12)
    compare(lambda m: k.shrink_and_back(m, small), reference if small < 12 else lambda t: t, x)


def test_projection_golden():
    assert np.allclose(
        PROJECTION,
        [[0.833333, 0.333333, -0.166667], [0.333333] * 3, [-0.166667, 0.333333, 0.833333]],
        atol=1e-6,
    )
    assert np.allclose(PROJECTION @ PROJECTION, PROJECTION, atol=1e-6)
    x = np.array([[200, 255], [100, 0], [50, 255]], np.float32) / 255
    k.project(x)
    expected = [[191.6667, 170], [116.6667, 170], [41.6667, 170]]
    assert np.allclose(x * 255, expected, atol=1e-3)


def test_hsv_powers_golden():
    x = np.array([[200], [100], [50]], np.float32) / 255
    k.hsv_powers(x, 0.08, np.array([0.5, 0.9, 0.05]), np.array([2, 1.2, -0.1]))
    assert np.allclose(x[:, 0] * 255, [162.735, 137.540, 27.759], atol=2e-3)
    before, after = (
        colorsys.rgb_to_hsv(200 / 255, 100 / 255, 50 / 255),
        colorsys.rgb_to_hsv(*x[:, 0]),
    )
    assert np.allclose(before, [0.055556, 0.75, 0.784314], atol=1e-6)
    assert np.allclose(after, [0.135556, 0.829423, 0.638178], atol=1e-5)


@patient
@given(seeds, st.floats(-0.5, 0.5))
def test_hsv_powers_of_one_turn_the_hue(seed, turn):
    same = np.array([1.0, 1.0, 0.0])
    compare(
        lambda m: k.hsv_powers(flat(m), turn, same, same),
        lambda t: tv.adjust_hue(t, turn),
        planar(seed),
        1e-3,
    )


@patient
@given(seeds)
def test_eigenvectors(seed):
    a = np.random.default_rng(seed).normal(size=(3, 3))
    for symmetric in (a @ a.T, np.diag([0.0, 2.0, 1.0]), np.zeros((3, 3)), np.ones((3, 3))):
        v = eigenvectors(symmetric)
        values = np.diag(v.T @ symmetric @ v)
        assert np.allclose(v.T @ v, np.eye(3), atol=1e-9)
        assert np.allclose(v.T @ symmetric @ v, np.diag(values), atol=1e-9 * (1 + values[0]))
        assert (np.diff(values) <= 1e-9).all()


@patient
@given(seeds, st.tuples(*[st.floats(0.5, 2)] * 3))
def test_pca_contrast_scales_the_spread_along_each_component(seed, factors):
    draw = np.random.default_rng(seed)
    x = (0.5 + 0.03 * draw.normal(size=(3, 3)) @ draw.normal(size=(3, 200))).clip(0.05, 0.95)
    before = x.astype(np.float32)
    centred = before - before.mean(1, keepdims=True)
    _, vectors = np.linalg.eigh(centred @ centred.T)
    scale = vectors[:, ::-1] * np.array(factors) @ vectors[:, ::-1].T
    expected = (before.mean(1, keepdims=True) + scale @ centred).clip(0, 1)
    after = before.copy()
    k.pca_contrast(after, np.array(factors))
    assert np.abs(after - expected).max() < 1e-3


def test_channel_shift_moves_in_space():
    x = planar(0, 3, 9, 9)
    moved = x.copy()
    k.channel_shift(moved, np.array([0, 0, 1, -2, -1, 2]))
    assert np.array_equal(moved[0], x[0])
    padded = np.pad(x, ((0, 0), (2, 2), (2, 2)), mode="edge")
    assert np.array_equal(moved[1], padded[1, 1:10, 4:13])
    assert np.array_equal(moved[2], padded[2, 3:12, 0:9])


def test_noise_is_gaussian_and_a_function_of_its_seeds():
    x = np.full((3, 10_001), 0.5, np.float32)
    one, same, other = x.copy(), x.copy(), x.copy()
    k.add_noise(one, 0.05, 7, 8)
    k.add_noise(same, 0.05, 7, 8)
    k.add_noise(other, 0.05, 7, 9)
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    noise = (one - x) / 0.05
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02
    assert abs((np.abs(noise) < 1).mean() - 0.6827) < 0.01
    assert np.abs(np.corrcoef(noise)[np.triu_indices(3, 1)]).max() < 0.03
    assert abs(np.corrcoef(noise[0, :-1], noise[0, 1:])[0, 1]) < 0.03


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_dropped_channels_become_even_noise(kept):
    x = planar(1).reshape(3, -1)
    dropped = x.copy()
    k.drop_channels(dropped, kept, 0.25, 3, 4)
    for c in range(3):
        if c == kept:
            assert np.array_equal(dropped[c], x[c])
        else:
            assert (np.abs(dropped[c] - 0.5) <= 0.25).all()
            assert 0.1 < dropped[c].std() < 0.18
    assert not np.array_equal(dropped[(kept + 1) % 3], dropped[(kept + 2) % 3])
