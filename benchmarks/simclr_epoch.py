"""A SimCLR epoch from JPEG files: what it takes beyond the bare forward and backward.

    PEERS/bin/python benchmarks/simclr_epoch.py [--pictures 2048] [--batch 128] [--rounds 3] [--cpu]

A folder of 500x375 photographs' size (1/f noise, quality 90), 64-px views, the demo's backbone,
AdamW, all cores. In turn, an epoch each: the network alone on a batch that is already there
(forward, loss, backward); foveal's own step on such a batch; foveal's own loop from the files (a
first epoch, and a later one, whose decoded pictures memory keeps) and from its cache tiers; and
lightly's loop as its documentation writes it (``DataLoader``, ``SimCLRTransform``,
``NTXentLoss``), with the same network, head and optimiser.
PEERS is an environment that holds foveal and lightly. ``--cpu`` counts processor time of this
process and its workers with one torch thread, which another load on the machine hardly changes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from _ab import machine
from foveal.core.batch import Batch
from foveal.core.cores import available_cores, share_cores
from foveal.data.kept import keep_decoded
from foveal.data.loader import Loader
from foveal.data.scan import scan
from foveal.data.sources import open_source
from foveal.engine.build import build_method, build_table, data_info, make_fabric
from foveal.engine.cachetier import decided, pixels_of
from foveal.engine.runfolder import RunFolder
from foveal.engine.screen import ProgressScreen
from foveal.engine.trainer import Trainer
from foveal.losses.infonce import nt_xent
from foveal.recipe import Recipe, override
from foveal.recipes import get_recipe
from foveal.views.presets import simclr_view

SIZE = 64


def write_photos(folder: Path, n: int) -> None:
    """Pictures with the spectrum of photographs, so that they compress like them."""
    generator = np.random.default_rng(0)
    fy, fx = np.fft.fftfreq(375)[:, None], np.fft.rfftfreq(500)[None]
    falloff = 1 / np.maximum(np.hypot(fy, fx), 1 / 500)
    for i in range(n):
        phase = np.exp(2j * np.pi * generator.random((3, *falloff.shape)))
        x = np.fft.irfft2(falloff * phase, s=(375, 500))
        x = 128 + 50 * (x - x.mean((1, 2), keepdims=True)) / x.std((1, 2), keepdims=True)
        image = Image.fromarray(x.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))
        image.save(folder / f"{i:05d}.jpg", quality=90)


class Ours:
    """The loop of ``foveal pretrain`` without what happens once (scan, probe, report)."""

    def __init__(self, folder: Path, run: Path, recipe: Recipe, *, keep: bool = False) -> None:
        source = open_source(folder)
        report = scan(source)
        recipe, _ = decided(recipe, source)
        self.method = build_method(recipe, data_info(recipe, source, report, len(report.good)))
        table = build_table(pixels_of(recipe, source, print), report)
        share = recipe.machine.keep_decoded if keep else 0.0
        self.table = replace(table, kept=keep_decoded(table.source, table.image, share))
        self.recipe, self.steps = recipe, len(self.table) // recipe.batch
        cores = share_cores(accelerator=torch.cuda.is_available(), total=available_cores())
        fabric = make_fabric(recipe, find_unused=False)
        fabric.launch()
        self.trainer = Trainer(
            self.method, recipe, self.table, RunFolder(run), fabric, cores,
            ProgressScreen(quiet=True), known_bad=[],
        )  # fmt: skip

    def loader(self) -> Loader:
        t = self.trainer
        on_cpu = t.fabric.device.type == "cpu"
        return Loader(
            self.table, list(t.plans.values()), seed=0, threads=t.threads, in_turn=on_cpu,
            prefetch=self.recipe.machine.prefetch, pin=not on_cpu,
        )  # fmt: skip

    def epoch(self) -> None:
        with self.loader() as loader:
            self._steps(loader)

    def ready(self) -> Callable[[], None]:
        """An epoch of steps on one batch that is there: what the loop adds to the network."""
        with self.loader() as loader:
            kept = _Kept(loader.get(0))
        return lambda: self._steps(kept)

    def _steps(self, loader: Loader | _Kept) -> None:
        t = self.trainer
        self.method.train()
        for _ in range(self.steps):
            t._step(loader, t._progress(), stop=False)
            t.step += 1
            for _ in t.readback.take():
                pass
        t.step = 0


class _Kept:
    """In the loader's place: always the same batch."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def get(self, step: int) -> Batch:
        return self.batch


class Bare:
    """Forward, loss and backward of the same network on views that lie ready."""

    def __init__(self, ours: Ours) -> None:
        self.method, self.steps = build_method(ours.recipe, ours.method.data).train(), ours.steps
        x = torch.rand(2 * ours.recipe.batch, 3, SIZE, SIZE)
        self.x = x.to(memory_format=torch.channels_last)

    def epoch(self) -> None:
        for _ in range(self.steps):
            a, b = self.method.head(self.method.trunk(self.x)["pooled"]).chunk(2)
            nt_xent(a, b, temperature=0.1)[0].backward()
            self.method.zero_grad(set_to_none=True)


class Lightlys:
    """As lightly's documentation trains SimCLR: one forward a view, the views' mean loss."""

    def __init__(self, folder: Path, ours: Ours, workers: int) -> None:
        from lightly.data import LightlyDataset
        from lightly.loss import NTXentLoss
        from lightly.transforms import SimCLRTransform

        method = build_method(ours.recipe, ours.method.data)
        self.net = torch.nn.ModuleDict({"trunk": method.trunk, "head": method.head}).train()
        self.criterion = NTXentLoss(temperature=0.1)
        self.optimiser = torch.optim.AdamW(self.net.parameters(), lr=2e-3, weight_decay=0.05)
        data = LightlyDataset(str(folder), transform=SimCLRTransform(input_size=SIZE))
        self.loader = DataLoader(
            data, batch_size=ours.recipe.batch, shuffle=True, drop_last=True,
            num_workers=workers, persistent_workers=workers > 0,
        )  # fmt: skip

    def epoch(self) -> None:
        for (a, b), _, _ in self.loader:
            za, zb = (self.net["head"](self.net["trunk"](x)["pooled"]) for x in (a, b))
            loss = self.criterion(za, zb)
            loss.backward()
            self.optimiser.step()
            self.optimiser.zero_grad()


def seconds(work: Callable[[], None], clock: Callable[[], float]) -> float:
    began = clock()
    work()
    return clock() - began


def processor_seconds() -> float:
    """Of this process and its workers."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        if os.getpid() in (int(stat.parent.name), int(fields[1])):
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpu", action="store_true", help="processor time, one thread")
    o = parser.parse_args()
    clock = processor_seconds if o.cpu else time.perf_counter
    cores = available_cores()
    view = simclr_view(SIZE).model_dump(mode="json")
    changes = {"batch": o.batch, "options": {"view": view}, "evaluation": {"size": SIZE}}
    # What is prefetched at the end of an epoch belongs to the next, which here is never run.
    changes["machine"] = {"prefetch": 1}
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "photos"
        folder.mkdir()
        write_photos(folder, o.pictures)
        changes["machine"]["cache_folder"] = str(Path(work) / "cache")
        recipe = override(get_recipe("simclr/small"), changes)
        tiers = {
            tier: Ours(folder, Path(work) / tier, override(recipe, {"cache": {"tier": tier}}))
            for tier in ("none", "jpeg", "raw")
        }
        ours = tiers["none"]
        keeping = Ours(folder, Path(work) / "keeping", recipe, keep=True)
        torch.set_num_threads(1 if o.cpu else cores)
        print(machine())
        loops = {
            "bare": Bare(ours).epoch,
            "foveal, views ready": ours.ready(),
            "foveal, files, first epoch": ours.epoch,
            "foveal, files, later epochs": keeping.epoch,
            "foveal, cache.tier=jpeg": tiers["jpeg"].epoch,
            "foveal, cache.tier=raw": tiers["raw"].epoch,
            "lightly": Lightlys(folder, ours, workers=cores).epoch,
        }
        for epoch in loops.values():
            epoch()  # compiles kernels, starts workers, warms the page cache
        times: dict[str, list[float]] = {name: [] for name in loops}
        for _ in range(o.rounds):
            for name, epoch in loops.items():
                times[name].append(seconds(epoch, clock))
    pictures = ours.steps * o.batch
    bare, theirs = times["bare"], times["lightly"]
    print("| loop | ms a picture | beyond the bare step | of lightly's |")
    print("|---|---:|---:|---:|")
    for name, t in times.items():
        ms = 1e3 * statistics.median(t) / pictures
        share = statistics.median((x - b) / b for x, b in zip(t, bare, strict=True))
        of = statistics.median((x - b) / (y - b) for x, b, y in zip(t, bare, theirs, strict=True))
        print(f"| {name} | {ms:.2f} | {share:.1%} | {of:.2f} |")


if __name__ == "__main__":
    main()
