"""The labelled set of NYUv2: 1,449 pictures of rooms with depth, in one MATLAB file (HDF5).

Silberman et al., "Indoor segmentation and support inference from RGBD images", ECCV 2012. MATLAB
stores the last axis first, so ``images`` [H, W, 3, N] reads as [N, 3, W, H]. ``splits.mat`` (an
older MATLAB format) holds ``trainNdxs`` (795) and ``testNdxs`` (654), counted from 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.core.packages import package
from foveal.data.arrays import ArraySource
from foveal.data.camera import Camera, normals_from_depth
from foveal.errors import FovealError

FILE, SPLITS = "nyu_depth_v2_labeled.mat", "splits.mat"
# The colour camera in the toolbox that comes with the data, whose pixels count from 1; the depths
# are projected onto it.
CAMERA = Camera(fx=518.857901, fy=519.469611, cx=325.582449 - 1, cy=253.736166 - 1)
_SIZE = (480, 640)
_LAYOUT = f"DATA/{FILE} (images, depths) and DATA/{SPLITS} (trainNdxs, testNdxs)"


class _Turned:
    """``images`` as [N, H, W, 3], read one by one."""

    dtype = np.dtype(np.uint8)

    def __init__(self, images: Any, rows: NDArray[np.int64]) -> None:
        self.images, self.rows = images, rows
        _, channels, width, height = images.shape
        self.shape = (len(rows), height, width, channels)

    def __getitem__(self, i: int, /) -> NDArray[np.uint8]:
        picture: NDArray[np.uint8] = self.images[int(self.rows[i])].transpose(2, 1, 0)
        return picture


class NyuScenes(ArraySource):
    """One part of NYUv2. Depths are the filled-in ones, in metres.

    Attributes:
        things: Empty: its hundreds of labels are not read.
        unit: Metres.
    """

    def __init__(self, root: str, path: Path, file: Any, rows: NDArray[np.int64]) -> None:
        super().__init__(root, _Turned(file["images"], rows))
        self.path, self.rows, self._depths = path, rows, file["depths"]
        self.things: list[str] = []
        self.unit = "metre"

    def segmentation(self, i: int) -> NDArray[np.uint8]:
        """Not read: raises."""
        raise FovealError(
            f"{self.path} has no segmentation that foveal reads: its labels are hundreds of names "
            "without an agreed set of classes",
            hint="--protocol depth,normals",
        )

    def depth(self, i: int) -> NDArray[np.float32]:
        """Metres, float32 [H, W]; 0 unknown."""
        return np.ascontiguousarray(self._depths[int(self.rows[i])].T, np.float32)

    def normals(self, i: int) -> NDArray[np.float32]:
        """From depth and the camera, float32 [H, W, 3]; zero vectors unknown."""
        depth = self.depth(i)
        scale = depth.shape[1] / _SIZE[1]
        c = CAMERA
        camera = c if scale == 1 else Camera(*(scale * x for x in (c.fx, c.fy, c.cx, c.cy)))
        return normals_from_depth(depth, camera)

    def fingerprint(self) -> str:
        """See ``Source``: the file's size and time of change, and the rows."""
        stat = self.path.stat()
        return f"{stat.st_size}-{stat.st_mtime_ns}-{self.rows.sum()}-{len(self.rows)}"


def is_nyu(folder: Path) -> bool:
    """Whether a folder holds the file."""
    return (folder / FILE).is_file()


def open_nyu(text: str, folder: Path) -> tuple[NyuScenes, NyuScenes]:
    """The training and the test part.

    Raises:
        FovealError: A file is missing or wrong, or h5py is not installed.
    """
    h5py = package("h5py", extra="scenes", why="NYUv2's file needs h5py")
    from scipy.io import loadmat

    path, splits = folder / FILE, folder / SPLITS
    try:
        file = h5py.File(path, "r")
        n = file["images"].shape[0]
        if file["depths"].shape != (n, *file["images"].shape[2:]) or file["images"].ndim != 4:
            raise ValueError(f"images {file['images'].shape}, depths {file['depths'].shape}")
    except (OSError, KeyError, ValueError) as error:
        raise FovealError(f"{path} is not NYUv2's labelled set: {error}", hint=_LAYOUT) from None
    try:
        lists = loadmat(splits)
        rows = [lists[name].reshape(-1).astype(np.int64) - 1 for name in ("trainNdxs", "testNdxs")]
        if min(r.min() for r in rows) < 0 or max(r.max() for r in rows) >= n:
            raise ValueError(f"it names pictures outside of 1 to {n}")
    except (OSError, KeyError, ValueError) as error:
        raise FovealError(f"{splits} does not hold the splits: {error}", hint=_LAYOUT) from None
    train, test = (
        NyuScenes(f"{text}/{name}", path, file, part)
        for name, part in zip(("train", "test"), rows, strict=True)
    )
    return train, test
