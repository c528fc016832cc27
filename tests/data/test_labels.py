"""Subsets of labels: what is drawn, what files say, and that predictions never beat the truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.data.arrays import ArraySource
from foveal.data.files import FileSource
from foveal.data.labels import (
    draw_few,
    filled,
    names_text,
    only_labels_of,
    predictions_text,
    read_predictions,
    rows_of_names,
    with_labels,
)
from foveal.errors import FovealError


def _source(names, classes=("cat", "dog")):
    labels = np.array([classes.index(n.split("/")[0]) for n in names])
    return FileSource("pile", names, names, labels=labels, classes=list(classes))


NAMES = ["cat/1.png", "cat/2.png", "dog/1.png", "dog/3.png"]


@settings(deadline=None)  # the first draw compiles
@given(
    labels=st.lists(st.integers(-1, 3), min_size=1, max_size=60).filter(lambda x: max(x) >= 0),
    seed=st.integers(0, 99),
    share=st.floats(0.01, 1.0),
)
def test_every_class_gives_its_share(labels, seed, share):
    labels = np.array(labels)
    rows = draw_few(labels, share=share, seed=seed)
    assert np.array_equal(rows, draw_few(labels, share=share, seed=seed))
    assert (np.diff(rows) > 0).all()
    for c in range(4):
        n = (labels == c).sum()
        assert (labels[rows] == c).sum() == (max(1, round(share * n)) if n else 0)
    fewer = draw_few(labels, share=share / 2, seed=seed)
    assert set(fewer) <= set(rows)


def test_counts_per_class_and_seeds():
    labels = np.repeat([0, 1, 2], 40)
    rows = draw_few(labels, per_class=7, seed=1)
    assert np.bincount(labels[rows]).tolist() == [7, 7, 7]
    assert not np.array_equal(rows, draw_few(labels, per_class=7, seed=2))
    with pytest.raises(FovealError, match="class 0 has 40 labelled pictures, and 41"):
        draw_few(labels, per_class=41)
    with pytest.raises(FovealError, match="no picture has a label"):
        draw_few(np.array([-1, -1]), per_class=1)
    for wrong in ({}, {"per_class": 1, "share": 0.5}):
        with pytest.raises(FovealError, match="one of the two"):
            draw_few(labels, **wrong)


def test_hiding_labels_leaves_the_source_alone():
    source = _source(NAMES)
    few = with_labels(source, only_labels_of(source, np.array([0, 3])))
    assert few.labels.tolist() == [0, -1, -1, 1] and source.labels.tolist() == [0, 0, 1, 1]
    assert few.fingerprint() == source.fingerprint() and few.name(3) == source.name(3)
    unlabelled = ArraySource("array", np.zeros((2, 4, 4, 3), np.uint8))
    with pytest.raises(FovealError, match="holds no labels"):
        only_labels_of(unlabelled, np.array([0]))


def test_a_file_of_names_there_and_back(tmp_path):
    source = _source(NAMES)
    path = tmp_path / "few.txt"
    path.write_text(names_text(source, np.array([0, 3])))
    assert rows_of_names(source, path).tolist() == [0, 3]
    # A published list: file names alone, in any order, with a comment.
    path.write_text("# 10 percent\n3.png\n\n2.png\n")
    assert rows_of_names(source, path).tolist() == [1, 3]
    for text, message in (
        ("1.png\n", "names 1 pictures that pile does not have .or has in several folders.: 1.png"),
        ("cat/1.png\ncat/1.png\n", "names cat/1.png more than once"),
        ("# nothing\n", "names no pictures"),
    ):
        path.write_text(text)
        with pytest.raises(FovealError, match=message):
            rows_of_names(source, path)
    with pytest.raises(FovealError, match="cannot be read"):
        rows_of_names(source, tmp_path / "absent.txt")


def test_predictions_never_overwrite_a_true_label(tmp_path):
    source = _source(NAMES)
    path = tmp_path / "predicted.csv"
    path.write_text(predictions_text(NAMES[:3], ["dog", "dog", "cat"], [0.75] * 3))
    assert path.read_text().splitlines()[1] == "cat/1.png,dog,0.750000"
    predicted = read_predictions(source, path)
    assert predicted.tolist() == [1, 1, 0, -1]
    true = only_labels_of(source, np.array([0]))
    assert filled(true, predicted).tolist() == [0, 1, 0, -1]
    path.write_text(predictions_text(NAMES[:3], ["dog", "dog", "cat"], [0.75, 0.5, 0.749]))
    assert read_predictions(source, path, confidence=0.75).tolist() == [1, -1, -1, -1]
    with pytest.raises(FovealError, match=r"a probability of 0\.8 or more") as error:
        read_predictions(source, path, confidence=0.8)
    assert "labels.confidence=0.75 or less" in str(error.value.hint)
    path.write_text("name,label\ncat/1.png,mouse\n")
    with pytest.raises(FovealError, match="how probable each prediction is"):
        read_predictions(source, path, confidence=0.5)
    with pytest.raises(FovealError, match="predicts mouse, which pile has no class for"):
        read_predictions(source, path)
    path.write_text("file,class\na,b\n")
    with pytest.raises(FovealError, match="no table of predictions"):
        read_predictions(source, path)
