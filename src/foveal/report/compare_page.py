"""A page of several runs side by side: tables, and every interval drawn."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from foveal.core.files import write_text
from foveal.evaluation.result import figure
from foveal.evaluation.side_by_side import Comparison, Row, Table
from foveal.report.charts import label, ticks
from foveal.report.compare_text import NOTE, plain
from foveal.report.page import document, with_interval

_WIDTH, _HEIGHT, _PAD = 220, 18, 8
# Wider than a report: seven columns that must not break.
_STYLE = "<style>body{max-width:80rem}td:first-child{white-space:nowrap}</style>"


def write_compare_page(found: Comparison, out: str | Path) -> Path:
    """Writes one self-contained HTML file and returns its path."""
    warnings = "".join(f'<p class="warn">{escape(text)}</p>' for text in found.warnings)
    tables = "".join(_table(table) for table in found.tables)
    body = (
        f"{_STYLE}<h1>Runs side by side</h1>{_runs(found)}{warnings}{tables}"
        f'<p class="note">{escape(NOTE)} In the drawings: dot and line, the run and its interval; '
        "ring, random init; dashes, raw pixels or a prediction that looks at nothing.</p>"
    )
    write_text(Path(out), document("foveal: runs side by side", body))
    return Path(out)


def _runs(found: Comparison) -> str:
    rows = []
    for e in found.entries:
        cells = [e.method, e.network, e.seed, e.seen, e.minutes]
        shown = "".join(f'<td class="n">{escape(plain(c))}</td>' for c in cells)
        rows.append(
            f'<tr><td title="{escape(e.path, quote=True)}">{escape(e.name)}</td>{shown}</tr>'
        )
    heads = ("method", "network", "seed", "pictures seen", "minutes")
    return f"<table><tr><th>run</th>{_heads(heads)}</tr>{''.join(rows)}</table>"


def _table(table: Table) -> str:
    if not table.about.baselines:
        rows = "".join(_figure_row(row) for row in table.rows)
        body = f"<tr><th>run</th>{_heads(('trained', 'random init'))}</tr>{rows}"
        return f"<h2>{escape(table.title)}</h2><table>{body}</table>"
    axis = _Axis(table)
    labels = any(row.to_labels for row in table.rows)
    heads = ["trained", "random init", "over random init", "to the best"]
    heads += ["to labels"] if labels else []
    rows = "".join(_row(row, axis, labels) for row in table.rows)
    for name, base in table.beside():
        shown = with_interval(base, table.about.unit)
        rows += (
            f'<tr><td>{escape(name)}</td><td class="n">{shown}</td>'
            f"<td colspan={len(heads) - 1}></td><td></td></tr>"
        )
    head = f"<tr><th>run</th>{_heads(heads)}<th>{axis.scale()}</th></tr>"
    return f"<h2>{escape(table.title)}</h2><table>{head}{rows}</table>"


def _figure_row(row: Row) -> str:
    start = row.result.configuration.get("random_init_value")
    return (
        f'<tr><td>{escape(row.entry.name)}</td><td class="n best">{row.result.value:.3f}</td>'
        f'<td class="n">{"-" if start is None else f"{start:.3f}"}</td></tr>'
    )


def _row(row: Row, axis: _Axis, labels: bool) -> str:
    r, unit = row.result, row.result.unit
    start = r.baselines.get("random_init")
    name = escape(row.entry.name) + (" (labels)" if row.entry.labels else "")
    over = None if start is None else (start["difference"], start["difference_interval"])
    cells = [with_interval({"value": r.value, "interval": r.interval}, unit)]
    cells += ["-" if start is None else with_interval(start, unit), _points(over, unit)]
    cells += [_to(row.to_best, unit), *([_to(row.to_labels, unit)] if labels else [])]
    shown = "".join(
        f'<td class="n{" best" if i == 0 else ""}">{cell}</td>' for i, cell in enumerate(cells)
    )
    return f"<tr><td>{name}</td>{shown}<td>{axis.draw(row)}</td></tr>"


class _Axis:
    """The scale all rows of a table are drawn on; shares in percent."""

    def __init__(self, table: Table) -> None:
        self.unit = "%" if table.about.unit == "share" else table.about.unit
        self.factor = 100 if self.unit == "%" else 1
        self.beside = [base["value"] for _, base in table.beside()]
        values = list(self.beside)
        for row in table.rows:
            start = row.result.baselines.get("random_init")
            values += [row.result.value, *(row.result.interval or ())]
            values += [] if start is None else [start["value"]]
        marks = ticks(self.factor * min(values), self.factor * max(values), 4)
        self.low, self.high = marks[0], marks[-1]

    def at(self, value: float) -> float:
        """Position of a value in the drawing."""
        inner = _WIDTH - 2 * _PAD
        return _PAD + inner * (self.factor * value - self.low) / (self.high - self.low)

    def scale(self) -> str:
        """The ends of the scale."""
        low, high = (f"{label(x)} {escape(self.unit)}" for x in (self.low, self.high))
        text = (
            f'<text x="0" y="13">{low}</text>'
            f'<text x="{_WIDTH}" y="13" text-anchor="end">{high}</text>'
        )
        return _svg(text, "the ends of the scale")

    def draw(self, row: Row) -> str:
        """One row."""
        r, y = row.result, _HEIGHT / 2
        colour = "#7e22ce" if row.entry.labels else "#2563a8"
        low, high = r.interval or (r.value, r.value)
        parts = [
            f'<line x1="{self.at(p):.1f}" x2="{self.at(p):.1f}" y1="0" y2="{_HEIGHT}" '
            'stroke="#5d6670" stroke-dasharray="2 3"/>'
            for p in self.beside
        ]
        parts.append(
            f'<line x1="{self.at(low):.1f}" x2="{self.at(high):.1f}" y1="{y}" y2="{y}" '
            f'stroke="{colour}" stroke-width="2"/>'
        )
        parts.append(f'<circle cx="{self.at(r.value):.1f}" cy="{y}" r="2.5" fill="{colour}"/>')
        start = r.baselines.get("random_init")
        if start is not None:
            parts.append(
                f'<circle cx="{self.at(start["value"]):.1f}" cy="{y}" r="3" fill="none" '
                'stroke="#5d6670"/>'
            )
        return _svg("".join(parts), f"{figure(low, r.unit)} to {figure(high, r.unit)} {self.unit}")


def _svg(inside: str, words: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" style="width:{_WIDTH}px" role="img" '
        f'aria-label="{escape(words)}">{inside}</svg>'
    )


def _heads(names: Any) -> str:
    return "".join(f'<th class="n">{name}</th>' for name in names)


def _points(found: Any, unit: str) -> str:
    if found is None:
        return "-"
    by, low, high = (figure(x, unit, "+") for x in (found[0], *found[1]))
    return f'{by} <span class="note">[{low}, {high}]</span>'


def _to(found: tuple[float, tuple[float, float]] | None, unit: str) -> str:
    if found is None:
        return "-"
    low, high = found[1]
    return ("= " if low <= 0 <= high else "") + _points(found, unit)
