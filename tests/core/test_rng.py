"""The random numbers that everything else is keyed by."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit, uint32

from foveal.core import rng


@njit
def _block(k0, k1, c0, c1, c2, c3):
    return rng.philox(uint32(k0), uint32(k1), uint32(c0), uint32(c1), uint32(c2), uint32(c3))


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0,) * 4, (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (
            (0xFFFFFFFF,) * 4,
            (0xFFFFFFFF,) * 2,
            (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        ),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_known_answers_of_the_philox_paper(counter, key, words):
    assert _block(*key, *counter) == words


def test_draws_depend_on_each_part_of_the_key():
    base = rng.bits(rng.key(0, "a"), np.arange(4), 6)
    assert np.array_equal(base, rng.bits(rng.key(0, "a"), np.arange(4), 6))
    assert not np.array_equal(base, rng.bits(rng.key(1, "a"), np.arange(4), 6))
    assert not np.array_equal(base, rng.bits(rng.key(0, "b"), np.arange(4), 6))
    assert not np.array_equal(base, rng.bits(rng.key(0, "a"), np.arange(4), 6, part=1))
    assert rng.key(0, "1") != rng.key(0, 1)


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=20), st.integers(1, 9))
def test_a_draw_does_not_know_its_batch(positions, n):
    k = rng.key(3, "x")
    together = rng.uniform(k, np.array(positions), n)
    alone = np.concatenate([rng.uniform(k, np.array([p]), n) for p in positions])
    assert np.array_equal(together, alone)
    assert np.array_equal(together, rng.uniform(k, np.array(positions), n + 5)[:, :n])


def test_uniform_integers_and_normals_have_their_distributions():
    k = rng.key(7, "stats")
    u = rng.uniform(k, np.arange(50_000), 2)
    assert u.min() >= 0 and u.max() < 1
    assert np.abs(u.mean(0) - 0.5).max() < 0.006
    assert abs(np.corrcoef(u.T)[0, 1]) < 0.02
    counts = np.bincount(rng.integers(k, np.arange(60_000), 1, 6)[:, 0], minlength=6)
    assert np.abs(counts - 10_000).max() < 400
    z = rng.normal(k, np.arange(50_000), 1)
    assert abs(z.mean()) < 0.02 and abs(z.std() - 1) < 0.02


@given(st.integers(1, 3000), st.integers(0, 5))
def test_permute_is_a_permutation_reached_anywhere(n, seed):
    k = rng.key(seed, "order")
    whole = rng.permute(k, n, np.arange(n))
    assert np.array_equal(np.sort(whole), np.arange(n))
    assert rng.permute(k, n, np.array([n // 2]))[0] == whole[n // 2]


def test_permute_of_a_huge_range_needs_no_memory():
    n = 10**12
    got = rng.permute(rng.key(0, "big"), n, np.arange(1000))
    assert len(set(got.tolist())) == 1000 and got.max() < n and got.max() > n // 2


def test_permute_mixes_small_ranges():
    """Every order of three things comes up about equally often over keys."""
    seen = {}
    for seed in range(1200):
        order = tuple(rng.permute(rng.key(seed, "mix"), 3, np.arange(3)).tolist())
        seen[order] = seen.get(order, 0) + 1
    assert len(seen) == 6 and min(seen.values()) > 140
