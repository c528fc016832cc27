"""Colour classes: Zhang et al.'s, Goyal et al.'s and Larsson et al.'s golden values."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.losses.colour import (
    AB_BINS,
    ab_bins,
    annealed_mean,
    chroma_median,
    coloured,
    hue_chroma_losses,
    hue_mean,
    level,
    rebalancing,
    smoothed,
    soft_code,
    soft_cross_entropy,
)

BINS = ab_bins()


def row(*values):
    return torch.tensor(values, dtype=torch.float32)


def test_the_bins():
    assert len(BINS) == AB_BINS == len({tuple(b) for b in BINS.tolist()})
    assert BINS[0].tolist() == [-90, 50] and BINS[-1].tolist() == [100, 0]
    assert BINS.sum(0).tolist() == [4910, 2090] and BINS[120].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("ab", "neighbours", "expected"),
    [
        (
            (3, -2),
            5,
            {
                (0, 0): 0.513698,
                (10, 0): 0.230819,
                (0, -10): 0.154723,
                (10, -10): 0.069521,
                (0, 10): 0.031238,
            },
        ),
        ((3, 4), 2, {(0, 0): 0.598688, (0, 10): 0.401312}),
        (
            (3, 4),
            5,
            {
                (0, 0): 0.406239,
                (0, 10): 0.272310,
                (10, 0): 0.182535,
                (10, 10): 0.122357,
                (-10, 0): 0.016559,
            },
        ),
    ],
)
def test_soft_code_golden(ab, neighbours, expected):
    (which,), (share,) = soft_code(row(*ab)[None], BINS, neighbours)
    found = {tuple(BINS[w].int().tolist()): s.item() for w, s in zip(which, share, strict=True)}
    assert found == pytest.approx(expected, abs=1e-6)


def test_ten_neighbours_as_in_the_released_code():
    (which,), (share,) = soft_code(row(3, -2)[None], BINS, 10)
    assert which[0] == 120 and share[0].item() == pytest.approx(0.491833, abs=1e-6)


@settings(deadline=None)
@given(st.floats(-120, 120), st.floats(-120, 120), st.integers(1, AB_BINS))
def test_soft_codes_are_distributions_over_different_bins(a, b, neighbours):
    (which,), (share,) = soft_code(row(a, b)[None], BINS, neighbours)
    assert len(set(which.tolist())) == neighbours
    assert share.sum().item() == pytest.approx(1, abs=1e-5)
    assert (share.diff() <= 1e-7).all()


def test_cross_entropy_with_a_soft_code():
    which, share = soft_code(torch.tensor([[3.0, -2.0], [50.0, 50.0]]), BINS, 5)
    uniform = soft_cross_entropy(torch.zeros(2, AB_BINS), which, share)
    assert uniform.tolist() == pytest.approx([5.746203] * 2, abs=1e-6)
    logits = torch.randn(2, AB_BINS, generator=torch.Generator().manual_seed(0))
    dense = torch.zeros(2, AB_BINS).scatter(1, which, share)
    expected = -(dense * logits.log_softmax(1)).sum(1)
    torch.testing.assert_close(soft_cross_entropy(logits, which, share), expected)


@pytest.mark.parametrize(
    ("frequency", "weight"),
    [
        ((0.7, 0.2, 0.1), (0.754170, 1.461204, 1.798405)),
        ((0.6, 0.3, 0.1), (0.795235, 1.171925, 1.712814)),
    ],
)
def test_rebalancing_golden(frequency, weight):
    assert rebalancing(row(*frequency), 0.5).tolist() == pytest.approx(weight, abs=1e-6)
    assert rebalancing(row(*frequency), 1.0).tolist() == pytest.approx([1, 1, 1])


def test_smoothing_keeps_the_sum_and_reaches_the_neighbours():
    frequency = torch.zeros(AB_BINS)
    frequency[120] = 1
    found = smoothed(frequency, BINS)
    assert found.sum().item() == pytest.approx(1, abs=1e-6) and found.argmax() == 120
    right = next(i for i, b in enumerate(BINS.tolist()) if b == [10, 0])
    # One step of 10 is two sigma: exp(-2).
    assert (found[right] / found[120]).item() == pytest.approx(math.exp(-2), rel=1e-4)


def test_annealed_mean_golden():
    logits, centres = row(0.5, 0.3, 0.2).log(), torch.tensor([[0.0, 0], [10, 0], [0, 20]])
    assert annealed_mean(logits, centres, 1.0).tolist() == pytest.approx([3, 4], abs=1e-5)
    found = annealed_mean(logits, centres)
    assert found.tolist() == pytest.approx([1.930707, 1.328459], abs=1e-5)
    share = (logits / 0.38).softmax(0)
    assert share.tolist() == pytest.approx([0.740506, 0.193071, 0.066423], abs=1e-6)


def test_a_single_place_makes_a_picture_coloured():
    ab = torch.zeros(3, 4, 2)
    ab[1, 2, 0], ab[2, 0, 1] = -5.1, 5.0
    assert coloured(ab).tolist() == [False, True, False]


def test_hue_and_chroma_golden():
    hue, chroma = row(0.055556), row(0.588235)
    assert level(hue).item() == 1 and level(chroma).item() == 18
    assert level(row(0.999346, 1.0, 0.0)).tolist() == [31, 31, 0]
    assert 5 * chroma.item() == pytest.approx(2.941176, abs=2e-6)

    def loss(hue_logits, chroma_logits):
        of_hue, of_chroma = hue_chroma_losses(hue_logits, chroma_logits, hue, chroma)
        return [x.item() for x in (of_hue, of_chroma, of_chroma + 5 * chroma * of_hue)]

    hue_logits, chroma_logits = torch.zeros(1, 32), torch.zeros(1, 32)
    assert loss(hue_logits, chroma_logits)[2] == pytest.approx(13.659077, abs=1e-5)
    hue_logits[0, 2], chroma_logits[0, 18] = 3, 2
    expected = [3.933501, 1.647772, 13.216894]
    assert loss(hue_logits, chroma_logits) == pytest.approx(expected, abs=1e-5)


def test_hues_average_on_the_circle():
    logits = torch.full((1, 32), -30.0)
    logits[0, [0, 31]] = 0
    assert min(hue_mean(logits).item(), 1 - hue_mean(logits).item()) < 1e-6
    logits = torch.full((1, 32), -30.0)
    logits[0, 8] = 0
    assert hue_mean(logits).item() == pytest.approx(8.5 / 32, abs=1e-5)


def test_chroma_is_read_at_the_median():
    assert chroma_median(row(0.3, 0.3, 0.4).log()[None]).item() == pytest.approx(0.5)
    assert chroma_median(row(0.6, 0.3, 0.1).log()[None]).item() == pytest.approx(0.5 / 3)
