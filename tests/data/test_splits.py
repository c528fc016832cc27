"""Training and test parts share one numbering of classes, whatever lies on the disk."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from foveal.data.arrays import ArraySource
from foveal.data.splits import load_splits, open_class_folder
from foveal.errors import FovealError


def put(folder, count, colour=(200, 30, 30), mode="RGB"):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        pixels = np.full((8, 8, 3), colour, np.uint8)
        pixels[i % 8] = 255
        Image.fromarray(pixels).convert(mode).save(folder / f"{i:02d}.png")


def class_of(source, i):
    return source.classes[source.labels[i]]


@pytest.mark.parametrize("name", ["test", "val", "valid", "validation"])
def test_given_parts_are_kept(tmp_path, name):
    for part, count in (("train", 3), (name, 1)):
        for label in ("ant", "bee"):
            put(tmp_path / part / label, count)
    train, test = load_splits(tmp_path)
    assert (len(train), len(test)) == (6, 2)
    assert train.classes == test.classes == ["ant", "bee"]
    assert [class_of(test, i) for i in range(2)] == ["ant", "bee"]


def test_test_is_preferred_to_val(tmp_path):
    for part, count in (("train", 2), ("val", 3), ("test", 1)):
        for label in ("ant", "bee"):
            put(tmp_path / part / label, count)
    assert len(load_splits(tmp_path)[1]) == 2


def test_a_class_without_test_pictures_keeps_its_number(tmp_path):
    for label in ("ant", "bee", "cat"):
        put(tmp_path / "train" / label, 2)
    put(tmp_path / "test" / "cat", 2)
    train, test = load_splits(tmp_path)
    assert test.classes == train.classes
    assert test.labels.tolist() == [2, 2]


def test_a_class_of_the_test_part_alone_is_named(tmp_path):
    for label in ("ant", "bee"):
        put(tmp_path / "train" / label, 2)
        put(tmp_path / "test" / label, 2)
    put(tmp_path / "test" / "zebra", 2)
    with pytest.raises(FovealError, match="class zebra"):
        load_splits(tmp_path)


def test_both_parts_have_the_same_channels(tmp_path):
    for label in ("ant", "bee"):
        put(tmp_path / "train" / label, 2, mode="L")
        put(tmp_path / "test" / label, 2)
    train, test = load_splits(tmp_path)
    assert train.channels == test.channels == 3
    assert train.read(0).shape == test.read(0).shape == (8, 8, 3)
    train, test = load_splits(tmp_path, channels=1)
    assert train.read(0).shape == test.read(0).shape == (8, 8, 1)


def test_a_fifth_of_every_class_is_held_out(tmp_path):
    for label, count in (("ant", 20), ("bee", 10), ("cat", 2)):
        put(tmp_path / label, count)
    train, test = load_splits(tmp_path)
    assert np.bincount(test.labels).tolist() == [4, 2, 1]
    assert np.bincount(train.labels).tolist() == [16, 8, 1]
    names = [s.name(i) for s in (train, test) for i in range(len(s))]
    assert len(set(names)) == 32
    assert all(s.name(i).startswith(class_of(s, i)) for s in (train, test) for i in range(len(s)))


def test_the_seed_chooses(tmp_path):
    for label in ("ant", "bee"):
        put(tmp_path / label, 20)
    rows = [load_splits(tmp_path, seed=seed)[1].rows.tolist() for seed in (0, 0, 1)]
    assert rows[0] == rows[1] != rows[2]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(2, 40), min_size=2, max_size=6), st.integers(0, 3))
def test_held_out_shares_of_arrays(counts, unknown):
    labels = np.concatenate([np.full(n, c) for c, n in enumerate(counts)] + [np.full(unknown, -1)])
    source = ArraySource("array", np.zeros((len(labels), 4, 4), np.uint8), labels)
    train, test = load_splits(source)
    assert np.bincount(test.labels).tolist() == [max(1, round(n / 5)) for n in counts]
    assert sorted([*train.rows, *test.rows]) == list(range(sum(counts)))


def test_errors_say_what_is_missing(tmp_path):
    put(tmp_path / "flat", 3)
    with pytest.raises(FovealError, match="no classes"):
        load_splits(tmp_path / "flat")
    put(tmp_path / "half" / "train" / "ant", 2)
    put(tmp_path / "half" / "train" / "bee", 2)
    with pytest.raises(FovealError, match="none of test/, val/") as error:
        load_splits(tmp_path / "half")
    assert "train" in error.value.hint
    put(tmp_path / "one" / "train" / "ant", 2)
    put(tmp_path / "one" / "test" / "ant", 2)
    with pytest.raises(FovealError, match="single class, ant"):
        load_splits(tmp_path / "one")
    put(tmp_path / "loose" / "ant", 2)
    put(tmp_path / "loose", 1)
    with pytest.raises(FovealError, match=r"outside of class folders, e.g. 00\.png"):
        open_class_folder(tmp_path / "loose")
    pictures = ArraySource("few", np.zeros((3, 4, 4), np.uint8), np.array([0, 0, 1]))
    with pytest.raises(FovealError, match="single picture of class 1"):
        load_splits(pictures)
