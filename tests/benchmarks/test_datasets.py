"""Known data sets in their authors' layouts, from small files made here."""

import gzip
import pickle
import struct

import numpy as np
import pytest
from PIL import Image

from foveal.benchmarks.datasets import load_dataset
from foveal.errors import FovealError

RANDOM = np.random.default_rng(0)


def idx(values):
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("place", [".", "FashionMNIST/raw"])
def test_fashion_mnist(tmp_path, zipped, place):
    images = RANDOM.integers(0, 256, (5, 28, 28), np.uint8)
    labels = np.array([9, 0, 3, 3, 1], np.uint8)
    folder = tmp_path / place
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in (("images-idx3", images), ("labels-idx1", labels)):
        data = gzip.compress(idx(values)) if zipped else idx(values)
        (folder / f"t10k-{name}-ubyte{'.gz' if zipped else ''}").write_bytes(data)
    source = load_dataset("fashion-mnist", tmp_path, "test")
    assert np.array_equal(source.read(2)[..., 0], images[2])
    assert source.labels.tolist() == labels.tolist()
    assert len(source.classes) == 10
    assert source.classes[9] == "Ankle boot"


def test_a_cut_off_idx_file(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((5, 28, 28), np.uint8))[:-9])
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(5, np.uint8)))
    with pytest.raises(FovealError, match="cut off"):
        load_dataset("fashion-mnist", tmp_path, "train")


def cifar_batch(n, labels_key, seed):
    random = np.random.default_rng(seed)
    # The authors' Python 2 wrote byte strings.
    return {
        b"data": random.integers(0, 256, (n, 3072), np.uint8),
        labels_key: random.integers(0, 3, n).tolist(),
    }


def test_cifar10(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    batches = [cifar_batch(4, b"labels", i) for i in range(5)]
    for i, batch in enumerate(batches):
        (folder / f"data_batch_{i + 1}").write_bytes(pickle.dumps(batch, protocol=2))
    meta = {b"label_names": [b"plane", b"car", b"bird"]}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))
    source = load_dataset("cifar10", tmp_path, "train")
    assert len(source) == 20
    assert source.classes == ["plane", "car", "bird"]
    assert source.labels.tolist() == [n for b in batches for n in b[b"labels"]]
    # Red, green, blue planes of 32 rows each.
    planes = batches[1][b"data"][2].reshape(3, 32, 32)
    assert np.array_equal(source.read(6), np.moveaxis(planes, 0, 2))


def test_cifar100(tmp_path):
    batch = cifar_batch(6, b"fine_labels", 0)
    (tmp_path / "test").write_bytes(pickle.dumps(batch, protocol=2))
    meta = {b"fine_label_names": [b"apple", b"bear", b"bed"], b"coarse_label_names": [b"x"]}
    (tmp_path / "meta").write_bytes(pickle.dumps(meta, protocol=2))
    source = load_dataset("cifar100", tmp_path, "test")
    assert source.labels.tolist() == batch[b"fine_labels"]
    assert source.classes == ["apple", "bear", "bed"]


class Hostile:
    def __reduce__(self):
        return (open, ("/tmp/foveal-hostile-pickle-ran", "w"))


def test_a_hostile_pickle_is_not_run(tmp_path):
    (tmp_path / "test_batch").write_bytes(pickle.dumps({b"data": Hostile()}, protocol=2))
    with pytest.raises(FovealError, match=r"names .*open, which no array needs"):
        load_dataset("cifar10", tmp_path, "test")


def test_stl10(tmp_path):
    images = RANDOM.integers(0, 256, (3, 96, 96, 3), np.uint8)
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    for split in ("train", "unlabeled"):
        # Channel, then column, then row.
        (folder / f"{split}_X.bin").write_bytes(images.transpose(0, 3, 2, 1).tobytes())
    (folder / "train_y.bin").write_bytes(bytes([1, 10, 3]))
    source = load_dataset("stl10", tmp_path, "train")
    assert np.array_equal(source.read(1), images[1])
    assert [source.classes[i] for i in source.labels] == ["airplane", "truck", "car"]
    unlabelled = load_dataset("stl10", tmp_path, "unlabeled")
    assert unlabelled.labels is None
    assert np.array_equal(unlabelled.read(2), images[2])
    (folder / "train_X.bin").write_bytes(b"short")
    with pytest.raises(FovealError, match="not a multiple"):
        load_dataset("stl10", tmp_path, "train")


def test_imagefolder_counts_in_the_classes_of_train(tmp_path):
    for part, label in (("train", "ant"), ("train", "bee"), ("val", "bee")):
        folder = tmp_path / part / label
        folder.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(folder / "a.png")
    source = load_dataset("imagefolder", tmp_path, "val")
    assert source.classes == ["ant", "bee"]
    assert source.labels.tolist() == [1]


@pytest.mark.parametrize("name", ["fashion-mnist", "cifar10", "cifar100", "stl10"])
def test_missing_files_are_named_and_nothing_is_fetched(tmp_path, name, monkeypatch):
    def refuse(*_):
        raise AssertionError("a download that nobody asked for")

    monkeypatch.setattr("foveal.benchmarks.datasets._download", refuse)
    with pytest.raises(FovealError, match=f"does not hold .* of {name}") as error:
        load_dataset(name, tmp_path, "train")
    assert "download=True" in error.value.hint


def test_unknown_names(tmp_path):
    with pytest.raises(FovealError, match="no loader"):
        load_dataset("imagenet", tmp_path, "train")
    with pytest.raises(FovealError, match="no split"):
        load_dataset("cifar10", tmp_path, "unlabeled")
    with pytest.raises(FovealError, match="not a folder"):
        load_dataset("imagefolder", tmp_path, "train")
    with pytest.raises(FovealError, match="nothing to download"):
        load_dataset("imagefolder", tmp_path, "train", download=True)
