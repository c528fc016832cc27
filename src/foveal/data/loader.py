"""From positions in a stream to batches of views: threads, ahead of the network or in turn with it.

What a batch holds is a pure function of (seed, data, groups in force): threads only fill slots.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from foveal.core import rng
from foveal.core.batch import Batch, StreamBatch
from foveal.data.badfiles import BadFile
from foveal.data.blocks import blocks_of
from foveal.data.buffers import Ring
from foveal.data.kept import KeptPixels
from foveal.data.masked import SoftMask
from foveal.data.order import Order
from foveal.data.picture import Pixels
from foveal.data.sources import Source
from foveal.errors import BadImage, FovealError
from foveal.views.geometry import move_soft
from foveal.views.make import Box, inside, make_view
from foveal.views.spec import View
from foveal.views.table import COLUMNS

_CHUNK = 8  # samples per task: small enough to share out, large enough to hide the hand-over
_BUSY = 0.5  # of their time: threads that compute less than this wait for the disk
_ATTEMPTS = 100


@dataclass(frozen=True)
class Table:
    """The samples that can be drawn: good rows of a source.

    Attributes:
        source: Where pixels come from.
        image: Row of the source for each sample, int64 [N].
        box: Region (top, left, height, width) of each sample, [N, 4], or None.
        targets: By name, arrays [N, ...], or masks read with each sample.
        label: int64 [N], -1 unknown.
        stats: What the scan saw, [source rows, 2] (bytes, mtime_ns), -1 where unknown.
        kept: Holds decoded pictures for the next epoch; None decodes each time.
    """

    source: Source
    image: NDArray[np.int64]
    label: NDArray[np.int64]
    box: NDArray[np.float32] | None = None
    targets: dict[str, NDArray[Any] | SoftMask] = field(default_factory=dict)
    stats: NDArray[np.int64] | None = None
    kept: KeptPixels | None = None

    def __len__(self) -> int:
        return len(self.image)

    def drawn_by(self, stream: StreamPlan) -> int:
        """Samples in one pass of a stream."""
        return int((self.label >= 0).sum()) if stream.labelled else len(self)

    def read(self, sample: int) -> tuple[Pixels, Box | None]:
        """The picture of one sample, [H, W, C], and the sample's region in it.

        Raises:
            BadImage: The file cannot be decoded or is not the one that was scanned.
        """
        i = int(self.image[sample])
        if self.stats is not None and self.stats[i, 0] >= 0:
            now = self.source.stat(i)
            if now is not None and now[0] < 0:
                raise BadImage("missing", "the file was there in the scan and is gone")
            if now is not None and now != tuple(self.stats[i]):
                raise BadImage("changed", "the file changed after the scan")
        pixels = self.source.read(i) if self.kept is None else self.kept.read(self.source, i)
        if self.box is None:
            return pixels, None
        top, left, height, width = (round(float(x)) for x in self.box[sample])
        try:
            return pixels, inside((top, left, height, width), *pixels.shape[:2])
        except ValueError as error:
            raise BadImage("box", str(error)) from None

    def masks(self, sample: int, views: Mapping[str, View]) -> dict[str, NDArray[np.float32]]:
        """The masks among the targets that move with one of these views, [H, W] in [0, 1].

        Raises:
            BadImage: One cannot be decoded.
        """
        i = int(self.image[sample])
        return {
            name: target.source.read_mask(i)[..., 0] * np.float32(1 / 255)
            for name, target in self.targets.items()
            if isinstance(target, SoftMask) and target.view in views
        }


class BadFiles:
    """Files found bad while training, by name; filled by the loader's threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[str, BadFile] = {}

    def add(self, name: str, error: BadImage) -> None:
        """Notes one file."""
        with self._lock:
            self._found.setdefault(name, BadFile(name, error.kind, error.message))

    def list(self) -> list[BadFile]:
        """All found so far, by name."""
        with self._lock:
            return [self._found[name] for name in sorted(self._found)]


@dataclass(frozen=True)
class StreamPlan:
    """One stream as the loader draws it.

    Attributes:
        name: The stream.
        views: Its views by name.
        batch: Samples per draw over all ranks.
        every: (period, offset) of the steps it is drawn at.
        labelled: Only samples with a label.
    """

    name: str
    views: Mapping[str, View]
    batch: int
    every: tuple[int, int] = (1, 0)
    labelled: bool = False

    def due(self, step: int) -> bool:
        """Whether this stream is drawn at a step."""
        return step % self.every[0] == self.every[1]

    def draws(self, step: int) -> int:
        """How often it was drawn before a step."""
        period, offset = self.every
        return (step - offset + period - 1) // period if step > offset else 0


class Loader:
    """Batches by step number, decoded and cut by threads while the network computes.

    Memory is used again once nobody holds a tensor of a batch (``foveal.data.buffers``).

    Args:
        table: The samples.
        streams: What to draw.
        seed: The run's seed.
        threads: Threads that decode and cut.
        prefetch: Steps kept ready.
        in_turn: The network computes on the cores of the threads. Batches are then made while it
            waits, by all threads, not beside it: a network slowed down by threads that take one of
            its cores waits for its slowest part with all others. Where reading waits for the disk
            the next steps are prepared all the same.
        rank, world: This rank's contiguous part of every global batch.
        pin: Put batches into pinned memory, for a copy to the accelerator that does not wait.
        bad: Where files that turn out unreadable are noted.
    """

    def __init__(
        self,
        table: Table,
        streams: Sequence[StreamPlan],
        *,
        seed: int,
        threads: int,
        prefetch: int = 3,
        in_turn: bool = False,
        rank: int = 0,
        world: int = 1,
        pin: bool = False,
        bad: BadFiles | None = None,
    ) -> None:
        self.table = table
        self.streams = list(streams)
        self.seed = seed
        self.rank, self.world = rank, world
        self.bad = bad or BadFiles()
        self.prefetch = prefetch
        self.in_turn = in_turn
        self.busy = 1.0
        self.waited = 0.0
        # Beside those being filled, one is with the network.
        self._ring = Ring(prefetch + 2, pin=pin)
        self._pool = ThreadPoolExecutor(max(1, threads), thread_name_prefix="foveal-loader")
        self._ahead: deque[tuple[int, _Pending]] = deque()
        self._orders: dict[str, Order] = {}
        self._members: dict[str, NDArray[np.int64] | None] = {}
        for stream in self.streams:
            if stream.batch % world:
                raise FovealError(
                    f"a batch of {stream.batch} does not divide by {world} ranks",
                    hint=f"batch={max(1, round(stream.batch / world)) * world}",
                )
            for name, view in stream.views.items():
                if view.like is None:
                    continue
                if view.like not in stream.views or stream.views[view.like].like is not None:
                    raise FovealError(
                        f"view '{name}' is like '{view.like}', which is no view of stream "
                        f"'{stream.name}' with draws of its own",
                        hint=f"views: {', '.join(stream.views)}",
                    )
        self.set_groups(None)

    def set_groups(self, by: NDArray[np.int64] | Mapping[str, NDArray[np.int64]] | None) -> None:
        """New groups to draw evenly from; batches prepared under the old ones are discarded.

        Args:
            by: The group of every sample; by stream where streams differ.
        """
        self._discard()
        for stream in self.streams:
            groups = by.get(stream.name) if isinstance(by, Mapping) else by
            members = np.flatnonzero(self.table.label >= 0) if stream.labelled else None
            if members is not None and not len(members):
                raise FovealError(f"stream '{stream.name}' draws labelled samples; there are none")
            chosen = groups if members is None or groups is None else groups[members]
            n = len(self.table) if members is None else len(members)
            self._members[stream.name] = members
            drawn = self.table.image if members is None else self.table.image[members]
            blocks = blocks_of(self.table.source)
            self._orders[stream.name] = Order(
                n, self.seed, stream.name, chosen, None if blocks is None else blocks.rows(drawn)
            )

    def get(self, step: int) -> Batch:
        """The batch of a step; the next ones are started in the background."""
        if not self._ahead or self._ahead[0][0] != step:
            self._discard()
        start = self._ahead[-1][0] + 1 if self._ahead else step
        ahead = 0 if self.in_turn and self.busy > _BUSY else self.prefetch
        before = time.perf_counter()
        for later in range(start, step + 1 + ahead):
            self._ahead.append((later, self._start(later)))
        pending = self._ahead.popleft()[1]
        batch, self.busy = pending.result()
        self.waited += time.perf_counter() - before
        return batch

    def close(self) -> None:
        """Ends the threads."""
        self._discard()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _discard(self) -> None:
        for _, pending in self._ahead:
            pending.cancel()
        self._ahead.clear()

    def _start(self, step: int) -> _Pending:
        parts = {}
        for stream in self.streams:
            if stream.due(step):
                local = stream.batch // self.world
                first = stream.draws(step) * stream.batch + self.rank * local
                parts[stream.name] = self._fill(stream, np.arange(first, first + local), step)
        return _Pending(parts)

    def _fill(self, stream: StreamPlan, positions: NDArray[np.int64], step: int) -> _Part:
        order, members = self._orders[stream.name], self._members[stream.name]
        rows = order.rows(positions)
        if members is not None:
            rows = members[rows]
        slots = {
            name: _Slots(view, len(positions), self.table.source, self._ring)
            for name, view in stream.views.items()
        }
        keys = {name: rng.key(self.seed, "view", stream.name, name) for name in stream.views}
        masks = {
            name: self._ring.take((len(positions), *_mask_shape(target, stream)), torch.float32)
            for name, target in self.table.targets.items()
            if isinstance(target, SoftMask) and target.view in stream.views
        }

        def fill(chunk: range) -> tuple[float, float]:
            wall, busy = time.perf_counter(), time.thread_time()
            for b in chunk:
                row = int(rows[b])
                rows[b] = self._sample(stream, row, int(positions[b]), b, slots, keys, masks)
            return time.thread_time() - busy, time.perf_counter() - wall

        def targets() -> dict[str, torch.Tensor]:
            arrays = {k: v for k, v in self.table.targets.items() if not isinstance(v, SoftMask)}
            return {k: torch.from_numpy(v[rows]) for k, v in arrays.items()} | masks

        futures = [
            self._pool.submit(fill, range(i, min(i + _CHUNK, len(positions))))
            for i in range(0, len(positions), _CHUNK)
        ]

        def finish() -> StreamBatch:
            return StreamBatch(
                views={name: s.pixels for name, s in slots.items()},
                table={name: s.rows for name, s in slots.items()},
                index=torch.from_numpy(rows),
                position=torch.from_numpy(positions),
                label=torch.from_numpy(self.table.label[rows]),
                targets=targets(),
                seed=self.seed,
                stream=stream.name,
                step=step,
            )

        return _Part(futures, finish)

    def _sample(
        self,
        stream: StreamPlan,
        row: int,
        position: int,
        slot: int,
        slots: dict[str, _Slots],
        keys: dict[str, rng.Key],
        masks: dict[str, torch.Tensor],
    ) -> int:
        """Fills one slot of every view and mask; returns the sample that was used."""
        order, members = self._orders[stream.name], self._members[stream.name]
        for attempt in range(_ATTEMPTS):
            try:
                pixels, box = self.table.read(row)
                stored = self.table.masks(row, stream.views)
                break
            except BadImage as error:
                self.bad.add(self.table.source.name(int(self.table.image[row])), error)
                row = order.substitute(position, attempt)
                row = row if members is None else int(members[row])
        else:
            raise FovealError(
                f"{_ATTEMPTS} pictures in a row could not be read, the last one "
                f"{self.table.source.name(int(self.table.image[row]))}",
                hint="is the disk still there? bad_files.csv in the run folder names the reasons",
            )
        for name, view in stream.views.items():
            # A view that is "like" another one is cut by the other's draws.
            key = keys[view.like] if view.like else keys[name]
            make_view(
                view,
                pixels,
                key,
                position,
                slots[name].numpy_rows[slot],
                slots[name].numpy_pixels[slot],
                box,
            )
        for name, mask in stored.items():
            target = self.table.targets[name]
            assert isinstance(target, SoftMask)
            view, numbers = stream.views[target.view], slots[target.view].numpy_rows[slot]
            masks[name][slot] = torch.from_numpy(
                move_soft(mask, numbers, view, side=target.side, box=box)
            )
        return row


def _mask_shape(target: SoftMask, stream: StreamPlan) -> tuple[int, ...]:
    view = stream.views[target.view]
    tiles = () if view.tiles is None else (view.parts - 1,)
    return (*tiles, target.side, target.side)


class _Slots:
    """The buffers of one view of one batch, as tensors and as arrays on the same memory.

    Pictures of 16 bits become float32 in [0, 1]: what the network takes, and no bit is rounded off.
    """

    def __init__(self, view: View, n: int, source: Source, ring: Ring) -> None:
        kind = torch.uint8 if source.bits == 8 else torch.float32
        self.pixels = ring.take((n, *view.shape(source.channels)), kind)
        self.rows = torch.empty((n, view.parts, len(COLUMNS)), dtype=torch.float32)
        self.numpy_pixels: NDArray[np.uint8 | np.float32] = self.pixels.numpy()
        self.numpy_rows: NDArray[np.float32] = self.rows.numpy()


@dataclass
class _Part:
    futures: list[Future[tuple[float, float]]]
    finish: Callable[[], StreamBatch]


@dataclass
class _Pending:
    parts: dict[str, _Part]

    def result(self) -> tuple[Batch, float]:
        """The batch, and which share of their time the threads computed."""
        times = [future.result() for part in self.parts.values() for future in part.futures]
        busy, wall = map(sum, zip(*times, strict=True)) if times else (1.0, 1.0)
        return {name: part.finish() for name, part in self.parts.items()}, busy / max(wall, 1e-9)

    def cancel(self) -> None:
        for part in self.parts.values():
            for future in part.futures:
                future.cancel()


def ordered_views(
    table: Table,
    view: View,
    *,
    batch: int,
    threads: int,
    key: rng.Key = (0, 0),
    bad: BadFiles | None = None,
    rows: NDArray[np.int64] | None = None,
) -> Iterator[tuple[NDArray[np.int64], torch.Tensor, NDArray[np.bool_]]]:
    """One view of every sample, in row order, for passes that only look.

    Without an accelerator nothing is prepared while the caller computes, as in ``Loader``.

    Yields:
        rows int64 [B], pixels uint8 or float32 [B, H, W, C] and whether each could be read,
        bool [B] (the pixels of one that could not are zero).
    """
    rows = np.arange(len(table)) if rows is None else rows
    at_once = 2 if torch.cuda.is_available() else 1
    ring = Ring(3)

    def one(slots: _Slots, ok: NDArray[np.bool_], chunk: range, some: NDArray[np.int64]) -> None:
        for b in chunk:
            try:
                pixels, box = table.read(int(some[b]))
            except BadImage as error:
                if bad is not None:
                    bad.add(table.source.name(int(table.image[some[b]])), error)
                slots.numpy_pixels[b] = 0
                ok[b] = False
                continue
            numbers, out = slots.numpy_rows[b], slots.numpy_pixels[b]
            make_view(view, pixels, key, int(some[b]), numbers, out, box)

    with ThreadPoolExecutor(max(1, threads), thread_name_prefix="foveal-pass") as pool:
        ahead: deque[Any] = deque()
        starts = deque(range(0, len(rows), batch))
        while starts or ahead:
            while starts and len(ahead) < at_once:
                start = starts.popleft()
                some = rows[start : start + batch]
                slots = _Slots(view, len(some), table.source, ring)
                ok = np.ones(len(some), bool)
                futures = [
                    pool.submit(one, slots, ok, range(i, min(i + _CHUNK, len(some))), some)
                    for i in range(0, len(some), _CHUNK)
                ]
                ahead.append((some, slots, ok, futures))
            some, slots, ok, futures = ahead.popleft()
            for future in futures:
                future.result()
            yield some, slots.pixels, ok
