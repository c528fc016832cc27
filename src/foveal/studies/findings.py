"""What a study found: numbers a person can be told, from the scores of its cells."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from foveal.metrics.log_linear import LogLinear, fit_log_linear
from foveal.studies.grid import METHOD, PICTURES, SEED, Cell, Grid


@dataclass(frozen=True)
class Score:
    """One measured cell; ``value`` is a share or a figure of the protocol."""

    cell: Cell
    value: float
    random_init: float | None = None


@dataclass(frozen=True)
class Scaling:
    """One line over the logarithm of the number of pictures (or of another axis of numbers).

    Attributes:
        name: Which networks these are.
        x: Values of the axis.
        scores: Of every value, one a seed.
        fit: Over all points, which it takes for independent.
        slopes: Of every seed alone: runs of a seed share their pictures and initial weights, so
            the spread of these is the safer judge.
    """

    name: str
    x: list[float]
    scores: list[list[float]]
    fit: LogLinear
    slopes: list[float]


@dataclass(frozen=True)
class Reversal:
    """Two columns that change places between two rows."""

    better: str
    worse: str
    row: str
    other_row: str
    clear: bool


@dataclass(frozen=True)
class TwoWay:
    """A table of rows and columns with several seeds in every cell.

    Attributes:
        rows, columns: Their names.
        scores: [row][column][seed].
        shares: Of the variance between all scores: rows, columns, their interaction, seeds.
        f, p: Of the interaction, against the spread over seeds; None where that is unknown.
        reversals: Pairs of columns that rank differently in two rows; clear where both
            differences are above 2 standard errors.
        pairs: How many pairs of pairs were looked at.
    """

    rows: list[str]
    columns: list[str]
    scores: list[list[list[float]]]
    shares: dict[str, float] | None
    f: float | None
    p: float | None
    reversals: list[Reversal]
    pairs: int

    @property
    def means(self) -> np.ndarray:
        """Mean over seeds, [rows, columns]; NaN where nothing was measured."""
        return np.array([[np.mean(c) if c else np.nan for c in row] for row in self.scores])


@dataclass(frozen=True)
class Findings:
    """All that a study says.

    Attributes:
        kind: The question.
        axis: What varies along the lines or columns.
        lines: Fits over the logarithm, where the axis holds positive numbers.
        tables: Two-way tables.
    """

    kind: str
    axis: str
    lines: list[Scaling]
    tables: list[TwoWay]

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is infinite or unknown is None."""
        found: dict[str, Any] = _plain(asdict(self))
        return found


def find(grid: Grid, scores: Sequence[Score]) -> Findings:
    """Answers the question of a study with what is measured so far."""
    if grid.kind == "architectures":
        table = two_way(scores, lambda c: str(c.values[METHOD]), lambda c: c.group(METHOD))
        return Findings(grid.kind, "network", [], [table] if table else [])
    axis = PICTURES if grid.kind == "data-scaling" else _hardness_axis(grid)
    lines = _lines(scores, axis)
    tables = []
    if len(_names(scores, lambda c: c.group(axis))) > 1:
        table = two_way(scores, lambda c: c.group(axis), lambda c: str(c.values[axis]))
        tables = [table] if table else []
    return Findings(grid.kind, axis, lines, tables)


def _hardness_axis(grid: Grid) -> str:
    """The first axis that is not the method, the network, the pictures or the seed."""
    known = {METHOD, PICTURES, SEED}
    others = [a for a in grid.axes if a not in known and not a.startswith("network.")]
    return others[0]


def _lines(scores: Sequence[Score], axis: str) -> list[Scaling]:
    if not all(_positive(s.cell.values[axis]) for s in scores):
        return []
    lines = []
    for name in _names(scores, lambda c: c.group(axis)):
        own = [s for s in scores if s.cell.group(axis) == name]
        x = sorted({float(s.cell.values[axis]) for s in own})
        if len(x) < 2:
            continue
        at = [(float(s.cell.values[axis]), s.value) for s in own]
        slopes = []
        for seed in sorted({s.cell.values[SEED] for s in own}):
            some = [(float(s.cell.values[axis]), s.value) for s in own
                    if s.cell.values[SEED] == seed]  # fmt: skip
            if len({n for n, _ in some}) > 1:
                slopes.append(fit_log_linear(*zip(*some, strict=True)).b)
        by_size = [[v for n, v in at if n == each] for each in x]
        lines.append(Scaling(name, x, by_size, fit_log_linear(*zip(*at, strict=True)), slopes))
    return lines


def two_way(scores: Sequence[Score], row_of: Any, column_of: Any) -> TwoWay | None:
    """A two-way table; None where there are no two rows and two columns."""
    rows, columns = _names(scores, row_of), _names(scores, column_of)
    if len(rows) < 2 or len(columns) < 2:
        return None
    cells: list[list[list[float]]] = [[[] for _ in columns] for _ in rows]
    for s in scores:
        cells[rows.index(row_of(s.cell))][columns.index(column_of(s.cell))].append(s.value)
    shares, f, p = _variance(cells)
    found, pairs = _reversals(rows, columns, cells)
    return TwoWay(rows, columns, cells, shares, f, p, found, pairs)


def _variance(
    cells: list[list[list[float]]],
) -> tuple[dict[str, float] | None, float | None, float | None]:
    """Two-way analysis of variance with interaction; needs as many seeds in every cell."""
    from scipy.stats import f as fisher

    counts = {len(c) for row in cells for c in row}
    if len(counts) > 1 or 0 in counts:
        return None, None, None
    y = np.array(cells, np.float64)
    a, b, n = y.shape
    mean, rows, columns, each = y.mean(), y.mean((1, 2)), y.mean((0, 2)), y.mean(2)
    between = each - rows[:, None] - columns[None] + mean
    squares = {
        "rows": b * n * float(((rows - mean) ** 2).sum()),
        "columns": a * n * float(((columns - mean) ** 2).sum()),
        "interaction": n * float((between**2).sum()),
        "seeds": float(((y - each[..., None]) ** 2).sum()),
    }
    total = sum(squares.values())
    shares = {k: v / total if total else 0.0 for k, v in squares.items()}
    free, rest = (a - 1) * (b - 1), a * b * (n - 1)
    if not rest or squares["seeds"] == 0:
        return shares, None, None
    ratio = (squares["interaction"] / free) / (squares["seeds"] / rest)
    return shares, ratio, float(fisher.sf(ratio, free, rest))


def _reversals(
    rows: Sequence[str], columns: Sequence[str], cells: list[list[list[float]]]
) -> tuple[list[Reversal], int]:
    found, pairs = [], 0
    for (i, j), (p, q) in itertools.product(
        itertools.combinations(range(len(rows)), 2), itertools.combinations(range(len(columns)), 2)
    ):
        four = cells[i][p], cells[i][q], cells[j][p], cells[j][q]
        if not all(four):
            continue
        pairs += 1
        first, second = _difference(four[0], four[1]), _difference(four[2], four[3])
        if first[0] * second[0] >= 0:
            continue
        clear = all(abs(d) > 2 * error for d, error in (first, second))
        better, worse = (p, q) if first[0] > 0 else (q, p)
        found.append(Reversal(columns[better], columns[worse], rows[i], rows[j], clear))
    return found, pairs


def _difference(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Difference of means and its standard error; infinite with one seed."""
    error = math.inf
    if len(a) > 1 and len(b) > 1:
        error = math.sqrt(np.var(a, ddof=1) / len(a) + np.var(b, ddof=1) / len(b))
    return float(np.mean(a) - np.mean(b)), error


def _names(scores: Sequence[Score], of: Any) -> list[str]:
    """In order of first appearance in the grid's own order of values."""
    return list(dict.fromkeys(of(s.cell) for s in scores))


def _positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
