"""Seed patches: where they lie, and that nothing but seed and pictures decides it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.data.seeds import patch_sums, seed_patches, squared_gradient
from foveal.data.sources import ArraySource, Subset
from foveal.errors import BadImage, FovealError


def _source(images):
    return ArraySource("array", np.asarray(images, np.uint8), channels=None)


def _noise(n=6, side=24, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


class Broken(Subset):
    """A source some of whose pictures cannot be read."""

    bad: frozenset = frozenset()

    def read(self, i):
        if i in self.bad:
            raise BadImage("truncated", "for the test")
        return super().read(i)


def test_gradient_of_a_step():
    picture = np.zeros((4, 5, 1), np.uint8)
    picture[:, 3:] = 10
    wanted = np.zeros((4, 5), np.int64)
    wanted[1:3, 2:4] = (3 * 10) ** 2
    assert np.array_equal(squared_gradient(picture), wanted)
    assert np.array_equal(squared_gradient(picture.repeat(3, axis=2)), wanted)
    assert not squared_gradient(np.zeros((1, 9, 3), np.uint8)).any()


def test_large_pictures_are_averaged_first():
    picture = np.zeros((1024, 1536, 3), np.uint8)
    picture[:, 800:] = 9
    energy = squared_gradient(picture)
    assert energy.shape == (512, 768) and set(np.unique(energy)) == {0, 27**2}


@given(st.integers(1, 7), st.integers(1, 9), st.data())
def test_sums_over_squares(height, width, data):
    side = data.draw(st.integers(1, min(height, width)))
    energy = np.random.default_rng(height * 10 + width).integers(0, 1000, (height, width))
    found = patch_sums(energy, side)
    assert found.shape == (height - side + 1, width - side + 1)
    for y, x in np.ndindex(*found.shape):
        assert found[y, x] == energy[y : y + side, x : x + side].sum()


def test_patches_lie_where_the_gradient_is():
    """Only one corner is not flat: every patch has to touch it, in proportion to its gradient."""
    images = np.full((400, 32, 32, 3), 90, np.uint8)
    images[:, 22:30, 22:30] = _noise(400, 8)
    image, box = seed_patches(_source(images), 400, scale=(0.25, 0.25), seed=0)
    assert sorted(image) == list(range(400))
    top, left, height, width = box.T
    assert (height == 8).all() and (width == 8).all()
    assert (top + 8 > 21).all() and (left + 8 > 21).all()
    # As many as there are cells of the corner in the patch: 8 - |top - 22| of each, up to top 24.
    assert top.mean() == pytest.approx(1013 / 49, abs=0.4)


def test_probability_is_proportional_to_the_gradient():
    """Two steps, of 10 and of 20 grey levels: energies 1 to 4 at equal area."""
    picture = np.zeros((9, 41, 1), np.uint8)
    picture[:, 10:] += 10
    picture[:, 30:] += 20
    _, box = seed_patches(_source([picture] * 3000), 3000, scale=(0.3, 0.3), seed=3)
    right = (box[:, 1] > 20).mean()
    assert right == pytest.approx(0.8, abs=0.03)


def test_flat_pictures_are_drawn_from_evenly():
    flat = np.zeros((500, 20, 20, 3), np.uint8)
    _, box = seed_patches(_source(flat), 500, scale=(0.5, 0.5), seed=0)
    assert box[:, :2].min() == 0 and box[:, :2].max() == 10
    assert box[:, 0].mean() == pytest.approx(5, abs=0.6)


@settings(max_examples=20, deadline=None)
@given(
    count=st.integers(1, 20),
    low=st.floats(0.05, 1),
    high=st.floats(0.05, 1),
    seed=st.integers(0, 9),
)
def test_patches_are_inside_and_spread_over_pictures(count, low, high, seed):
    images = _noise(5, 17)[:, :, :13]
    low, high = min(low, high), max(low, high)
    image, box = seed_patches(_source(images), count, scale=(low, high), seed=seed)
    assert len(image) == count and np.bincount(image, minlength=5).max() == -(-count // 5)
    assert (box[:, :2] >= 0).all() and (box[:, 2] == box[:, 3]).all()
    assert (box[:, 0] + box[:, 2] <= 17).all() and (box[:, 1] + box[:, 3] <= 13).all()
    sides = box[:, 2]
    assert sides.min() >= max(1, round(low * 13)) and sides.max() <= max(1, round(high * 13))
    again = seed_patches(_source(images), count, scale=(low, high), seed=seed)
    assert np.array_equal(image, again[0]) and np.array_equal(box, again[1])


def test_a_few_seeds_of_many_pictures_decode_few():
    read = []

    class Counting(Subset):
        def read(self, i):
            read.append(i)
            return super().read(i)

    source = Counting(_source(_noise(2000, 8)), np.arange(2000))
    image, _ = seed_patches(source, 10, scale=(0.5, 1.0), seed=0)
    assert len(image) == 10 and len(read) == 10
    other, _ = seed_patches(source, 10, scale=(0.5, 1.0), seed=1)
    assert set(image) != set(other)


def test_unreadable_pictures_are_replaced_by_others():
    source = Broken(_source(_noise(8)), np.arange(8))
    source.bad = frozenset({1, 4})
    image, _ = seed_patches(source, 6, scale=(0.5, 1.0), seed=0)
    assert sorted(image) == [0, 2, 3, 5, 6, 7]
    image, _ = seed_patches(source, 16, scale=(0.5, 1.0), seed=0)
    assert len(image) == 12 and not set(image) & source.bad
    source.bad = frozenset(range(8))
    with pytest.raises(FovealError, match="none of 8 pictures"):
        seed_patches(source, 4, scale=(0.5, 1.0), seed=0)
