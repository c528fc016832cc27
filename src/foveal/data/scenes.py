"""Pictures with something known of every pixel or object: segmentation, depth, normals, boxes.

Three layouts: Pascal VOC's (also with depth and the camera, as ``foveal data doom`` writes it),
COCO's (boxes alone) and the labelled set of NYUv2.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from foveal.core.files import read_json
from foveal.data.boxes import Boxes, is_coco, open_coco
from foveal.data.camera import Camera, normals_from_depth
from foveal.data.files import FileSource
from foveal.data.images import read_bytes
from foveal.data.nyu import is_nyu, open_nyu
from foveal.data.sources import Source
from foveal.data.voc import listed_names, voc_splits, voc_years
from foveal.errors import BadImage, FovealError

VOID = 255
_MORE = "SegmentationClassAug"
VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
_LAYOUTS = {
    "segmentation": "DATA/JPEGImages/ID.jpg, DATA/SegmentationClass/ID.png (palette numbers, 255 "
    "left out) and DATA/ImageSets/Segmentation/{train,val}.txt",
    "depth": "DATA/JPEGImages/ID.jpg, DATA/Depth/ID.png (16 bit, 0 unknown) and "
    "DATA/ImageSets/Segmentation/{train,val}.txt; or nyu_depth_v2_labeled.mat and splits.mat",
    "normals": "DATA/JPEGImages/ID.jpg, DATA/Depth/ID.png (16 bit, 0 unknown), the camera in "
    "DATA/intrinsics.json (fx, fy, cx, cy) and DATA/ImageSets/Segmentation/{train,val}.txt; or "
    "nyu_depth_v2_labeled.mat and splits.mat",
    "boxes": "DATA/JPEGImages, DATA/Annotations and DATA/ImageSets/Main (VOC), or VOC2007 and "
    "VOC2012 of these; or DATA/annotations/instances_{train,val}*.json (COCO)",
}


class Scenes(Source, Protocol):
    """A source that knows more of its pictures. What it does not know raises ``FovealError``.

    Attributes:
        things: Names of the classes of objects; a segmentation counts them from 1, 0 is the rest.
        unit: Of the depth.
    """

    things: list[str]
    unit: str

    def segmentation(self, i: int) -> NDArray[np.uint8]:
        """Numbers of classes, uint8 [H, W]; 255 is left out."""
        ...

    def depth(self, i: int) -> NDArray[np.float32]:
        """Depth along the optical axis, float32 [H, W]; 0 unknown."""
        ...

    def normals(self, i: int) -> NDArray[np.float32]:
        """Unit normals (x right, y down, z ahead), float32 [H, W, 3]; zero vectors unknown."""
        ...


class Annotated(Source, Protocol):
    """A source that knows the objects in its pictures.

    Attributes:
        paths: Their files.
    """

    paths: list[Path]

    @property
    def things(self) -> list[str]:
        """Names of their classes."""
        ...

    def boxes(self, i: int) -> Boxes:
        """The objects of a picture."""
        ...


def open_scenes(data: Any, kind: str, *, train: str = "train") -> tuple[Scenes, Scenes]:
    """The training and the test part of pictures with ``segmentation``, ``depth`` or ``normals``.

    Args:
        data: A folder.
        kind: What is asked of them.
        train: The list to learn from, of VOC's layout: with ``train_aug`` the masks of Hariharan et
            al. (ICCV 2011) in ``SegmentationClassAug`` count where VOC's own have none.

    Raises:
        FovealError: A file is missing or wrong; names it and the layout.
    """
    text, folder = _folder(data, kind)
    if is_nyu(folder):
        return open_nyu(text, folder)
    parts = _open_voc(text, folder, kind, train)
    for part in parts:
        # The first picture speaks for its part: a wrong layout is told before anything is computed.
        getattr(part, kind)(0)
    return parts


def open_boxes(data: Any, *, channels: int = 3) -> tuple[Annotated, Annotated]:
    """The training and the test part of pictures with boxes.

    VOC07's trainval and test where both lists are there, else train and val. A folder that holds
    ``VOC2007`` and ``VOC2012`` is "07+12": both trainvals, and the test of 2007.

    Args:
        data: A folder.
        channels: Of what is read.

    Raises:
        FovealError: A file is missing or wrong; names it and the layout.
    """
    text, folder = _folder(data, "boxes")
    if is_coco(folder) and not (folder / "Annotations").is_dir():
        return open_coco(text, folder, channels=channels)
    years = [folder / "VOC2007", folder / "VOC2012"]
    if all((year / "JPEGImages").is_dir() for year in years):
        return voc_years(*years, channels=channels)
    _has_pictures(folder, "boxes")
    return voc_splits(folder, channels=channels)


class VocScenes(FileSource):
    """Pictures of one list in Pascal VOC's layout."""

    def __init__(self, root: str, folder: Path, ids: list[str], things: list[str]) -> None:
        paths = [folder / "JPEGImages" / f"{name}.jpg" for name in ids]
        super().__init__(root, paths, [f"{name}.jpg" for name in ids])
        self.folder, self.ids, self.things = folder, ids, things
        camera = folder / "intrinsics.json"
        self._about: dict[str, Any] = read_json(camera) if camera.is_file() else {}
        self.unit = str(self._about.get("depth", {}).get("unit", "unit of the file"))

    def fingerprint(self) -> str:
        """See ``Source``: names, sizes and times of change, of the targets too."""
        digest = hashlib.blake2b(super().fingerprint().encode(), digest_size=16)
        for name in self.ids:
            for kind in ("SegmentationClass", _MORE, "Depth"):
                path = self.folder / kind / f"{name}.png"
                if kind == _MORE and not path.is_file():
                    continue
                stat = path.stat() if path.is_file() else None
                digest.update(f"{stat and (stat.st_size, stat.st_mtime_ns)}\n".encode())
        digest.update(repr((self.things, self._about)).encode())
        return digest.hexdigest()

    def segmentation(self, i: int) -> NDArray[np.uint8]:
        """See ``Scenes``."""
        image = self._target(i, "SegmentationClass", "segmentation")
        if image.mode not in ("P", "L"):
            raise self._wrong(i, "SegmentationClass", f"is {image.mode}, not numbers of classes")
        numbers = np.array(image)
        highest = int(numbers[numbers != VOID].max(initial=0))
        if highest > len(self.things):
            raise self._wrong(i, "SegmentationClass",
                              f"holds class {highest}; there are {len(self.things)}")  # fmt: skip
        return numbers

    def depth(self, i: int) -> NDArray[np.float32]:
        """See ``Scenes``."""
        image = self._target(i, "Depth", "depth")
        if not image.mode.startswith("I"):
            raise self._wrong(i, "Depth", f"is {image.mode}, not 16 bits of grey", "depth")
        return np.array(image).astype(np.float32)

    def normals(self, i: int) -> NDArray[np.float32]:
        """See ``Scenes``."""
        try:
            fx, fy, cx, cy = (float(self._about[key]) for key in ("fx", "fy", "cx", "cy"))
            step = float(self._about.get("depth", {}).get("step", 0))
        except (KeyError, TypeError, ValueError):
            raise FovealError(
                f"{self.folder / 'intrinsics.json'} does not say fx, fy, cx and cy, and normals "
                "come from depth and the camera",
                hint=_LAYOUTS["normals"],
            ) from None
        return normals_from_depth(self.depth(i), Camera(fx, fy, cx, cy, step))

    def _target(self, i: int, folder: str, kind: str) -> Image.Image:
        path = self.folder / folder / f"{self.ids[i]}.png"
        more = self.folder / _MORE / path.name
        if folder == "SegmentationClass" and not path.is_file() and more.is_file():
            path = more
        try:
            image = Image.open(io.BytesIO(read_bytes(path)))
            image.load()
            return image
        except (BadImage, OSError, SyntaxError) as error:
            reason = getattr(error, "message", str(error))
            raise FovealError(f"{path}: {reason}", hint=_LAYOUTS[kind]) from None

    def _wrong(self, i: int, folder: str, what: str, kind: str = "segmentation") -> FovealError:
        path = self.folder / folder / f"{self.ids[i]}.png"
        return FovealError(f"{path} {what}", hint=_LAYOUTS[kind])


def _folder(data: Any, kind: str) -> tuple[str, Path]:
    if not isinstance(data, str | Path) or not Path(data).expanduser().is_dir():
        raise FovealError(f"{data} is no folder with {kind}", hint=_LAYOUTS[kind])
    return str(data), Path(data).expanduser()


def _has_pictures(folder: Path, kind: str) -> None:
    if not (folder / "JPEGImages").is_dir():
        below = sorted(p.parent for p in folder.glob("VOC*/**/JPEGImages"))
        raise FovealError(
            f"{folder} holds no JPEGImages/: it has not the layout for {kind}",
            hint=f"--data {below[0]}" if below else _LAYOUTS[kind],
        )


def _open_voc(text: str, folder: Path, kind: str, train_list: str) -> tuple[VocScenes, VocScenes]:
    _has_pictures(folder, kind)
    lists = [folder / "ImageSets" / "Segmentation" / f"{part}.txt" for part in (train_list, "val")]
    ids = [listed_names(path, _LAYOUTS[kind]) for path in lists]
    own = folder / "classes.txt"
    things = list(VOC_CLASSES)
    if own.is_file():
        lines = own.read_text(encoding="utf-8").splitlines()
        things = [line.strip() for line in lines if line.strip()]
    train, val = (
        VocScenes(f"{text}/{path.stem}", folder, names, things)
        for path, names in zip(lists, ids, strict=True)
    )
    return train, val
