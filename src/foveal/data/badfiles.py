"""Files that cannot be used: named with their reason, not hidden, not fatal while they are few."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from foveal.core.files import atomic_path
from foveal.errors import FovealError


@dataclass(frozen=True)
class BadFile:
    """One file that cannot be used.

    Attributes:
        name: As in the source.
        kind: A short stable word. Of files: ``empty``, ``truncated``, ``damaged``, ``zeros``,
            ``web_page``, ``not_a_picture``, ``bomb`` (too many pixels), ``depth`` (values that have
            no fixed white, or more bits than are read), ``channels`` (not those of the others),
            ``package`` (an extra that reads them is missing), ``link`` (leads nowhere),
            ``folder``, ``permission``, ``disk``, ``missing``, ``changed`` (since the scan) and
            ``network`` (it cannot be fetched). Of
            data sets: ``dataset`` (it raised), ``shape`` (no picture), ``box`` (an empty region).
        reason: In words.
    """

    name: str
    kind: str
    reason: str


def printable(name: str) -> str:
    """A file name as text that can be written anywhere: bytes that are no UTF-8 become escapes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def write_bad_files(path: Path, bad: Sequence[BadFile]) -> None:
    """Writes ``bad_files.csv`` (name, kind, reason), sorted by name, each file once."""
    by_name = {b.name: b for b in reversed(bad)}
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(["name", "kind", "reason"])
        writer.writerows(
            [printable(b.name), b.kind, printable(b.reason)] for _, b in sorted(by_name.items())
        )


def check_bad_share(
    bad: Sequence[BadFile], total: int, limit: float, written: Path | None = None
) -> None:
    """Stops where too many files are unreadable.

    Raises:
        FovealError: More than ``limit`` of ``total`` files are bad; names the commonest kinds and
            the first few files.
    """
    if not total or len(bad) / total <= limit:
        return
    kinds: dict[str, int] = {}
    for b in bad:
        kinds[b.kind] = kinds.get(b.kind, 0) + 1
    common = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items(), key=lambda x: -x[1])[:5])
    first = "; ".join(f"{printable(b.name)} ({b.reason})" for b in bad[:3])
    share = len(bad) / total
    where = f" All are named in {written}." if written is not None else ""
    raise FovealError(
        f"{len(bad)} of {total} files ({share:.1%}) cannot be used, more than max_bad={limit:.1%}: "
        f"{common}. First: {first}.{where}",
        hint=f"`foveal scan` names all of them; max_bad={min(1.0, share + 0.005):.3f} "
        "trains without them",
    )
