"""Pictures a second from a folder of JPEGs to two normalised SimCLR views, beside torchvision.

``python benchmarks/loader.py`` draws its own pictures (500x375, quality 90), needs nothing but
foveal and torchvision, and prints the table of docs/performance.md. What is compared:

* torch's DataLoader with a worker a core and torchvision's v2 transforms, on Pillow pictures and on
  tensors of torchvision's own decoder;
* foveal's loader with a thread a core, from the files and from each cache tier.

All make the same two views (224 px, SimCLR's colours and blur) as float tensors, normalised. They
take turns in one run, so that a machine that slows down slows all of them; a turn begins when the
others have gone quiet and discards what was prepared before. Ratios are medians over the rounds, to
the faster torchvision: of the time that passed, and of the processor time of all threads and
workers, on which other users of the machine have less influence.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
import simplejpeg
import torch
import torchvision
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms import v2

from _ab import machine
from foveal.backbones.inputs import Normalise
from foveal.core.cores import available_cores
from foveal.data.loader import Loader, StreamPlan, Table
from foveal.data.sources import Source, open_source
from foveal.data.tiers import read_through
from foveal.views.spec import Blur, Crop, Jitter, View

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TIERS = {
    "files": {"kind": "none"},
    "files, scaled decoding": {"kind": "none", "scaled": True},
    "cache.tier=jpeg": {"kind": "jpeg"},
    "cache.tier=raw": {"kind": "raw"},
}


def draw_photos(folder: Path, count: int, seed: int = 0) -> None:
    """1/f noise with a few flat shapes: about as hard to encode as a photo (100 kB)."""
    draw = np.random.default_rng(seed)
    height, width = 375, 500
    y, x = np.mgrid[:height, :width]
    decay = 1 / np.sqrt(np.fft.fftfreq(height)[:, None] ** 2 + np.fft.rfftfreq(width) ** 2 + 1e-5)
    for i in range(count):
        noise = draw.standard_normal((4, *decay.shape)) + 1j * draw.standard_normal(
            (4, *decay.shape)
        )
        planes = np.fft.irfft2(noise * decay, (height, width))
        planes /= planes.std((1, 2), keepdims=True)
        # Channels of a photo go together.
        pixels = 128 + 45 * (0.9 * planes[:1] + 0.35 * planes[1:]).transpose(1, 2, 0)
        for _ in range(6):
            top, left, radius = draw.uniform((0, 0, 15), (height, width, 80))
            inside = (y - top) ** 2 + (x - left) ** 2 < radius**2
            pixels[inside] = 0.3 * pixels[inside] + 0.7 * draw.uniform(0, 255, 3)
        data = simplejpeg.encode_jpeg(
            np.ascontiguousarray(pixels.clip(0, 255).astype(np.uint8)), 90, colorsubsampling="420"
        )
        (folder / f"{i:05d}.jpg").write_bytes(data)


class TwoViews(Dataset):
    """What most people run: one decode, two transforms, in a worker process."""

    def __init__(self, paths: list[str], decoder: str, size: int) -> None:
        self.paths, self.decoder = paths, decoder
        jitter = v2.ColorJitter(0.8, 0.8, 0.8, 0.2)
        self.transform = v2.Compose(
            [
                v2.RandomResizedCrop(size, scale=(0.08, 1.0), antialias=True),
                v2.RandomHorizontalFlip(),
                v2.RandomApply([jitter], p=0.8),
                v2.RandomGrayscale(0.2),
                v2.RandomApply([v2.GaussianBlur((size // 10) | 1, (0.1, 2.0))], p=0.5),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return 10**9  # rounds never reach the end of an epoch

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        path = self.paths[i % len(self.paths)]
        if self.decoder == "pillow":
            with Image.open(path) as image:
                picture = image.convert("RGB")
        else:
            picture = decode_jpeg(read_file(path), ImageReadMode.RGB)
        return self.transform(picture), self.transform(picture)


def peer(paths: list[str], decoder: str, size: int, batch: int, workers: int) -> Generator[object]:
    """Endless batches of torch's loader."""
    loader = DataLoader(
        TwoViews(paths, decoder, size), batch, num_workers=workers, prefetch_factor=2
    )
    yield from loader


def ours(source: Source, size: int, batch: int, threads: int) -> Generator[object]:
    """Endless batches of foveal's loader, as float tensors, normalised as an encoder does it."""
    view = View(
        size=size,
        crop=Crop(kind="random_resized", scale=(0.08, 1.0)),
        jitter=Jitter(p=0.8, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2),
        grey=0.2,
        blur=Blur(p=0.5, sigma=(0.1, 2.0)),
    )
    rows = np.arange(len(source))
    table = Table(source, rows, np.full(len(rows), -1))
    normalise = Normalise(MEAN, STD)
    stream = StreamPlan("main", {"a": view, "b": view}, batch)
    with Loader(table, [stream], seed=0, threads=threads, prefetch=2) as loader:
        step = 0
        while True:
            got = loader.get(step)["main"]
            yield normalise(got.images("a")), normalise(got.images("b"))
            step += 1


def processor_seconds() -> float:
    """Of this process and its living workers."""
    ticks = 0
    for child in multiprocessing.active_children():
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def settle() -> None:
    """Waits until nobody prepares anything any more."""
    for _ in range(200):
        before = processor_seconds()
        time.sleep(0.3)
        if processor_seconds() - before < 0.02:
            return


def timed(batches: Generator[object], discard: int, count: int) -> tuple[float, float]:
    """Seconds that pass, and of processors, a batch, after ``discard`` of them."""
    settle()
    for _ in range(discard):
        next(batches)
    began, used = time.perf_counter(), processor_seconds()
    for _ in range(count):
        next(batches)
    return (time.perf_counter() - began) / count, (processor_seconds() - used) / count


def decoders(folder: Path, rounds: int) -> dict[str, float]:
    """Milliseconds of one processor to decode one picture."""
    data = [p.read_bytes() for p in sorted(folder.glob("*.jpg"))[:24]]
    ways: dict[str, Callable[[bytes], object]] = {
        "simplejpeg (used)": lambda x: simplejpeg.decode_jpeg(x, "RGB", strict=True),
        "simplejpeg to a half": lambda x: simplejpeg.decode_jpeg(
            x, "RGB", min_height=188, min_width=188, strict=True
        ),
        "torchvision": lambda x: decode_jpeg(
            torch.frombuffer(bytearray(x), dtype=torch.uint8), ImageReadMode.RGB
        ),
        "Pillow": lambda x: np.asarray(_pillow(x)),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, decode in ways.items():
            began = time.process_time()
            for x in data:
                decode(x)
            taken[name].append((time.process_time() - began) / len(data) * 1e3)
    return {name: statistics.median(t) for name, t in taken.items()}


def large_photo(rounds: int) -> dict[str, float]:
    """Milliseconds of one processor for a 12-megapixel JPEG, whole and as ``cache.scaled`` does."""
    draw = np.random.default_rng(0)
    coarse = draw.integers(0, 256, (300, 400, 3)).astype(np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((4000, 3000), Image.Resampling.BICUBIC))
    pixels = (smooth + draw.normal(0, 6, smooth.shape)).clip(0, 255).astype(np.uint8)
    data = simplejpeg.encode_jpeg(pixels, 90, colorsubsampling="420")
    taken: dict[str, list[float]] = {"12 megapixels": [], "12 megapixels, cache.scaled": []}
    for _ in range(rounds):
        for name, side in zip(taken, (0, 256), strict=True):
            began = time.process_time()
            simplejpeg.decode_jpeg(data, "RGB", min_height=side, min_width=side, strict=True)
            taken[name].append((time.process_time() - began) * 1e3)
    return {name: statistics.median(t) for name, t in taken.items()}


def _pillow(data: bytes) -> Image.Image:
    import io

    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, help="a folder of JPEGs instead of drawn ones")
    parser.add_argument("--count", type=int, default=256, help="pictures drawn")
    parser.add_argument("--size", type=int, default=224, help="side of the views")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    options = parser.parse_args()
    cores = available_cores()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="foveal-bench-") as made:
        folder = options.photos or Path(made) / "photos"
        if not options.photos:
            folder.mkdir()
            draw_photos(folder, options.count)
        paths = sorted(str(p) for p in folder.rglob("*.jpg"))
        stored = statistics.mean(os.path.getsize(p) for p in paths)
        source = open_source(str(folder))
        runs: dict[str, Generator[object]] = {}
        for decoder in ("pillow", "torchvision"):
            name = f"DataLoader, torchvision v2 on {decoder}"
            runs[name] = peer(paths, decoder, options.size, options.batch, cores)
        for name, tier in TIERS.items():
            given = {"short": 256, "quality": 90, "scaled": False, **tier}
            read = read_through(source, folder=Path(made) / "copies", **given)
            runs[f"foveal, {name}"] = ours(read, options.size, options.batch, cores)
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
        for _ in range(options.rounds):
            for name, batches in runs.items():
                slow = name.startswith("DataLoader")
                # Everything prepared before the turn: prefetch_factor x workers, or prefetch.
                discard = 2 * cores if slow else 3
                taken[name].append(timed(batches, discard, 4 if slow else 12))
                passed, used = (1e3 * x / options.batch for x in taken[name][-1])
                print(f"{name}: {passed:.2f} ms, {used:.2f} ms of processors", file=sys.stderr)
        for batches in runs.values():
            batches.close()
        decode = decoders(folder, options.rounds) | large_photo(options.rounds)
    print(f"{machine()}, torchvision {torchvision.__version__}; two views of {options.size} px, "
          f"{stored / 1e3:.0f} kB a JPEG, {cores} cores, batch {options.batch}, medians of "
          f"{options.rounds} rounds in turn\n")  # fmt: skip
    print("| loader | pictures/s | ratio | ms of processors a picture | ratio |")
    print("|---|---:|---:|---:|---:|")
    # The faster way of torchvision in each round, by time passed and by processors.
    best = [
        [min(rounds[i] for n, rounds in by.items() if n.startswith("DataLoader"))
         for i in range(options.rounds)]
        for by in ({n: [t[k] for t in turns] for n, turns in taken.items()} for k in (0, 1))
    ]  # fmt: skip
    rows = {}
    for name, turns in taken.items():
        passed, used = ([t[k] for t in turns] for k in (0, 1))
        ratios = [
            statistics.median(p / m for p, m in zip(peers, mine, strict=True))
            for peers, mine in zip(best, (passed, used), strict=True)
        ]
        speed = options.batch / statistics.median(passed)
        cost = 1e3 * statistics.median(used) / options.batch
        rows[name] = [speed, ratios[0], cost, ratios[1]]
        print(f"| {name} | {speed:.0f} | {ratios[0]:.1f} | {cost:.2f} | {ratios[1]:.1f} |")
    print("\n| decoder | ms of one processor a picture |\n|---|---:|")
    for name, value in decode.items():
        print(f"| {name} | {value:.2f} |")
    if options.json:
        options.json.write_text(json.dumps({"loaders": rows, "decode_ms": decode}))


if __name__ == "__main__":
    main()
