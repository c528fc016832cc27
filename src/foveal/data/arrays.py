"""Pictures that are already in memory, or come out of someone else's data set."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from foveal.data.images import pixels_of
from foveal.data.picture import (
    MAX_CHANNELS,
    Picture,
    Pixels,
    as_pixels,
    bands,
    common_layout,
    how_to_write,
    looks_channels_first,
    with_channels,
)
from foveal.errors import BadImage, FovealError

_PEEK = 24  # pictures looked at to tell channels and depth


def open_array(path: Path, channels: int | None, bits: int | None = None) -> ArraySource:
    """A ``.npy`` or ``.npz`` file of pictures."""
    try:
        loaded = np.load(path, mmap_mode="r" if path.suffix.lower() == ".npy" else None)
        if isinstance(loaded, np.ndarray):
            return ArraySource(str(path), loaded, channels=channels, bits=bits)
        names = list(loaded.keys())
        images = next((n for n in ("images", "x", "x_train", "arr_0") if n in names), None)
        labels = next((n for n in ("labels", "y", "y_train") if n in names), None)
        if images is None:
            raise FovealError(
                f"{path} holds {', '.join(names) or 'nothing'}",
                hint="save pictures as np.savez(path, images=..., labels=...)",
            )
        return ArraySource(
            str(path), loaded[images], None if labels is None else loaded[labels], channels, bits
        )
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise FovealError(
            f"{path} cannot be read: {error}", hint="an array saved by numpy, without objects"
        ) from None


def class_numbers(
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


def _as_pixels(picture: Any, name: str) -> Pixels:
    """uint8 or uint16 [H, W, C] from an array, a tensor or a PIL image."""
    if isinstance(picture, Image.Image):
        return pixels_of(picture)
    if type(picture).__module__.startswith("torch"):
        picture = picture.numpy()
        if picture.ndim == 3 and (
            picture.shape[0] in (1, 3) or looks_channels_first(picture.shape)
        ):
            picture = picture.transpose(1, 2, 0)
    array = np.asarray(picture)
    try:
        return as_pixels(array)
    except BadImage as error:
        raise BadImage(
            "shape",
            f"{name} is {array.dtype} of shape {array.shape}: {error.message}; pictures are "
            "[H, W, C] arrays, [C, H, W] tensors or PIL images",
        ) from None


def _picture(pixels: Pixels) -> Picture:
    return Picture(pixels, "array", bands(pixels), pixels.itemsize * 8)


class Images(Protocol):
    """What an ``ArraySource`` needs of an array: pictures may be read one by one."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8 or uint16."""
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
        images: uint8 or uint16 [N, H, W] or [N, H, W, C].
        labels: int [N], if any.
        channels, bits: Of what ``read`` returns; None: as the array is.
    """

    def __init__(
        self,
        root: str,
        images: Images,
        labels: NDArray[Any] | None = None,
        channels: int | None = None,
        bits: int | None = None,
    ) -> None:
        shape = images.shape
        first = len(shape) == 4 and looks_channels_first(shape[1:])
        many = len(shape) == 4 and not 1 <= shape[3] <= MAX_CHANNELS
        if len(shape) not in (3, 4) or first or many:
            raise FovealError(
                f"{root} holds an array of shape {shape}",
                hint="pictures are [N, H, W] or [N, H, W, C], channels last: np.moveaxis(x, 1, -1)",
            )
        if images.dtype not in (np.uint8, np.uint16):
            raise FovealError(f"{root} holds {images.dtype} values", hint=how_to_write())
        if shape[0] == 0:
            raise FovealError(f"{root} holds no pictures: its shape is {shape}")
        self.root = root
        self.images: Images = images if len(shape) == 4 else images[..., None]
        look = [np.empty((1, 1, self.images.shape[3]), self.images.dtype)]
        self.channels, self.bits = common_layout(root, look, channels, bits)
        self.ignored: dict[str, int] = {}
        self.labels, self.classes = class_numbers(root, labels, shape[0])

    def __len__(self) -> int:
        return self.images.shape[0]

    def name(self, i: int) -> str:
        """See ``Source``."""
        return f"{Path(self.root).name}[{i}]"

    def read(self, i: int) -> Pixels:
        """See ``Source``."""
        return with_channels(np.ascontiguousarray(self.images[i]), self.channels, self.bits)

    def content(self, i: int) -> None:
        """See ``Source``."""
        return None

    def picture(self, i: int) -> tuple[Picture, bytes]:
        """See ``Source``."""
        pixels = np.ascontiguousarray(self.images[i])
        return _picture(pixels), pixels.tobytes()

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
        items: Anything with ``len`` and ``[i]``; pictures are uint8 or uint16 arrays [H, W] or
            [H, W, C], tensors [C, H, W], or PIL images.
        channels, bits: Of what ``read`` returns; None: as most pictures looked at are.

    Raises:
        FovealError: It is empty, or none of the first pictures is one.
    """

    def __init__(self, items: Any, channels: int | None = None, bits: int | None = None) -> None:
        self.root = f"{type(items).__module__}.{type(items).__name__}"
        self.items = items
        self.ignored: dict[str, int] = {}
        if len(items) == 0:
            raise FovealError(f"{self.root} is empty")
        self.channels, self.bits = common_layout(self.root, self._peek(), channels, bits)
        self.labels, self.classes = class_numbers(self.root, self._labels(), len(items))

    def __len__(self) -> int:
        return len(self.items)

    def name(self, i: int) -> str:
        """See ``Source``."""
        return f"{type(self.items).__name__}[{i}]"

    def read(self, i: int) -> Pixels:
        """See ``Source``."""
        return with_channels(self._pixels(i), self.channels, self.bits)

    def content(self, i: int) -> None:
        """See ``Source``."""
        return None

    def picture(self, i: int) -> tuple[Picture, bytes]:
        """See ``Source``."""
        pixels = self._pixels(i)
        return _picture(pixels), pixels.tobytes()

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

    def _peek(self) -> list[Pixels]:
        seen, first_error = [], None
        for i in np.unique(np.linspace(0, len(self) - 1, min(_PEEK, len(self))).astype(int)):
            try:
                seen.append(self._pixels(int(i)))
            except BadImage as error:
                first_error = first_error or error
        if first_error is not None and not seen:
            raise first_error
        return seen

    def _pixels(self, i: int) -> Pixels:
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
