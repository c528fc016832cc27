"""From a recipe to the objects of a run: devices, trunk maker, method, stream plans."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from foveal.backbones.base import Backbone
from foveal.backbones.registry import build_backbone
from foveal.core import rng
from foveal.data.hierarchy import read_hierarchy
from foveal.data.loader import StreamPlan, Table
from foveal.data.masked import SoftMask
from foveal.data.scan import ScanReport
from foveal.data.sources import Source
from foveal.errors import FovealError
from foveal.methods import get_method
from foveal.methods.base import DataInfo, Method, MethodOptions, Stream
from foveal.recipe import Network, Recipe, validated
from foveal.views.spec import View


@dataclass
class RecipeMaker:
    """``BackboneMaker``: what the recipe says, unless the method asks for something else.

    Attributes:
        network: The trunk of the recipe.
        channels: Channels of the pictures.
        load: Called with every trunk that is made like the recipe's (``--init``).
    """

    network: Network
    channels: int
    load: Callable[[Backbone], None] | None = None

    def __call__(self, in_chans: int | None = None, **changes: Any) -> Backbone:
        """See ``BackboneMaker``."""
        n = self.network
        spec: dict[str, Any] = {
            "in_chans": in_chans or self.channels,
            "width": n.width,
            "stem": n.stem,
            "norm": n.norm,
            **n.extra,
            **changes,
        }
        spec["width"] = n.width * changes.get("width", 1.0)
        backbone = build_backbone(n.name, **spec)
        if self.load is not None:
            self.load(backbone)
        return backbone


def build_method(
    recipe: Recipe, info: DataInfo, load: Callable[[Backbone], None] | None = None
) -> Method:
    """The method of a recipe, weights drawn from the recipe's seed."""
    cls = get_method(recipe.method)
    if cls.needs_labels and not info.classes:
        raise FovealError(
            f"{recipe.method} learns from labels, and the data has none",
            hint="class folders, or another --method",
        )
    options = check_options(recipe)
    torch.manual_seed(rng.seed64(recipe.seed, "init"))
    method = cls(RecipeMaker(recipe.network, info.channels, load), info, options)
    return method.to(memory_format=torch.channels_last)


def check_options(recipe: Recipe) -> MethodOptions:
    """The method's options, validated; a wrong one names the nearest known."""
    cls = get_method(recipe.method)
    options: MethodOptions = validated(cls.Options, recipe.options, f"options of {recipe.method}")
    return options


def check_channels(method: Method, channels: int) -> None:
    """Refuses colour operations on pictures without red, green and blue, by name."""
    if channels == 3:
        return
    for stream in method.streams().values():
        for name, view in stream.views.items():
            if needs := view.needs_colour():
                grey = "; or channels=3, which repeats the grey channel" if channels == 1 else ""
                raise FovealError(
                    f"view '{name}' uses {', '.join(needs)}, which need three channels; the "
                    f"pictures have {channels}",
                    hint=f"--method in place of --recipe chooses views that fit{grey}; by hand: "
                    f"{' '.join(_off(method.options, view))}",
                )


def _off(options: MethodOptions, view: View) -> list[str]:
    """The ``key=value`` that switch off what needs colour in the options that hold a view."""
    return [
        f"options.{name}.{key}"
        for name, value in options
        if isinstance(value, View) and value.needs_colour() == view.needs_colour()
        for key in value.colour_off()
    ]


def data_info(
    recipe: Recipe,
    source: Source,
    scan: ScanReport,
    samples: int,
    hierarchy: str | None = None,
) -> DataInfo:
    """What the method may know of the data.

    Args:
        recipe: Of the run.
        source: The pictures.
        scan: What was found in them.
        samples: Rows of the sample table.
        hierarchy: Lines ``child,parent``.
    """
    mean = tuple(scan.mean)
    # A channel without any variation would be divided by zero: at least a quarter of a level.
    std = tuple(max(s, 0.255 / (2**source.bits - 1)) for s in scan.std)
    if recipe.adapt is not None and recipe.adapt.mean and recipe.adapt.std:
        mean, std = recipe.adapt.mean, recipe.adapt.std
        if len(mean) != source.channels:
            raise FovealError(
                f"adapt.mean is of {len(mean)} channels, and the pictures have {source.channels}",
                hint="as many numbers in adapt.mean and adapt.std",
            )
    positives = None
    if hierarchy is not None:
        found = read_hierarchy(hierarchy, source.classes or [], recipe.labels.hierarchy or "")
        positives = torch.from_numpy(found.positives)
    return DataInfo(
        samples=samples,
        channels=source.channels,
        mean=mean,
        std=std,
        classes=len(source.classes or []),
        positives=positives,
        seed=recipe.seed,
        batch=recipe.batch,
        size=recipe.evaluation.size,
        fraction=recipe.evaluation.fraction,
    )


def subset(scan: ScanReport, count: int | None, seed: int) -> ScanReport:
    """The scan with ``count`` of the good rows, the others as if they were not there.

    Drawn by the seed alone: the pictures of a smaller count are among those of a larger one.

    Raises:
        FovealError: There are fewer.
    """
    if count is None:
        return scan
    if count > len(scan.good):
        raise FovealError(
            f"pictures={count:,}, and {scan.root} has {len(scan.good):,} that can be read",
            hint=f"pictures={len(scan.good)} or fewer",
        )
    rows = rng.permute(rng.key(seed, "pictures"), len(scan.good), np.arange(count))
    return replace(scan, good=np.sort(scan.good[rows]))


def build_table(source: Source, scan: ScanReport, method_samples: Any = None) -> Table:
    """The samples that can be drawn: good files only."""
    labels = source.labels
    if method_samples is None:
        image = np.asarray(scan.good, np.int64)
        box, targets = None, {}
    else:
        good = np.zeros(len(source), bool)
        good[scan.good] = True
        keep = good[method_samples.image]
        image = method_samples.image[keep]
        box = None if method_samples.box is None else method_samples.box[keep]
        targets = {
            name: values if isinstance(values, SoftMask) else values[keep]
            for name, values in method_samples.targets.items()
        }
    label = np.full(len(image), -1, np.int64) if labels is None else labels[image]
    return Table(source, image, label, box, targets, stats=scan.stats)


def stream_plans(streams: dict[str, Stream], batch: int) -> list[StreamPlan]:
    """The method's streams as the loader draws them."""
    counting = [name for name, stream in streams.items() if stream.counts_epoch]
    if len(counting) != 1:
        raise FovealError(f"exactly one stream counts epochs; here {counting or 'none'}")
    return [
        StreamPlan(name, s.views, max(1, round(s.size * batch)), s.every, s.labelled)
        for name, s in streams.items()
    ]


def make_fabric(recipe: Recipe, *, find_unused: bool) -> Fabric:
    """Devices, ranks and precision. Works alone, under torchrun and under SLURM."""
    from lightning_fabric.strategies.ddp import DDPStrategy

    cuda = torch.cuda.is_available()
    launched = int(os.environ.get("WORLD_SIZE", "1")) > 1
    devices: int | str = recipe.machine.devices
    if devices == "auto" and not cuda:
        devices = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if launched else 1
    several = launched or (
        torch.cuda.device_count() > 1 if devices == "auto" and cuda else devices not in (1, "auto")
    )
    strategy: Any = "auto"
    if several:
        # Buffers are the same on every rank (or belong to the rank): rank 0 must not overwrite.
        strategy = DDPStrategy(broadcast_buffers=False, find_unused_parameters=find_unused)
    return Fabric(
        accelerator="cuda" if cuda else "cpu",
        devices=devices,
        strategy=strategy,
        precision=_precision(recipe.machine.precision),
    )


def _precision(asked: str) -> Any:
    """bf16 where the accelerator has it. A CPU computes in float32 unless told otherwise."""
    cuda = torch.cuda.is_available()
    if asked == "auto":
        return "bf16-mixed" if cuda and torch.cuda.is_bf16_supported() else "32-true"
    if asked == "bf16" and cuda and not torch.cuda.is_bf16_supported():
        raise FovealError("this accelerator has no bf16", hint="machine.precision=32")
    return {"32": "32-true", "bf16": "bf16-mixed"}[asked]


class Call:
    """Arguments of a forward, opaque to what Fabric and DDP do to tensors on the way in."""

    def __init__(self, batch: Any, progress: Any) -> None:
        self.batch, self.progress = batch, progress


class ForwardOnly(nn.Module):
    """The part of a method that goes through DDP and autocast: ``forward`` and nothing else."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, call: Call) -> Any:
        """Runs the method's networks."""
        return self.method(call.batch, call.progress)
