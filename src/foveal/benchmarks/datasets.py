"""Loaders of known data sets in the layouts their authors publish.

They read local files. Only ``download=True`` opens the network, with torchvision's downloader.

- Fashion-MNIST: idx files (Xiao et al., "Fashion-MNIST", arXiv 1708.07747).
- CIFAR-10, CIFAR-100: the Python version (Krizhevsky, "Learning Multiple Layers of Features from
  Tiny Images", 2009), read by an unpickler that knows arrays and nothing else.
- STL-10: the binary version (Coates et al., AISTATS 2011), with its unlabelled part.
- ImageFolder: ``ROOT/SPLIT/CLASS/*.jpg``, as ImageNet is kept.
"""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.data.arrays import ArraySource
from foveal.data.sources import Source
from foveal.data.splits import open_class_folder
from foveal.errors import FovealError

_FASHION_CLASSES = [
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
    "Ankle boot",
]  # fmt: skip
_STL_CLASSES = [
    "airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck",
]  # fmt: skip
_STL_SHAPE = (3, 96, 96)
# What numpy arrays and byte strings need, under the names of numpy 1 and 2.
_PICKLE_NAMES = {
    ("_codecs", "encode"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "_reconstruct"),
}


def load_dataset(name: str, root: str | Path, split: str, *, download: bool = False) -> Source:
    """A part of a known data set.

    Args:
        name: One of ``DATASETS``.
        root: The folder that holds its files, or the folder they were unpacked in.
        split: ``train`` or ``test``; STL-10 also ``unlabeled``; ImageFolder: a folder's name.
        download: Fetch the files into ``root`` if they are not there (not for ImageFolder).

    Returns:
        Pictures with the authors' class names and numbers; no labels for ``unlabeled``.

    Raises:
        FovealError: An unknown name or split, files that are missing or are not what they should
            be.
    """
    if name not in DATASETS:
        raise FovealError(f"no loader for {name!r}", hint=f"one of {', '.join(DATASETS)}")
    root = Path(root).expanduser()
    if download:
        _download(name, root, split)
    return _READERS[name](root, split)


def _fashion_mnist(root: Path, split: str) -> Source:
    prefix = {"train": "train", "test": "t10k"}[_checked(split, ("train", "test"))]
    places = (".", "raw", "FashionMNIST/raw", "fashion-mnist", "fashion")
    image_file, label_file = (
        _find("fashion-mnist", root, places, [f"{prefix}-{kind}{end}" for end in ("", ".gz")])
        for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
    )
    return _source(image_file, _idx(image_file, 3), _idx(label_file, 1), _FASHION_CLASSES)


def _cifar10(root: Path, split: str) -> Source:
    _checked(split, ("train", "test"))
    files = [f"data_batch_{i}" for i in range(1, 6)] if split == "train" else ["test_batch"]
    return _cifar("cifar10", root, "cifar-10-batches-py", files, "labels", "batches.meta")


def _cifar100(root: Path, split: str) -> Source:
    _checked(split, ("train", "test"))
    return _cifar("cifar100", root, "cifar-100-python", [split], "fine_labels", "meta")


def _stl10(root: Path, split: str) -> Source:
    _checked(split, ("train", "test", "unlabeled"))
    places = (".", "stl10_binary")
    image_file = _find("stl10", root, places, [f"{split}_X.bin"])
    pixels = int(np.prod(_STL_SHAPE))
    size = image_file.stat().st_size
    if size == 0 or size % pixels:
        raise FovealError(
            f"{image_file} holds {size:,} bytes, not a multiple of {pixels:,} (96x96x3)",
            hint="fetch it again: it may be cut off",
        )
    # 2.6 GB of unlabelled pictures stay on the disk. Columns come first in the file.
    stored = np.memmap(image_file, np.uint8, "r", shape=(size // pixels, *_STL_SHAPE))
    images = stored.transpose(0, 3, 2, 1)
    if split == "unlabeled":
        return ArraySource(str(image_file), images)
    label_file = _find("stl10", root, places, [f"{split}_y.bin"])
    labels = np.fromfile(label_file, np.uint8).astype(np.int64) - 1
    return _source(image_file, images, labels, _STL_CLASSES)


def _imagefolder(root: Path, split: str) -> Source:
    folder = root / split
    if not folder.is_dir():
        raise FovealError(f"{folder} is not a folder", hint=f"ls {root}")
    train = root / "train"
    # The training part numbers the classes, also where another part lacks some.
    classes = open_class_folder(train).classes if train.is_dir() and split != "train" else None
    return open_class_folder(folder, classes)


_READERS: dict[str, Callable[[Path, str], Source]] = {
    "fashion-mnist": _fashion_mnist,
    "cifar10": _cifar10,
    "cifar100": _cifar100,
    "stl10": _stl10,
    "imagefolder": _imagefolder,
}
DATASETS = tuple(_READERS)


def _checked(split: str, splits: tuple[str, ...]) -> str:
    if split not in splits:
        raise FovealError(f"no split {split!r}", hint=f"one of {', '.join(splits)}")
    return split


def _source(
    path: Path, images: NDArray[Any], labels: NDArray[np.int64], classes: list[str]
) -> ArraySource:
    """An array with the authors' numbering, also where a file lacks a class."""
    if len(labels) != len(images):
        raise FovealError(
            f"{path} holds {len(images):,} pictures and its labels are {len(labels):,}",
            hint="fetch both files again",
        )
    if len(labels) and not (labels.min() >= 0 and labels.max() < len(classes)):
        raise FovealError(
            f"the labels of {path} go from {labels.min()} to {labels.max()}, "
            f"and there are {len(classes)} classes"
        )
    source = ArraySource(str(path), images)
    source.labels, source.classes = labels.astype(np.int64), list(classes)
    return source


def _find(name: str, root: Path, places: tuple[str, ...], files: list[str]) -> Path:
    for place in places:
        for file in files:
            if (root / place / file).is_file():
                return root / place / file
    raise FovealError(
        f"{root} does not hold {files[0]} of {name}",
        hint=f"load_dataset({name!r}, {str(root)!r}, ..., download=True), or another folder",
    )


def _idx(path: Path, dimensions: int) -> NDArray[Any]:
    """A file in idx format: zero, zero, type, dimensions, sizes (big-endian uint32), values."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        zeros, kind, found = struct.unpack_from(">HBB", data)
        shape = struct.unpack_from(f">{found}I", data, 4)
    except (OSError, EOFError, struct.error, zlib.error) as error:
        raise FovealError(f"{path} cannot be read: {error}", hint="fetch it again") from None
    size = len(data) - 4 - 4 * found
    if (zeros, kind, found) != (0, 8, dimensions) or size != int(np.prod(shape, dtype=np.int64)):
        raise FovealError(
            f"{path} is not an idx file of bytes with {dimensions} dimensions, or is cut off",
            hint="fetch it again",
        )
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * found).reshape(shape)
    return values if dimensions == 3 else values.astype(np.int64)


def _cifar(
    name: str, root: Path, folder: str, files: list[str], labels_key: str, meta: str
) -> Source:
    places = (".", folder)
    paths = [_find(name, root, places, [file]) for file in files]
    images, labels = [], []
    for path in paths:
        batch = _unpickle(path)
        data, numbers = batch.get("data"), batch.get(labels_key)
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 \
                or data.shape[1] != 3072 or not isinstance(numbers, list):  # fmt: skip
            raise FovealError(
                f"{path} is no batch of {name}: it needs data, uint8 [N, 3072], and {labels_key}",
                hint="fetch it again",
            )
        images.append(data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        labels.append(np.asarray(numbers, np.int64))
    about = _unpickle(_find(name, root, places, [meta]))
    names = about.get(labels_key.replace("labels", "label_names"), [])
    classes = [n.decode() if isinstance(n, bytes) else str(n) for n in names]
    return _source(paths[0].parent, np.concatenate(images), np.concatenate(labels), classes)


class _ArraysOnly(pickle.Unpickler):
    """Builds arrays, strings, numbers and their lists; any other name is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _PICKLE_NAMES:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}, which no array needs")


def _unpickle(path: Path) -> dict[str, Any]:
    """A dictionary of a pickle file, keys as text (the authors' Python wrote bytes)."""
    try:
        value = _ArraysOnly(io.BytesIO(path.read_bytes()), encoding="bytes").load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, IndexError, KeyError,
            AttributeError, ImportError, OSError) as error:  # fmt: skip
        raise FovealError(f"{path} cannot be read: {error}", hint="fetch it again") from None
    if not isinstance(value, dict):
        raise FovealError(f"{path} holds a {type(value).__name__}, not a dictionary")
    return {k.decode() if isinstance(k, bytes) else str(k): v for k, v in value.items()}


def _download(name: str, root: Path, split: str) -> None:
    from torchvision import datasets

    makers: dict[str, Callable[[], Any]] = {
        "fashion-mnist": lambda: datasets.FashionMNIST(str(root), download=True),
        "cifar10": lambda: datasets.CIFAR10(str(root), download=True),
        "cifar100": lambda: datasets.CIFAR100(str(root), download=True),
        "stl10": lambda: datasets.STL10(str(root), split=split, download=True),
    }
    if name not in makers:
        raise FovealError(f"{name} is your own: there is nothing to download")
    try:
        makers[name]()
    except (OSError, RuntimeError) as error:
        raise FovealError(
            f"{name} could not be fetched: {error}",
            hint=f"fetch it by hand into {root}, then leave download out",
        ) from error
