"""Several runs side by side, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table as TextTable
from rich.text import Text

from foveal.evaluation.result import difference_text, share_text
from foveal.evaluation.side_by_side import Comparison, Entry, Table

NOTE = (
    "Shares in %, with [95 % interval over test pictures]. Over random init: the same network "
    "untrained (fine-tuned: the same training from there), paired on the same pictures. To the "
    "best, to labels: as if on other pictures, which is too wide rather than too narrow; = says "
    "that it holds 0. The spread between training seeds is in none of them."
)


def render(found: Comparison) -> RenderableType:
    """For a terminal."""
    parts: list[RenderableType] = [_runs(found.entries)]
    for table in found.tables:
        parts += [Text(""), Text(table.title, style="bold"), _text_table(table)]
    parts += [Text(""), Text(NOTE, style="dim")]
    parts += [Text(f"warning: {text}", style="yellow") for text in found.warnings]
    return Group(*parts)


def _runs(entries: Sequence[Entry]) -> TextTable:
    shown = _columns("run", "method", "network", "seed", "pictures seen", "minutes")
    for e in entries:
        values = (e.method, e.network, e.seed, e.seen, e.minutes)
        shown.add_row(e.name, *map(plain, values))
    return shown


def plain(value: Any) -> str:
    """A value of an entry; ``-`` where it is not known."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _text_table(table: Table) -> TextTable:
    if not table.about.baselines:
        shown = _columns("run", "trained", "random init")
        for row in table.rows:
            start = row.result.configuration.get("random_init_value")
            shown.add_row(
                row.entry.name,
                f"{row.result.value:.3f}",
                "-" if start is None else f"{start:.3f}",
            )
        return shown
    labels = any(row.to_labels for row in table.rows)
    names = ["run", "trained", "random init", "over random init", "to the best"]
    shown = _columns(*names, *(["to labels"] if labels else []))
    unit, higher = table.about.unit, table.about.higher_is_better
    for row in table.rows:
        r, base = row.result, row.result.baselines
        cells = [
            share_text({"value": r.value, "interval": r.interval}, "bold", unit),
            share_text(base.get("random_init"), unit=unit),
            difference_text(base.get("random_init"), unit, higher),
            _to(row.to_best, unit, higher),
            *([_to(row.to_labels, unit, higher)] if labels else []),
        ]
        shown.add_row(row.entry.name + (" (labels)" if row.entry.labels else ""), *cells)
    for name, base in table.beside():
        shown.add_row(name, share_text(base, unit=unit))
    return shown


def _to(found: tuple[float, tuple[float, float]] | None, unit: str, higher_is_better: bool) -> Text:
    if found is None:
        return Text("-")
    difference, (low, high) = found
    mark = "= " if low <= 0 <= high else ""
    both = {"difference": difference, "difference_interval": [low, high]}
    text = difference_text(both, unit, higher_is_better)
    return Text(mark) + text


def _columns(first: str, *others: str) -> TextTable:
    shown = TextTable(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    shown.add_column(first, no_wrap=True)
    for name in others:
        shown.add_column(name, justify="right")
    return shown
