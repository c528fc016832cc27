"""What a pile of pictures holds, before anything is trained on it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from foveal.core import rng
from foveal.core.cores import available_cores
from foveal.data import duplicates
from foveal.data.badfiles import BadFile, printable
from foveal.data.picture import with_channels
from foveal.data.sources import Source, open_source
from foveal.errors import BadImage

if TYPE_CHECKING:
    from rich.console import RenderableType

DECODED = 50_000  # above this many, a keyed sample of this size is decoded
EXAMPLES = 5  # groups of duplicates named in JSON
_NAMES = 6  # names of each such group
_CLASSES = 1000  # classes counted in JSON
_CHUNK = 32  # pictures per task


@dataclass(frozen=True)
class ScanReport:
    """What was found. N rows of the source.

    Attributes:
        root: What the user pointed at.
        count: N, the good and the bad.
        scanned: How many were decoded: all, or a keyed sample of ``DECODED``.
        good: Rows that can be used, int64, ascending: all not known to be bad.
        bad: What cannot be used, in row order.
        sizes: Height and width, int32 [N, 2]; 0 where bad or not decoded.
        stats: (bytes, mtime in ns) as the file was before it was read, int64 [N, 2]; -1 unknown.
        channels: Of what ``source.read`` returns.
        mean, std: Of each channel, pixels in [0, 1], every decoded picture counting the same.
        formats: Pictures by file format.
        modes: Pictures by what their files hold: ``grey``, ``RGB``, ``palette``, ``CMYK``, ...
        bits: Pictures by bits a channel.
        classes: Names of classes, or None.
        class_counts: Usable pictures of each class, int64, or None.
        duplicates: Groups of rows whose files hold the same bytes.
        near: Groups of rows that look alike (``foveal.data.duplicates``), one of each group of
            equal files.
        ignored: Other files found there, by extension.
        names: Names of the rows that stand in examples.
    """

    root: str
    count: int
    scanned: int
    good: NDArray[np.int64]
    bad: list[BadFile]
    sizes: NDArray[np.int32]
    stats: NDArray[np.int64]
    channels: int
    mean: list[float]
    std: list[float]
    formats: dict[str, int]
    modes: dict[str, int]
    bits: dict[int, int]
    classes: list[str] | None
    class_counts: NDArray[np.int64] | None
    duplicates: list[NDArray[np.int64]]
    near: list[NDArray[np.int64]]
    ignored: dict[str, int]
    names: dict[int, str]

    @property
    def known_sizes(self) -> NDArray[np.int32]:
        """Height and width of every picture that was decoded, [M, 2]."""
        return self.sizes[self.sizes[:, 0] > 0]

    @property
    def short_side(self) -> int:
        """Median of the shorter sides, in pixels; 0 without a single picture."""
        known = self.known_sizes
        return int(np.median(known.min(axis=1))) if len(known) else 0

    def bad_kinds(self) -> dict[str, int]:
        """Bad files by kind, the commonest first."""
        return dict(Counter(b.kind for b in self.bad).most_common())

    def to_json(self) -> dict[str, Any]:
        """The report as JSON-able values, small whatever the number of pictures.

        Keys: ``data`` (what was pointed at), ``count``, ``readable``, ``unreadable``, ``scanned``
        (decoded; the rest counts as readable), ``bytes`` (of files, null without files),
        ``formats``, ``modes`` and ``bits`` (pictures by each), ``channels`` (that training
        reads), ``height``, ``width`` and ``short_side`` (each min, median, max), ``mean`` and
        ``std`` (of channels, pixels in [0, 1]), ``classes`` (number, or null), ``class_counts``
        (the first 1,000 by name), ``classes_used_for``, ``exact_duplicates`` and
        ``near_duplicates`` (``groups``, ``pictures`` in them, ``examples``; the second also
        ``rule``), ``bad`` (every unreadable file: ``name``, ``kind``, ``reason``), ``bad_kinds``
        (files by kind), ``ignored`` (other files by extension).
        """
        known = self.known_sizes
        sizes = self.stats[:, 0]
        found: dict[str, Any] = {
            "data": printable(self.root),
            "count": self.count,
            "readable": len(self.good),
            "unreadable": len(self.bad),
            "scanned": self.scanned,
            "bytes": int(sizes[sizes > 0].sum()) if (sizes >= 0).any() else None,
            "formats": self.formats,
            "modes": self.modes,
            "bits": {str(b): n for b, n in self.bits.items()},
            "channels": self.channels,
            "height": _spread(known[:, 0]),
            "width": _spread(known[:, 1]),
            "short_side": _spread(known.min(axis=1)),
            "mean": [round(x, 6) for x in self.mean],
            "std": [round(x, 6) for x in self.std],
            "classes": None,
            "class_counts": {},
            "classes_used_for": None,
            "exact_duplicates": self._groups(self.duplicates),
            "near_duplicates": {"rule": near_rule(), **self._groups(self.near)},
            "bad": [
                {"name": printable(b.name), "kind": b.kind, "reason": printable(b.reason)}
                for b in self.bad
            ],
            "bad_kinds": self.bad_kinds(),
            "ignored": {printable(k): n for k, n in self.ignored.items()},
        }
        if self.classes is not None and self.class_counts is not None:
            counted = zip(self.classes, self.class_counts.tolist(), strict=True)
            found["classes"] = len(self.classes)
            found["class_counts"] = {printable(c): n for c, n in list(counted)[:_CLASSES]}
            found["classes_used_for"] = "evaluation only"
        return found

    def _groups(self, groups: Sequence[NDArray[np.int64]]) -> dict[str, Any]:
        return {
            "groups": len(groups),
            "pictures": sum(len(g) for g in groups),
            "examples": [
                [printable(self.names[i]) for i in g[:_NAMES].tolist()] for g in groups[:EXAMPLES]
            ],
        }


def near_rule() -> str:
    """The threshold of near duplicates, in words."""
    return (
        f"at most {duplicates.NEAR_BITS} of 64 bits of the difference hash and "
        f"{duplicates.NEAR_MEAN:g} of 255 in the mean of each channel differ"
    )


def scan(data: Any) -> ScanReport:
    """Looks at every picture of a pile (beyond ``DECODED``, at a keyed sample of it).

    Args:
        data: A source, or anything ``open_source`` takes.

    Returns:
        The report. The same data give the same report, whatever the number of cores.

    Raises:
        FovealError: There is nothing that could be a picture.
    """
    source = open_source(data)
    n = len(source)
    rows = np.arange(n)
    if n > DECODED:
        rows = np.sort(rng.permute(rng.key(0, "scan"), n, np.arange(DECODED)))
    seen = _Seen(source, rows)
    with ThreadPoolExecutor(available_cores(), thread_name_prefix="foveal-scan") as pool:
        starts = range(0, len(rows), _CHUNK)
        # Before anything is decoded: a file that changes while it is read is caught later.
        list(pool.map(seen.stat, range(0, n, 1024)))
        list(pool.map(seen.look, starts))
    return seen.report()


class _Seen:
    """What the threads fill in, each its own rows."""

    def __init__(self, source: Source, rows: NDArray[np.int64]) -> None:
        n, m = len(source), len(rows)
        self.source, self.rows = source, rows
        self.stats = np.full((n, 2), -1, np.int64)
        self.sizes = np.zeros((n, 2), np.int32)
        self.hashes = np.zeros(m, np.uint64)
        self.means = np.zeros((m, 3), np.float32)
        self.moments = np.zeros((m, 2, source.channels))
        self.kinds: list[tuple[str, str, int] | None] = [None] * m
        self.contents = [b""] * m
        self.bad: dict[int, BadFile] = {}

    def stat(self, start: int) -> None:
        for i in range(start, min(start + 1024, len(self.source))):
            found = self.source.stat(i)
            if found is not None:
                self.stats[i] = found

    def look(self, start: int) -> None:
        for at in range(start, min(start + _CHUNK, len(self.rows))):
            i = int(self.rows[at])
            try:
                picture, content = self.source.picture(i)
                flat = with_channels(picture.pixels, self.source.channels, self.source.bits)
            except BadImage as error:
                self.bad[i] = BadFile(self.source.name(i), error.kind, error.message)
                continue
            pixels = picture.pixels
            self.kinds[at] = (picture.format, picture.mode, picture.bits)
            self.sizes[i] = pixels.shape[:2]
            self.contents[at] = _digest(content, pixels.shape)
            self.hashes[at], self.means[at] = duplicates.look(pixels)
            total, squares = _moments(np.ascontiguousarray(flat).reshape(-1, flat.shape[2]))
            count, white = flat.shape[0] * flat.shape[1], 2**self.source.bits - 1
            self.moments[at] = total / (white * count), squares / (white**2 * count)

    def report(self) -> ScanReport:
        source, n = self.source, len(self.source)
        ok = np.array([kind is not None for kind in self.kinds], bool)
        usable = np.ones(n, bool)
        usable[list(self.bad)] = False
        good = np.flatnonzero(usable)
        # In row order, so that the sums do not depend on which thread was first.
        mean, square = np.zeros(source.channels), np.zeros(source.channels)
        if ok.any():
            mean, square = self.moments[ok].mean(axis=0)
        kinds = [kind for kind in self.kinds if kind is not None]
        decoded = self.rows[ok]
        contents = [c for c, k in zip(self.contents, ok.tolist(), strict=True) if k]
        equal = duplicates.equal_groups(contents, decoded)
        doubles = np.concatenate([g[1:] for g in equal]) if equal else np.empty(0, np.int64)
        single = ok & ~np.isin(self.rows, doubles)
        near = duplicates.near_groups(self.hashes[single], self.means[single], self.rows[single])
        named = [i for g in [*equal[:EXAMPLES], *near[:EXAMPLES]] for i in g[:_NAMES].tolist()]
        counts = None
        if source.classes is not None and source.labels is not None:
            labels = source.labels[good]
            counts = np.bincount(labels[labels >= 0], minlength=len(source.classes))
        return ScanReport(
            root=source.root,
            count=n,
            scanned=len(self.rows),
            good=good,
            bad=[self.bad[i] for i in sorted(self.bad)],
            sizes=self.sizes,
            stats=self.stats,
            channels=source.channels,
            mean=mean.tolist(),
            std=np.sqrt(np.maximum(square - mean**2, 0)).tolist(),
            formats=dict(Counter(k[0] for k in kinds).most_common()),
            modes=dict(Counter(k[1] for k in kinds).most_common()),
            bits=dict(sorted(Counter(k[2] for k in kinds).items())),
            classes=source.classes,
            class_counts=counts,
            duplicates=equal,
            near=near,
            ignored=dict(sorted(source.ignored.items())),
            names={i: source.name(i) for i in named},
        )


def render(report: ScanReport) -> RenderableType:
    """The report as tables for a terminal."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(report):
        facts.add_row(Text(name, style="bold"), Text(value))
    parts: list[RenderableType] = [facts]
    if report.bad:
        table = Table(title="Files that cannot be used", title_justify="left", box=None)
        for heading in ("file", "kind", "reason"):
            # A name is for copying: fold it rather than cut it.
            table.add_column(heading, overflow="fold")
        for b in report.bad:
            # Text, since a file name may hold what rich takes for markup.
            table.add_row(Text(printable(b.name)), Text(b.kind), Text(printable(b.reason)))
        parts += [Text(), table]
    return Group(*parts)


def _facts(report: ScanReport) -> list[tuple[str, str]]:
    r = report.to_json()
    facts = [
        ("data", r["data"]),
        ("pictures", f"{r['readable']:,} of {r['count']:,} files"),
    ]
    if report.scanned < report.count:
        facts.append(("looked at", f"a sample of {r['scanned']:,}; the rest counts as readable"))
    if r["bytes"] is not None:
        facts.append(("size on disk", f"{r['bytes'] / 1e6:,.1f} MB"))
    if report.bad:
        facts.append(("unreadable", f"{r['unreadable']:,}: {_counts(r['bad_kinds'])}"))
    facts += [("formats", _counts(r["formats"])), ("colour", _counts(r["modes"]))]
    facts.append(("bits a channel", _counts(r["bits"])))
    if r["height"] is not None:
        for name in ("height", "width"):
            s = r[name]
            facts.append((name, f"{s['min']} to {s['max']} px, median {s['median']}"))
    facts.append(("channels read", str(r["channels"])))
    facts.append(("mean", " ".join(f"{x:.4f}" for x in r["mean"])))
    facts.append(("deviation", " ".join(f"{x:.4f}" for x in r["std"])))
    for name, key in (("equal files", "exact_duplicates"), ("look alike", "near_duplicates")):
        found = r[key]
        text = "none"
        if found["groups"]:
            text = f"{found['pictures']:,} in {found['groups']:,} groups, e.g. "
            text += " = ".join(found["examples"][0])
        facts.append((name, text))
    if r["classes"] is not None:
        counts = report.class_counts
        assert counts is not None
        facts.append(
            (
                "classes",
                f"{r['classes']:,} ({counts.min():,} to {counts.max():,} pictures each), "
                "used for evaluation only",
            )
        )
    if r["ignored"]:
        facts.append(("other files", f"{_counts(r['ignored'])} (passed over)"))
    return facts


def _counts(counts: dict[str, int]) -> str:
    shown = sorted(counts.items(), key=lambda item: -item[1])[:12]
    more = f", and {len(counts) - 12} more" if len(counts) > 12 else ""
    return ", ".join(f"{n:,} {name}" for name, n in shown) + more or "none"


def _spread(values: NDArray[np.int32]) -> dict[str, int] | None:
    if not len(values):
        return None
    return {"min": int(values.min()), "median": int(np.median(values)), "max": int(values.max())}


def _digest(content: bytes, shape: tuple[int, ...]) -> bytes:
    """Of bytes and shape: raw pixels of two arrays may agree in one and not in the other."""
    return hashlib.blake2b(content, digest_size=16, salt=str(shape)[:16].encode()).digest()


@njit(nogil=True, cache=True)
def _moments(flat: Any) -> Any:
    """Sum and sum of squares of each channel of [pixels, C], 8 or 16 bits, exact in int64."""
    n, channels = flat.shape
    total, squares = np.zeros(channels, np.int64), np.zeros(channels, np.int64)
    for i in range(n):
        for c in range(channels):
            x = np.int64(flat[i, c])
            total[c] += x
            squares[c] += x * x
    return total, squares
