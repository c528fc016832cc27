"""A study as a page: the drawing, the tables, what follows."""

from __future__ import annotations

import math
from html import escape
from pathlib import Path

import numpy as np

from foveal.core.files import write_text
from foveal.report.charts import Line, line_chart
from foveal.report.page import document
from foveal.report.study_text import (
    LINE,
    SPREAD,
    TABLE,
    mean_spread,
    ranked,
    slope_text,
    verdict,
)
from foveal.studies.findings import Findings, TwoWay
from foveal.studies.runner import Study

_COLOURS = ("#2563a8", "#b45309", "#15803d", "#7e22ce", "#be123c", "#0e7490")


def write_study_page(study: Study, out: str | Path) -> Path:
    """Writes one self-contained HTML file and returns its path."""
    title = f"{study.grid.kind}: {study.measure}"
    axes = "".join(
        f"<tr><td>{escape(k)}</td><td>{escape(', '.join(map(str, v)))}</td></tr>"
        for k, v in study.grid.axes.items()
    )
    failed = "".join(
        f'<p class="warn">cannot be run: {escape(k)}: {escape(v)}</p>'
        for k, v in study.failed.items()
    )
    body = (
        f"<h1>{escape(title)}</h1><p>{len(study.scores)} of {len(study.plan)} runs are measured."
        f"</p>{failed}<table>{axes}</table>{_found(study.findings, study.measure)}"
        f"<h2>Runs</h2>{_runs(study)}"
    )
    write_text(Path(out), document(f"foveal: {title}", body))
    return Path(out)


def scaling_chart(found: Findings, measure: str) -> str:
    """Means over seeds and the fitted lines over the logarithm, as SVG."""
    lines = []
    for i, each in enumerate(found.lines):
        colour = _COLOURS[i % len(_COLOURS)]
        x = [math.log10(n) for n in each.x]
        lines.append(Line(each.name, x, [100 * float(np.mean(s)) for s in each.scores], colour))
        fitted = [100 * each.fit.at(n) for n in each.x]
        lines.append(Line("", x, fitted, colour, dashed=True))
    label = f"log10 of {found.axis.split('.')[-1]}"
    title = f"{measure} over {label}"
    return line_chart(lines, x_label=label, y_label=f"{measure}, %", title=title)


def interaction_chart(table: TwoWay, measure: str) -> str:
    """A line a row over the columns in order: lines that cross are changes of rank."""
    places = [float(i + 1) for i in range(len(table.columns))]
    lines = [
        Line(name, places, [100 * float(m) for m in table.means[i]], _COLOURS[i % len(_COLOURS)])
        for i, name in enumerate(table.rows)
    ]
    names = ", ".join(f"{i + 1}: {name}" for i, name in enumerate(table.columns))
    return line_chart(lines, x_label=names, y_label=f"{measure}, %", title=f"{measure} by row")


def _found(found: Findings | None, measure: str) -> str:
    if found is None:
        return "<p>Nothing to say before two runs are measured.</p>"
    parts = []
    if found.lines:
        rows = "".join(
            f"<tr><td>{escape(line.name)}</td>"
            + "".join(f'<td class="n">{escape(text)}</td>' for text in slope_text(line))
            + "</tr>"
            for line in found.lines
        )
        heads = _heads(["ten times as much adds", "interval", "over seeds", "R²"])
        parts.append(
            f"<h2>Over {escape(found.axis)}</h2>{scaling_chart(found, measure)}"
            f"<table><tr><th></th>{heads}</tr>{rows}</table>{_scores(found)}"
            f'<p class="note">Drawn: means over seeds; dashed, the fit. {SPREAD} {LINE}</p>'
        )
    for table in found.tables:
        said = "".join(f"<li>{escape(text)}</li>" for text in verdict(table))
        parts.append(
            f"<h2>Ranks and interaction</h2>{interaction_chart(table, measure)}{_two_way(table)}"
            f'<ul>{said}</ul><p class="note">(In brackets: place in the row.) {SPREAD} {TABLE}</p>'
        )
    return "".join(parts)


def _scores(found: Findings) -> str:
    every = sorted({x for line in found.lines for x in line.x})
    rows = ""
    for line in found.lines:
        by = dict(zip(line.x, line.scores, strict=True))
        cells = "".join(f'<td class="n">{mean_spread(by.get(x, []))}</td>' for x in every)
        rows += f"<tr><td>{escape(line.name)}</td>{cells}</tr>"
    return f"<table><tr><th></th>{_heads([f'{x:,g}' for x in every])}</tr>{rows}</table>"


def _two_way(table: TwoWay) -> str:
    rows = ""
    for i, name in enumerate(table.rows):
        cells = zip(table.scores[i], ranked(table.means[i]), strict=True)
        shown = "".join(
            f'<td class="n">{mean_spread(c)}{f" ({p})" if c else ""}</td>' for c, p in cells
        )
        rows += f"<tr><td>{escape(name)}</td>{shown}</tr>"
    return f"<table><tr><th></th>{_heads(table.columns)}</tr>{rows}</table>"


def _runs(study: Study) -> str:
    rows = "".join(
        f"<tr><td>{escape(s.cell.name)}</td>"
        f'<td class="n">{100 * s.value:.1f}</td>'
        f'<td class="n">{"-" if s.random_init is None else f"{100 * s.random_init:.1f}"}</td></tr>'
        for s in study.scores
    )
    heads = _heads([f"{escape(study.measure)}, %", "random init"])
    return f"<table><tr><th>run</th>{heads}</tr>{rows}</table>"


def _heads(names: list[str]) -> str:
    return "".join(f'<th class="n">{escape(name)}</th>' for name in names)
