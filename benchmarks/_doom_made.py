"""Two small sets made of Doom's test objects, for protocols whose layout the Doom world has not.

``copies``: changed copies of single pictures (instance retrieval). ``corrupted``: every eighth test
picture under four corruptions of five severities (ImageNet-C's layout). Kept once made.
"""

from __future__ import annotations

import io
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

_THINGS, _COPIES, _EVERY = 10, 4, 8
_NOISE = (0.04, 0.08, 0.12, 0.18, 0.26)  # deviation, of a range of 1
_BLUR = (0.5, 1.0, 1.5, 2.0, 3.0)  # deviation in pixels
_CONTRAST = (0.6, 0.4, 0.3, 0.2, 0.1)  # share that is left
_JPEG = (40, 25, 15, 10, 7)  # quality


def made(data: Path, name: str) -> Path:
    """The folder of a set below ``data``, made if it is not there."""
    out = data / name
    if not out.is_dir():
        partial = data / f".{name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        {"copies": _copies, "corrupted": _corrupted}[name](data.absolute() / "objects", partial)
        partial.rename(out)
    return out


def _copies(objects: Path, out: Path) -> None:
    """Every tenth picture is a thing: a copy asks for three others; as many more distract."""
    draw = np.random.default_rng(0)
    pictures = list(_pictures(objects / "test"))
    for i, path in enumerate(pictures[::_THINGS]):
        with Image.open(path) as file:
            image = file.convert("RGB")
        for copy in range(_COPIES):
            folder = out / ("gallery" if copy else "query") / f"{i:04d}"
            folder.mkdir(parents=True, exist_ok=True)
            _changed(image, draw).save(folder / f"{copy}.png")
    folder = out / "gallery" / "_distractor"
    folder.mkdir()
    for i, path in enumerate(pictures[_THINGS // 2 :: _THINGS]):
        shutil.copy(path, folder / f"{i:04d}.png")


def _changed(image: Image.Image, draw: np.random.Generator) -> Image.Image:
    """Turned by up to 15 degrees, 65 to 90 % of the side, somewhere, lighter or darker."""
    side, angle = image.width, math.radians(draw.uniform(-15, 15))
    scale = draw.uniform(0.65, 0.9)
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    x, y = side / 2 + draw.uniform(-0.05, 0.05, 2) * side
    half = side / 2
    turned = image.transform(
        image.size,
        Image.Transform.AFFINE,
        (cos, -sin, x - half * (cos - sin), sin, cos, y - half * (sin + cos)),
        Image.Resampling.BICUBIC,
    )
    power = 2 ** draw.uniform(-0.7, 0.7)
    return turned.point([round(255 * (v / 255) ** power) for v in range(256)] * 3)


def _corrupted(objects: Path, out: Path) -> None:
    draw = np.random.default_rng(0)
    out.mkdir(parents=True)
    (out / "train").symlink_to(objects / "train")
    kinds: dict[str, Callable[[Image.Image, int], Image.Image]] = {
        "gaussian_noise": lambda image, i: _noisy(image, _NOISE[i], draw),
        "gaussian_blur": lambda image, i: image.filter(ImageFilter.GaussianBlur(_BLUR[i])),
        "contrast": lambda image, i: _paler(image, _CONTRAST[i]),
        "jpeg": lambda image, i: _coded(image, _JPEG[i]),
    }
    for path in list(_pictures(objects / "test"))[::_EVERY]:
        name = Path(path.parent.name) / path.name
        (out / "test" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, out / "test" / name)
        with Image.open(path) as file:
            image = file.convert("RGB")
        for kind, corrupt in kinds.items():
            for severity in range(5):
                to = out / "corrupted" / kind / str(severity + 1) / name
                to.parent.mkdir(parents=True, exist_ok=True)
                corrupt(image, severity).save(to)


def _noisy(image: Image.Image, deviation: float, draw: np.random.Generator) -> Image.Image:
    values = np.asarray(image) + 255 * draw.normal(0, deviation, (*image.size[::-1], 3))
    return Image.fromarray(values.round().clip(0, 255).astype(np.uint8))


def _paler(image: Image.Image, share: float) -> Image.Image:
    values = np.asarray(image, np.float64)
    mean = values.mean((0, 1))
    return Image.fromarray((mean + share * (values - mean)).round().astype(np.uint8))


def _coded(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    with Image.open(file) as again:
        return again.convert("RGB")


def _pictures(folder: Path) -> Iterator[Path]:
    """In the order of classes and names."""
    for one in sorted(p for p in folder.iterdir() if p.is_dir()):
        yield from sorted(one.glob("*.png"))
