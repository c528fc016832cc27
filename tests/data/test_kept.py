"""Decoded pictures are kept within a budget, and change nothing but the time."""

import numpy as np
import pytest

from foveal.data.kept import KeptPixels, keep_decoded
from foveal.data.loader import Loader, StreamPlan, Table
from foveal.data.sources import open_source
from foveal.views.spec import Crop, View

SIDE = 20
ONE = SIDE * SIDE * 3


class Counting:
    """A source that counts how often each picture is decoded."""

    def __init__(self, source):
        self.source, self.reads = source, []

    def __getattr__(self, name):
        return getattr(self.source, name)

    def __len__(self):
        return len(self.source)

    def read(self, i):
        self.reads.append(i)
        return self.source.read(i)


@pytest.fixture
def source(tmp_path):
    import PIL.Image

    noise = np.random.default_rng(0).integers(0, 256, (6, SIDE, SIDE, 3), np.uint8)
    for i, pixels in enumerate(noise):
        PIL.Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    return Counting(open_source(tmp_path))


def test_what_fits_is_decoded_once_and_the_rest_each_time(source):
    kept = KeptPixels(budget=2 * ONE + 1)
    first = [kept.read(source, i) for i in range(6)]
    again = [kept.read(source, i) for i in range(6)]
    assert source.reads == [0, 1, 2, 3, 4, 5, 2, 3, 4, 5]
    assert kept.count == 2 and kept.left == 1
    for a, b, i in zip(first, again, range(6), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, source.source.read(i))


def test_batches_are_the_same_with_and_without(source):
    def batches(kept):
        table = Table(source, np.arange(6), np.full(6, -1), kept=kept)
        stream = StreamPlan("main", {"a": View(size=8, crop=Crop(scale=(0.1, 0.5)))}, batch=4)
        with Loader(table, [stream], seed=3, threads=2) as loader:
            return [loader.get(step)["main"].views["a"].clone() for step in range(9)]

    plain = batches(None)
    assert len(source.reads) >= 36
    source.reads.clear()
    kept = KeptPixels(4 * ONE)
    for a, b in zip(plain, batches(kept), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert kept.count == 4 and kept.left == 0
    # Four once (twice where two threads want one at the same time), the other two every time.
    assert len(source.reads) <= 8 + 2 * 9


def test_nothing_is_kept_where_nothing_is_decoded_or_asked_for(source):
    rows = np.arange(3)
    array = open_source(np.zeros((3, 8, 8, 3), np.uint8))
    assert keep_decoded(array, rows, share=0.25) is None
    assert keep_decoded(source, rows, share=0.0) is None
    assert keep_decoded(source, rows[:0], share=0.25) is None
    kept = keep_decoded(source, rows, share=0.25)
    assert kept is not None and kept.left > ONE
