"""How quickly a pile of pictures becomes batches, stage by stage, and what to do about it."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from foveal.core import rng
from foveal.core.batch import as_images
from foveal.core.cores import share_cores
from foveal.core.memory import available_memory
from foveal.data.cache import Tier, expected_bytes, fits_jpeg, open_cache
from foveal.data.files import FileSource
from foveal.data.images import decode
from foveal.data.loader import Loader, StreamPlan, Table
from foveal.data.picture import Pixels, with_channels
from foveal.data.sources import Source, Subset, open_source
from foveal.engine.plan import view_size
from foveal.errors import BadImage, FovealError
from foveal.views.make import make_view
from foveal.views.presets import simclr_view
from foveal.views.spec import View
from foveal.views.table import COLUMNS

_LOOKED_AT = 128  # pictures measured
_VIEWS = 2
_BATCH = 32
_WORTH = 1.2  # times faster, below which nobody should rearrange anything
_SHORT = 256  # px kept by the tiers that are tried
_OF_MEMORY = 0.5  # share of free memory below which files are read from it after one pass


@dataclass(frozen=True)
class TierSpeed:
    """What a cache tier would give.

    Attributes:
        tier: ``raw`` or ``jpeg``.
        ms: Milliseconds a picture takes on one thread, views included.
        times: How many times faster than now.
        gigabytes: Size of the copy.
        in_memory: Whether the copy fits into memory, as this estimate takes for granted.
    """

    tier: Literal["raw", "jpeg"]
    ms: float
    times: float
    gigabytes: float
    in_memory: bool


@dataclass(frozen=True)
class DataSpeed:
    """What was measured; milliseconds are for one picture on one thread.

    Attributes:
        data: What the user pointed at.
        pictures: In all.
        looked_at: Measured.
        unreadable: Of a sample of ``looked_at`` and these.
        size: Side of the views, px.
        views: Views a picture.
        threads: Threads of the loader in a run on this machine.
        device: Where batches are copied.
        kilobytes: Of a file; None where pictures are not encoded files.
        disk_ms: Reading a file that is not in memory; None where that cannot be measured.
        memory_ms: Reading it from memory; None where there is no file.
        decode_ms: Bytes to pixels; without files, getting the pixels.
        views_ms: Pixels to ``views`` SimCLR views.
        copy_ms: Views to float tensors on the device.
        in_memory: Whether all files fit into free memory: the disk is then asked once.
        per_s: Pictures a second the loader made, all together, files in memory.
        tiers: What cache tiers would give.
        bound: The stage that takes most: ``disk``, ``decode``, ``views`` or ``copy``.
        says: That, and what to change, in words.
    """

    data: str
    pictures: int
    looked_at: int
    unreadable: int
    size: int
    views: int
    threads: int
    device: str
    kilobytes: float | None
    disk_ms: float | None
    memory_ms: float | None
    decode_ms: float
    views_ms: float
    copy_ms: float
    in_memory: bool
    per_s: float
    tiers: list[TierSpeed]
    bound: str
    says: list[str]

    def to_json(self) -> dict[str, Any]:
        """Plain values; the keys are the attributes."""
        return asdict(self)


def bench_data(data: Any, *, size: int | None = None) -> DataSpeed:
    """Measures disk, decoding, views and copy on the user's pictures, each alone, then together.

    Args:
        data: Anything ``open_source`` takes.
        size: Side of the views in pixels; None: what the planner would choose.

    Raises:
        FovealError: There is no picture that can be read.
    """
    source = open_source(data)
    rows = rng.permute(rng.key(0, "bench"), len(source), np.arange(min(_LOOKED_AT, len(source))))
    disk_ms = _cold(source, rows)
    pixels, good, unreadable = _readable(source, rows)
    accelerator = torch.cuda.is_available()
    if size is None:
        size = view_size(int(np.median([min(p.shape[:2]) for p in pixels])), accelerator)
    view = simclr_view(size)
    if source.channels != 3:
        view = view.without_colour()
    threads = share_cores(accelerator=accelerator).loader
    contents = [source.content(i) for i in good]
    encoded = [c for c in contents if c is not None]
    kilobytes = float(np.mean([len(c) for c in encoded])) / 1e3 if encoded else None
    memory_ms = _ms(source.content, good) if encoded else None
    decode_ms = (
        _ms(lambda c: with_channels(decode(c).pixels, source.channels, source.bits), encoded)
        if encoded
        else _ms(source.read, good)
    )
    views_ms = _views_ms(view, pixels)
    total = (kilobytes or 0) * 1e3 * len(source)
    measured = {
        "disk": disk_ms, "memory": memory_ms, "decode": decode_ms, "views": views_ms,
        "copy": _copy_ms(view, source),
    }  # fmt: skip
    in_memory = total <= _OF_MEMORY * available_memory()
    now = ((memory_ms if in_memory else disk_ms) or memory_ms or 0) + decode_ms + views_ms
    sample = Subset(source, np.asarray(good, np.int64))
    tiers = _tiers(sample, view, views_ms, now, len(source) / len(good)) if encoded else []
    bound = _bound(measured, in_memory, threads)
    per_s = _together(sample, view, threads)
    return DataSpeed(
        data=source.root,
        pictures=len(source),
        looked_at=len(good),
        unreadable=unreadable,
        size=size,
        views=_VIEWS,
        threads=threads,
        device="cuda" if accelerator else "cpu",
        kilobytes=kilobytes,
        disk_ms=disk_ms,
        memory_ms=memory_ms,
        decode_ms=decode_ms,
        views_ms=views_ms,
        copy_ms=measured["copy"] or 0.0,
        in_memory=in_memory,
        per_s=per_s,
        tiers=tiers,
        bound=bound,
        says=_words(bound, measured, in_memory, kilobytes, tiers, size),
    )


def render(found: DataSpeed) -> str:
    """The measurement for a terminal."""

    def line(name: str, ms: float | None, what: str) -> str:
        value = "       -" if ms is None else f"{ms:8.3f}"
        return f"  {name:8s}{value} ms  {what}"

    size = "" if found.kilobytes is None else f" of {found.kilobytes:,.0f} kB"
    rate = ""
    if found.disk_ms and found.kilobytes:
        rate = f", {found.kilobytes / found.disk_ms:,.0f} MB/s"
    lines = [
        f"{found.data}: {found.pictures:,} pictures{size}, {found.looked_at} measured"
        + (f", {found.unreadable} unreadable" if found.unreadable else ""),
        "",
        "one picture on one thread:",
        line("disk", found.disk_ms, f"a file that is not in memory{rate}"),
        line("memory", found.memory_ms, "a file that is"),
        line("decode", found.decode_ms, "to pixels"),
        line("views", found.views_ms, f"{found.views} SimCLR views of {found.size} px"),
        line("copy", found.copy_ms, f"to float tensors on {found.device}"),
        "",
        f"the loader with the {found.threads} thread{'s' if found.threads > 1 else ''} a run gives "
        f"it: {found.per_s:,.0f} pictures/s",
    ]
    for tier in found.tiers:
        fits = "" if tier.in_memory else " (more than fits into memory: then the disk decides)"
        lines.append(
            f"with cache.tier={tier.tier}: {tier.times:.1f} times as many, "
            f"{tier.gigabytes:,.2f} GB{fits}"
        )
    return "\n".join([*lines, "", *found.says])


def _readable(source: Source, rows: NDArray[np.int64]) -> tuple[list[Pixels], list[int], int]:
    """Pixels and rows of what can be read, and how many cannot."""
    pixels, good, first = [], [], ""
    for i in rows.tolist():
        try:
            pixels.append(source.read(i))
            good.append(i)
        except BadImage as error:
            first = first or f"; {source.name(i)}: {error.message}"
    if not good:
        raise FovealError(
            f"none of the {len(rows)} pictures looked at in {source.root} can be read{first}",
            hint=f"foveal scan {source.root}",
        )
    return pixels, good, len(rows) - len(good)


def _ms(work: Callable[[Any], object], items: list[Any]) -> float:
    """Milliseconds an item takes."""
    began = time.perf_counter()
    for item in items:
        work(item)
    return (time.perf_counter() - began) / len(items) * 1e3


def _cold(source: Source, rows: NDArray[np.int64]) -> float | None:
    """Reading files the system was asked to forget; None where that is not possible."""
    paths = [_path(source, i) for i in rows.tolist()]
    files = [p for p in paths if p is not None and p.is_file() and os.access(p, os.R_OK)]
    if not files or not hasattr(os, "posix_fadvise"):
        return None
    for path in files:
        with path.open("rb") as f:
            os.fsync(f.fileno())  # what is not yet on the disk cannot be forgotten
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return _ms(Path.read_bytes, files)


def _path(source: Source, i: int) -> Path | None:
    if isinstance(source, Subset):
        return _path(source.source, int(source.rows[i]))
    return source.paths[i] if isinstance(source, FileSource) else None


def _views_ms(view: View, pictures: list[Pixels]) -> float:
    rows = np.empty((view.parts, len(COLUMNS)), np.float32)
    kind = np.uint8 if pictures[0].itemsize == 1 else np.float32
    out = np.empty(view.shape(pictures[0].shape[2]), kind)

    def make(item: tuple[int, Pixels]) -> None:
        for v in range(_VIEWS):
            make_view(view, item[1], (0, v), item[0], rows, out)

    make((0, pictures[0]))  # compiles, or loads what was compiled
    return _ms(make, list(enumerate(pictures)))


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _copy_ms(view: View, source: Source) -> float:
    cuda = torch.cuda.is_available()
    kind = torch.uint8 if source.bits == 8 else torch.float32
    batch = torch.zeros((_BATCH, *view.shape(source.channels)), dtype=kind, pin_memory=cuda)

    def copy(_: int) -> None:
        for _v in range(_VIEWS):
            as_images(batch.to("cuda", non_blocking=True) if cuda else batch)
        if cuda:
            torch.cuda.synchronize()

    with _one_thread():
        copy(0)
        return _ms(copy, list(range(5))) / _BATCH


def _tiers(
    sample: Source, view: View, views_ms: float, now: float, scale: float
) -> list[TierSpeed]:
    """Copies of the sample are made and read; views are cut from what they hold."""
    found = []
    with tempfile.TemporaryDirectory(prefix="foveal-bench-") as folder:
        kinds: tuple[Literal["raw", "jpeg"], ...] = ("raw", "jpeg")
        for kind in kinds if fits_jpeg(sample) else kinds[:1]:
            tier = Tier(kind, _SHORT)
            copy = open_cache(sample, tier, Path(folder))
            rows = list(range(len(copy)))
            small = [copy.read(i) for i in rows]
            # Never slower than from larger pictures, but for the machine's moods.
            ms = _ms(copy.read, rows) + min(views_ms, _views_ms(view, small))
            size = expected_bytes(sample, tier) * scale
            fits = size <= _OF_MEMORY * available_memory()
            found.append(TierSpeed(kind, ms, now / ms, size / 1e9, fits))
    return found


def _together(sample: Source, view: View, threads: int) -> float:
    """Pictures a second of a loader that does nothing else; files come from memory."""
    rows = np.arange(len(sample))
    batch = min(_BATCH, len(sample))
    stream = StreamPlan("main", {"a": view, "b": view}, batch)
    table = Table(sample, rows, np.full(len(rows), -1))
    with Loader(table, [stream], seed=0, threads=threads) as loader:
        for step in range(5):  # what was ready before the clock starts
            loader.get(step)
        began = time.perf_counter()
        for step in range(5, 5 + 6):
            loader.get(step)
        return 6 * batch / (time.perf_counter() - began)


def _bound(ms: dict[str, float | None], in_memory: bool, threads: int) -> str:
    """The stage that takes most. Copies run beside the threads, one at a time."""
    shares = {name: ms[name] or 0.0 for name in ("decode", "views")}
    shares["disk"] = (ms["memory"] if in_memory else ms["disk"]) or 0.0
    shares["copy"] = (ms["copy"] or 0.0) * threads
    return max(shares, key=lambda name: shares[name])


def _words(
    bound: str,
    ms: dict[str, float | None],
    in_memory: bool,
    kilobytes: float | None,
    tiers: list[TierSpeed],
    size: int,
) -> list[str]:
    read = (ms["memory"] if in_memory else ms["disk"]) or 0.0
    spent = {"disk": read, "decode": ms["decode"] or 0.0, "views": ms["views"] or 0.0}
    share = "" if bound == "copy" else f" ({spent[bound] / sum(spent.values()):.0%} of the time)"
    says = []
    if bound == "disk":
        says.append(f"What bounds it: reading files{share}.")
        says.append("Change: copy the data to a local disk, or keep a smaller copy there.")
    elif bound == "decode":
        says.append(f"What bounds it: decoding{share}.")
        if kilobytes is None:
            says.append("Change: the data set itself is slow; hand over files or one array.")
    elif bound == "views":
        says.append(f"What bounds it: cutting and colouring views{share}.")
        says.append(f"Change: smaller views than {size} px, or more cores; the disk is no limit.")
    else:
        says.append("What bounds it: copying batches to the device.")
        says.append("Change: smaller views; more loader threads would not help.")
    best = max(tiers, key=lambda t: (t.in_memory, t.times), default=None)
    if best is not None and best.times >= _WORTH:
        says.append(
            f"Change: cache.tier={best.tier} (foveal pretrain ... cache.tier={best.tier}) would "
            f"give {best.times:.1f} times as many for {best.gigabytes:,.2f} GB; pictures are then "
            f"at most {_SHORT} px on the short side."
        )
    elif tiers:
        says.append("A cache tier would not help much here.")
    if kilobytes is not None and in_memory and ms["disk"] and ms["memory"]:
        says.append("After the first epoch the files are read from memory.")
    says.append(
        "A run waits for data only where its network is faster than this: its progress line says "
        "how much."
    )
    return says
