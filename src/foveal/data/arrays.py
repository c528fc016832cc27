"""Pictures that are already in memory, or come out of someone else's data set."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from foveal.data.images import Picture, pixels_of, with_channels
from foveal.errors import BadImage, FovealError

_PEEK = 24  # pictures looked at to tell grey from colour


def open_array(path: Path, channels: int | None) -> ArraySource:
    """A ``.npy`` or ``.npz`` file of pictures."""
    try:
        loaded = np.load(path, mmap_mode="r" if path.suffix.lower() == ".npy" else None)
        if isinstance(loaded, np.ndarray):
            return ArraySource(str(path), loaded, channels=channels)
        names = list(loaded.keys())
        images = next((n for n in ("images", "x", "x_train", "arr_0") if n in names), None)
        labels = next((n for n in ("labels", "y", "y_train") if n in names), None)
        if images is None:
            raise FovealError(
                f"{path} holds {', '.join(names) or 'nothing'}",
                hint="save pictures as np.savez(path, images=..., labels=...)",
            )
        return ArraySource(
            str(path), loaded[images], None if labels is None else loaded[labels], channels
        )
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise FovealError(
            f"{path} cannot be read: {error}", hint="an array saved by numpy, without objects"
        ) from None


def _class_numbers(
    root: str, labels: NDArray[Any] | None, n: int
) -> tuple[NDArray[np.int64] | None, list[str] | None]:
    """Labels of any kind as 0..C-1 with names; negative numbers stay unknown."""
    if labels is None:
        return None, None
    labels = np.asarray(labels)
    if labels.shape != (n,):
        raise FovealError(f"{root} has {n} pictures and labels of shape {labels.shape}")
    unknown = labels < 0 if np.issubdtype(labels.dtype, np.number) else np.zeros(n, bool)
    names, numbers = np.unique(labels[~unknown], return_inverse=True)
    out = np.full(n, -1, np.int64)
    out[~unknown] = numbers
    return out, [str(name) for name in names]


def _as_pixels(picture: Any, name: str) -> NDArray[np.uint8]:
    """uint8 [H, W, 1 or 3] from an array, a tensor or a PIL image."""
    if isinstance(picture, Image.Image):
        return pixels_of(picture)
    if type(picture).__module__.startswith("torch"):
        picture = picture.numpy()
        if picture.ndim == 3 and picture.shape[0] in (1, 3):
            picture = picture.transpose(1, 2, 0)
    array = np.asarray(picture)
    if array.ndim == 2:
        array = array[..., None]
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in (1, 3):
        raise BadImage(
            "shape",
            f"{name} is {array.dtype} of shape {array.shape}; pictures are uint8 [H, W, C] "
            "arrays, uint8 [C, H, W] tensors or PIL images",
        )
    return np.ascontiguousarray(array)


def _colour_word(pixels: NDArray[np.uint8]) -> str:
    return "grey" if pixels.shape[2] == 1 else "RGB"


class Images(Protocol):
    """What an ``ArraySource`` needs of an array: pictures may be read one by one."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, H, W] or [N, H, W, C]."""
        ...

    def __getitem__(self, at: Any, /) -> Any:
        """Pictures."""
        ...


class ArraySource:
    """Pictures in one array.

    Args:
        root: For messages.
        images: uint8 [N, H, W] or [N, H, W, C], C 1 or 3.
        labels: int [N], if any.
        channels: 1 or 3; None: as the array is.
    """

    def __init__(
        self,
        root: str,
        images: Images,
        labels: NDArray[Any] | None = None,
        channels: int | None = None,
    ) -> None:
        shape = images.shape
        if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)):
            raise FovealError(
                f"{root} holds an array of shape {shape}",
                hint="pictures are [N, H, W] or [N, H, W, C] with 1 or 3 channels last",
            )
        if images.dtype != np.uint8:
            raise FovealError(
                f"{root} holds {images.dtype} values",
                hint="pictures are uint8, 0 to 255: (x * 255).round().astype('uint8') for [0, 1]",
            )
        if shape[0] == 0:
            raise FovealError(f"{root} holds no pictures: its shape is {shape}")
        self.root = root
        self.images: Images = images if len(shape) == 4 else images[..., None]
        self.channels = channels or self.images.shape[3]
        self.ignored: dict[str, int] = {}
        self.labels, self.classes = _class_numbers(root, labels, shape[0])

    def __len__(self) -> int:
        return self.images.shape[0]

    def name(self, i: int) -> str:
        """See ``Source``."""
        return f"{Path(self.root).name}[{i}]"

    def read(self, i: int) -> NDArray[np.uint8]:
        """See ``Source``."""
        return with_channels(np.ascontiguousarray(self.images[i]), self.channels)

    def content(self, i: int) -> None:
        """See ``Source``."""
        return None

    def picture(self, i: int) -> tuple[Picture, bytes]:
        """See ``Source``."""
        pixels = np.ascontiguousarray(self.images[i])
        return Picture(pixels, "array", _colour_word(pixels)), pixels.tobytes()

    def stat(self, i: int) -> tuple[int, int] | None:
        """See ``Source``: arrays have no files of their own."""
        return None

    def fingerprint(self) -> str:
        """See ``Source``: the content."""
        digest = hashlib.blake2b(str(self.images.shape).encode(), digest_size=16)
        for start in range(0, len(self), 1024):
            digest.update(np.ascontiguousarray(self.images[start : start + 1024]).data)
        return digest.hexdigest()


class SequenceSource:
    """Any sequence or map-style dataset of pictures, or of (picture, label).

    Args:
        items: Anything with ``len`` and ``[i]``; pictures are uint8 arrays [H, W] or [H, W, C],
            uint8 tensors [C, H, W], or PIL images.
        channels: 1 or 3; None: 1 where all pictures looked at are grey, else 3.

    Raises:
        FovealError: It is empty, or none of the first pictures is one.
    """

    def __init__(self, items: Any, channels: int | None = None) -> None:
        self.root = f"{type(items).__module__}.{type(items).__name__}"
        self.items = items
        self.ignored: dict[str, int] = {}
        if len(items) == 0:
            raise FovealError(f"{self.root} is empty")
        self.channels = self._peek() if channels is None else channels
        self.labels, self.classes = _class_numbers(self.root, self._labels(), len(items))

    def __len__(self) -> int:
        return len(self.items)

    def name(self, i: int) -> str:
        """See ``Source``."""
        return f"{type(self.items).__name__}[{i}]"

    def read(self, i: int) -> NDArray[np.uint8]:
        """See ``Source``."""
        return with_channels(self._pixels(i), self.channels)

    def content(self, i: int) -> None:
        """See ``Source``."""
        return None

    def picture(self, i: int) -> tuple[Picture, bytes]:
        """See ``Source``."""
        pixels = self._pixels(i)
        return Picture(pixels, "array", _colour_word(pixels)), pixels.tobytes()

    def stat(self, i: int) -> tuple[int, int] | None:
        """See ``Source``."""
        return None

    def fingerprint(self) -> str:
        """See ``Source``: the length and the content of up to 256 pictures spread over it."""
        digest = hashlib.blake2b(f"{self.root} {len(self)}".encode(), digest_size=16)
        for i in np.unique(np.linspace(0, len(self) - 1, min(256, len(self))).astype(int)):
            try:
                digest.update(self._pixels(int(i)).data)
            except BadImage as error:
                digest.update(error.kind.encode())
        return digest.hexdigest()

    def _peek(self) -> int:
        seen, first_error = set(), None
        for i in np.unique(np.linspace(0, len(self) - 1, min(_PEEK, len(self))).astype(int)):
            try:
                seen.add(self._pixels(int(i)).shape[2])
            except BadImage as error:
                first_error = first_error or error
        if first_error is not None and not seen:
            raise first_error
        return 1 if seen == {1} else 3

    def _pixels(self, i: int) -> NDArray[np.uint8]:
        try:
            item = self.items[i]
        except (OSError, ValueError) as error:
            raise BadImage("dataset", f"the dataset raised {error!r}") from None
        picture = item[0] if isinstance(item, tuple | list) else item
        return _as_pixels(picture, self.name(i))

    def _labels(self) -> NDArray[Any] | None:
        """Labels without decoding every picture where the dataset has them as a list."""
        for attribute in ("targets", "labels"):
            found = getattr(self.items, attribute, None)
            if found is not None and len(found) == len(self.items):
                return np.asarray(found)
        if not isinstance(self.items, list | tuple):
            return None
        pairs = [item for item in self.items if isinstance(item, tuple) and len(item) > 1]
        return np.asarray([p[1] for p in pairs]) if len(pairs) == len(self.items) else None
