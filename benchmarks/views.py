"""Views against the peers' pipelines, one thread, same pictures, same parameters: ratios.

    /work/peers/bin/python benchmarks/views.py [--rounds 15] [--only ROW]

The peers live in an environment of their own, which also has foveal:

    python -m venv peers
    peers/bin/pip install . torch==2.14.1 torchvision==0.29.1 lightly==1.6.0 \\
        "albumentationsx[headless]==2.5.1" kornia==0.9.0

From decoded pictures (uint8 in memory) to uint8 views; lightly's transform ends in floats. Crops
are bilinear with antialiasing everywhere, since lightly's are. A and B alternate in one run; times
are processor time of the thread, medians over the rounds.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from typing import Any

import albumentations
import cv2
import kornia.augmentation as K
import lightly
import numpy as np
import torch
import torchvision
from lightly.transforms.simclr_transform import SimCLRViewTransform
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torchvision.transforms import v2

from _ab import Times, in_turn, machine
from foveal.views.make import make_view
from foveal.views.presets import dino_views, simclr_view
from foveal.views.spec import View
from foveal.views.table import COLUMNS

Pixels = NDArray[np.uint8]
BILINEAR = v2.InterpolationMode.BILINEAR


def photos(n: int, height: int, width: int) -> list[Pixels]:
    """Pictures with the spectrum of photographs (amplitude 1 / frequency), in colour."""
    draw = np.random.default_rng(0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(width), np.fft.fftfreq(height))) + 1 / width
    pictures = []
    for _ in range(n):
        noise = np.fft.fft2(draw.normal(size=(3, height, width))) / frequency
        x = np.fft.ifft2(noise).real.transpose(1, 2, 0) @ (np.eye(3) + 0.3 * draw.normal(size=3))
        pictures.append(((x - x.mean()) / x.std() * 50 + 120).clip(0, 255).astype(np.uint8))
    return pictures


def ours(views: list[View], pictures: list[Pixels]) -> Callable[[], None]:
    """All views of every picture; other positions, so other draws, at every call."""
    outs = [np.empty((v.size, v.size, 3), np.uint8) for v in views]
    rows = np.empty((1, len(COLUMNS)), np.float32)
    position = 0

    def run() -> None:
        nonlocal position
        for picture in pictures:
            for i, (view, out) in enumerate(zip(views, outs, strict=True)):
                make_view(view, picture, (1, i), position, rows, out)
            position += 1

    return run


def each(transforms: list[Callable[[Any], object]], inputs: list[Any]) -> Callable[[], None]:
    """All transforms of every input."""

    def run() -> None:
        for x in inputs:
            for transform in transforms:
                transform(x)

    return run


def torchvision_view(view: View) -> v2.Compose:
    """A view as torchvision's own transforms."""
    j, b = view.jitter, view.blur
    assert j is not None
    steps: list[nn.Module] = [
        v2.RandomResizedCrop(view.size, view.crop.scale, interpolation=BILINEAR, antialias=True),
        v2.RandomHorizontalFlip(view.flip),
        v2.RandomApply([v2.ColorJitter(j.brightness, j.contrast, j.saturation, j.hue)], j.p),
        v2.RandomGrayscale(view.grey),
    ]
    if b is not None:
        steps.append(v2.RandomApply([v2.GaussianBlur(view.blur_kernel, list(b.sigma))], b.p))
    if view.solarise:
        steps.append(v2.RandomSolarize(128, view.solarise))
    return v2.Compose(steps)


def albumentations_view(view: View) -> Callable[[Pixels], object]:
    j, b = view.jitter, view.blur
    assert j is not None and b is not None
    pipeline = albumentations.Compose(
        [
            albumentations.RandomResizedCrop((view.size, view.size), view.crop.scale),
            albumentations.HorizontalFlip(p=view.flip),
            albumentations.ColorJitter(
                (1 - j.brightness, 1 + j.brightness),
                (1 - j.contrast, 1 + j.contrast),
                (1 - j.saturation, 1 + j.saturation),
                (-j.hue, j.hue),
                p=j.p,
            ),
            albumentations.ToGray(p=view.grey),
            albumentations.GaussianBlur((view.blur_kernel,) * 2, b.sigma, p=b.p),
        ]
    )
    return lambda x: pipeline(image=x)


def kornia_view(view: View) -> nn.Module:
    j, b = view.jitter, view.blur
    assert j is not None and b is not None
    return K.AugmentationSequential(
        K.RandomResizedCrop((view.size, view.size), view.crop.scale),
        K.RandomHorizontalFlip(p=view.flip),
        K.ColorJitter(j.brightness, j.contrast, j.saturation, j.hue, p=j.p),
        K.RandomGrayscale(p=view.grey),
        K.RandomGaussianBlur((view.blur_kernel,) * 2, b.sigma, p=b.p),
    )


def bilinear(view: View) -> View:
    return view.model_copy(update={"interpolation": "bilinear"})


def contests() -> dict[str, tuple[list[View], list[Pixels], dict[str, Callable[[], object]]]]:
    """By row of the table: the views, the pictures, and what each peer does with them."""
    large, tiny = photos(8, 375, 500), photos(256, 32, 32)
    simclr = bilinear(simclr_view(224))
    cifar = bilinear(simclr_view(32, strength=0.5, blur=False))
    dino = [bilinear(v) for v in dino_views().values()]

    def torchvisions(views: list[View], pictures: list[Pixels]) -> dict[str, Callable[[], object]]:
        transforms = [torchvision_view(v) for v in views]
        tensors = [torch.from_numpy(p).permute(2, 0, 1).contiguous() for p in pictures]
        return {
            "torchvision v2, PIL": each(transforms, [Image.fromarray(p) for p in pictures]),
            "torchvision v2, tensors": each(transforms, tensors),
        }

    batch = torch.stack([torch.from_numpy(p).permute(2, 0, 1) for p in large]).float() / 255
    others = {
        "lightly": each(
            [SimCLRViewTransform(224, normalize=None)], [Image.fromarray(p) for p in large]
        ),
        "albumentationsx": each([albumentations_view(simclr)], large),
        "kornia, one batch": each([kornia_view(simclr)], [batch]),
    }
    return {
        "SimCLR 224": ([simclr], large, torchvisions([simclr], large) | others),
        "SimCLR 32, no blur, 256 views": ([cifar], tiny, torchvisions([cifar], tiny)),
        "DINO 2 x 224 + 8 x 96": (dino, large[:4], torchvisions(dino, large[:4])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    random.seed(0)
    torch.manual_seed(0)
    versions = {
        "torchvision": torchvision.__version__,
        "lightly": lightly.__version__,
        "albumentationsx": albumentations.__version__,
    }
    print(machine(), "; ".join(f"{name} {v}" for name, v in versions.items()), sep="; ")
    print("\n| work | against | foveal | they | times faster |\n|---|---|---|---|---|")
    for row, (views, pictures, peers) in contests().items():
        if options.only not in row:
            continue
        for peer, theirs in peers.items():
            times = in_turn(ours(views, pictures), theirs, options.rounds, time.thread_time)
            print(f"| {row} | {peer} | {_line(times, len(pictures))} |", flush=True)


def _line(times: Times, pictures: int) -> str:
    a, b = (1e3 * float(np.median(x)) / pictures for x in (times.a, times.b))
    return f"{a:.3g} ms | {b:.3g} ms | {times.ratio:.1f}"


if __name__ == "__main__":
    main()
