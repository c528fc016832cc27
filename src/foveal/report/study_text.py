"""A study for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from foveal.studies.findings import Findings, Scaling, TwoWay
from foveal.studies.grid import Grid
from foveal.studies.runner import Planned, Study

SPREAD = "Mean and standard deviation over seeds, in %."
LINE = (
    "Fit: score = a + b log10(value). First interval: 95 %, over all points as if independent. "
    "Runs of one seed share pictures and first weights; the second is over the seeds' own slopes."
)
TABLE = (
    "Shares of the variance between all runs. Interaction: what is best in a column depends on the "
    "row; p is its probability if only seeds differed. Clear reversals: both differences are above "
    "2 standard errors over seeds."
)


def render_plan(grid: Grid, plan: Sequence[Planned]) -> RenderableType:
    """The cells, and how long they take."""
    shown = Table(box=None, pad_edge=False)
    for head in ("run", "state", "passes", "minutes of training"):
        shown.add_column(head, justify="left" if head in ("run", "state") else "right")
    for p in plan:
        epochs = p.cell.recipe.epochs or 0.0
        shown.add_row(p.cell.name, p.state, f"{epochs:.1f}", minutes(p.minutes))
    left = [p.minutes for p in plan if p.state != "done"]
    known = [m for m in left if m is not None]
    total = f"{len(plan)} runs, {len(left)} not done: "
    total += f"about {minutes(sum(known))} minutes" if known or not left else "time not known"
    if known and len(known) < len(left):
        total += f", and {len(left) - len(known)} of unknown length"
    return Group(shown, Text(f"{grid.kind}: {total}, and evaluation", style="bold"))


def render(study: Study) -> RenderableType:
    """What was found."""
    parts: list[RenderableType] = [
        Text(
            f"{study.grid.kind}: {len(study.scores)} of {len(study.plan)} runs, {study.measure}",
            style="bold",
        )
    ]
    parts += [Text(f"cannot be run: {k}: {v}", style="yellow") for k, v in study.failed.items()]
    if study.findings is None:
        return Group(*parts, Text("nothing to say before two runs are measured"))
    found = study.findings
    if found.lines:
        parts += [_scores(found), _fits(found), Text(f"{SPREAD} {LINE}", style="dim")]
    for table in found.tables:
        parts += [two_way_table(table), *map(Text, verdict(table))]
        parts.append(Text(f"{SPREAD} {TABLE}", style="dim"))
    if not found.lines and not found.tables:
        parts.append(Text("too few runs are measured to compare anything"))
    return Group(*parts)


def minutes(value: float | None) -> str:
    """``12``, ``0.4``, or ``?``."""
    return "?" if value is None else f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def mean_spread(values: Sequence[float]) -> str:
    """``31.2 ± 0.4``, in percent."""
    if not values:
        return "-"
    mean = f"{100 * np.mean(values):.1f}"
    return mean if len(values) < 2 else f"{mean} ± {100 * np.std(values, ddof=1):.1f}"


def slope_text(line: Scaling) -> list[str]:
    """b, its interval, the interval over the seeds' slopes, R squared."""
    low, high = line.fit.interval
    fit = "-" if math.isinf(low) else f"[{100 * low:+.1f}, {100 * high:+.1f}]"
    return [
        f"{100 * line.fit.b:+.1f}", fit, seeds_interval(line.slopes), f"{line.fit.r2:.3f}",
    ]  # fmt: skip


def seeds_interval(slopes: Sequence[float]) -> str:
    """Student's 95 % interval of the mean of the seeds' slopes."""
    from scipy.stats import t as student

    if len(slopes) < 2:
        return "-"
    half = student.ppf(0.975, len(slopes) - 1) * np.std(slopes, ddof=1) / math.sqrt(len(slopes))
    low, high = (100 * (np.mean(slopes) + side * half) for side in (-1, 1))
    return f"[{low:+.1f}, {high:+.1f}]"


def verdict(table: TwoWay) -> list[str]:
    """Variance, interaction and changes of rank, a line each."""
    said = []
    if table.shares is not None:
        said.append("variance: " + ", ".join(f"{k} {100 * v:.0f} %"
                                             for k, v in table.shares.items()))  # fmt: skip
    if table.f is not None and table.p is not None:
        said.append(f"interaction: F = {table.f:.2f}, p = {table.p:.2g}")
    else:
        said.append("interaction: unknown (it takes as many seeds, two or more, in every cell)")
    clear = [r for r in table.reversals if r.clear]
    said.append(
        f"rank changes: {len(table.reversals)} of {table.pairs} pairs, {len(clear)} of them clear"
    )
    said += [f"  {r.better} above {r.worse} with {r.row}, below with {r.other_row}" for r in clear]
    return said


def ranked(means: np.ndarray) -> list[str]:
    """The place of every column in a row: 1 is best."""
    return [
        "" if np.isnan(m) else f"{1 + int((means > m).sum())}" for m in means
    ]  # fmt: skip


def two_way_table(table: TwoWay) -> Table:
    """Scores with the place of every column in its row."""
    shown = Table(box=None, pad_edge=False)
    shown.add_column("")
    for name in table.columns:
        shown.add_column(name, justify="right")
    for i, name in enumerate(table.rows):
        places = ranked(table.means[i])
        cells = [
            f"{mean_spread(c)} ({p})" if c else "-"
            for c, p in zip(table.scores[i], places, strict=True)
        ]
        shown.add_row(name, *cells)
    return shown


def _scores(found: Findings) -> Table:
    every = sorted({x for line in found.lines for x in line.x})
    shown = Table(box=None, pad_edge=False)
    shown.add_column(found.axis)
    for x in every:
        shown.add_column(f"{x:,g}" if x < 1e6 else f"{x:,.0f}", justify="right")
    for line in found.lines:
        by = dict(zip(line.x, line.scores, strict=True))
        shown.add_row(line.name, *(mean_spread(by.get(x, [])) for x in every))
    return shown


def _fits(found: Findings) -> Table:
    shown = Table(box=None, pad_edge=False)
    heads = ("b: ten times as much adds", "interval", "over seeds", "R²")
    shown.add_column("")
    for head in heads:
        shown.add_column(head, justify="right")
    for line in found.lines:
        shown.add_row(line.name, *slope_text(line))
    return shown
