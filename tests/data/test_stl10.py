import numpy as np
import pytest

from foveal.data.splits import load_splits
from foveal.data.stl10 import SIDE, stl10_splits
from foveal.errors import FovealError


def write_stl10(root, train=12, test=6, classes=3, seed=0):
    """A tiny STL-10: pictures of one colour a class, three folds."""
    draw = np.random.default_rng(seed)
    for part, n in (("train", train), ("test", test)):
        labels = np.arange(n) % classes
        pictures = draw.integers(0, 60, (n, SIDE, SIDE, 3))
        pictures[np.arange(n), :, :, labels] += 150
        pictures[:, 0, -1] = 7  # top right: found again only if rows and columns are right
        # Channel after channel, column after column.
        pictures.astype(np.uint8).transpose(0, 3, 2, 1).tofile(root / f"{part}_X.bin")
        (labels + 1).astype(np.uint8).tofile(root / f"{part}_y.bin")
    (root / "class_names.txt").write_text("red\ngreen\nblue\n")
    rows = np.arange(train).reshape(3, -1, order="F")
    (root / "fold_indices.txt").write_text("\n".join(" ".join(map(str, r)) for r in rows))
    return root


def test_pictures_labels_and_folds(tmp_path):
    train, test = load_splits(write_stl10(tmp_path))
    assert (len(train), len(test), train.channels, train.classes) == (
        12, 6, 3, ["red", "green", "blue"]
    )  # fmt: skip
    assert train.labels.tolist() == [0, 1, 2] * 4
    picture = train.read(1)
    assert picture.shape == (SIDE, SIDE, 3) and picture[..., 1].mean() > 140
    assert (picture[0, -1] == 7).all() and not (picture[-1, 0] == 7).all()
    assert [fold.tolist() for fold in train.folds] == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]
    assert test.folds == []


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("test_X.bin", b"\0" * 10, "test_X.bin has 10 bytes, and 6 labels make 165,888"),
        ("train_y.bin", b"\1\2\3\4" * 3, "train_y.bin holds class 4"),
        ("fold_indices.txt", b"0 1\n2 99", "line 2 names rows that train_X.bin"),
        ("fold_indices.txt", b"0 one", "line 1 is no list of rows"),
        ("class_names.txt", b"", "class_names.txt is empty"),
        ("test_y.bin", None, "test_y.bin does not exist"),
        ("fold_indices.txt", None, "fold_indices.txt does not exist"),
    ],
)
def test_a_wrong_layout_names_the_file(tmp_path, file, content, message):
    write_stl10(tmp_path)
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(FovealError, match=message) as error:
        stl10_splits(tmp_path)
    assert "STL-10's layout" in error.value.hint
