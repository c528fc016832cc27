"""The verb ``compare``: results of several runs side by side, unlike ones apart and named.

Two results stand in one table only if everything but the network is the same: pictures, classes,
split, seed, layer and settings. What differs is a warning in words, never a silent rank.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from foveal.core.files import read_json
from foveal.engine.runfolder import RunFolder
from foveal.errors import FovealError
from foveal.evaluation.features import weights_digest
from foveal.evaluation.result import TRIVIAL, Result, metric_words
from foveal.exporting.weights import load_encoder, read_about
from foveal.methods import get_method
from foveal.metrics.bootstrap import unpaired_difference
from foveal.recipe import flatten

# Parts of a configuration that belong to the network, not to how it was measured.
_OWN = {
    "model", "weights", "dim", "view", "random_init", "random_init_value", "pixels", "unreadable",
    "chosen", "meaning",
}  # fmt: skip
# What a probe found for itself; everything else under ``chosen`` is a setting of it.
_FOUND = {
    "l2", "l2_tried", "iterations", "held_out_accuracy", "held_out_map", "lr", "weight_decay",
    "normalisation", "last_loss", "unreadable", "cost_per_class", "held_out_ap_per_class",
    "ap_per_class", "cost_per_draw_and_class", "cost", "mean_by_cost", "draws", "min", "max", "std",
    "layer", "pooled_dim", "alpha", "l1", "by_kind",
    "iou", "examples", "returns", "curves", "cost_per_draw",
}  # fmt: skip
_WHERE = {"name", "file"}  # the same pictures may lie elsewhere
_WORDS = {
    "data.test.fingerprint": "other test pictures",
    "data.train.fingerprint": "other training pictures",
    "data.test.n": "number of test pictures",
    "data.train.n": "number of training pictures",
    "n": "number of items",
}


@dataclass(frozen=True)
class Entry:
    """One run, exported folder or file of results.

    Attributes:
        name: Short, and unlike the others'.
        path: What was typed.
        method, network, seed: Of its recipe, where one is known.
        seen: Pictures seen in training.
        minutes: Of training.
        labels: Whether it learned from labels: then it is a yardstick and no contestant.
    """

    name: str
    path: str
    method: str | None = None
    network: str | None = None
    seed: int | None = None
    seen: int | None = None
    minutes: float | None = None
    labels: bool = False


@dataclass(frozen=True)
class Row:
    """One result in a table.

    Attributes:
        entry: Whose.
        result: As it was kept.
        to_best: (difference, interval) to the best of the runs without labels; None for itself.
        to_labels: The same to the best run with labels.
    """

    entry: Entry
    result: Result
    to_best: tuple[float, tuple[float, float]] | None = None
    to_labels: tuple[float, tuple[float, float]] | None = None


@dataclass(frozen=True)
class Table:
    """Results that were measured alike, the best first (figures without a best: as typed)."""

    protocol: str
    metric: str
    conditions: dict[str, Any]
    rows: tuple[Row, ...]

    @property
    def about(self) -> Result:
        """Any of the results: what they share can be read from it."""
        return self.rows[0].result

    @property
    def title(self) -> str:
        """What was measured, on what."""
        about = self.about.configuration
        where = "/".join(Path(about["data"]["test"]["name"]).parts[-2:])
        return (
            f"{self.protocol} {metric_words(self.metric)} on {where}: "
            f"{self.about.counted}, seed {about['seed']}"
        )

    def beside(self) -> list[tuple[str, dict[str, Any]]]:
        """What no network took part in, by name; raw pixels once for every side of theirs."""
        found: dict[str, dict[str, Any]] = {}
        for row in self.rows:
            for name in row.result.others:
                about = row.result.configuration
                side = f", {about['pixels']['size']} px" if name == "pixels" else ""
                found.setdefault(TRIVIAL[name] + side, row.result.baselines[name])
        return sorted(found.items())


@dataclass(frozen=True)
class Comparison:
    """Everything side by side.

    Attributes:
        entries: In the order typed.
        tables: One for every protocol, metric and way of measuring.
        warnings: What was not measured alike, or not at all.
    """

    entries: tuple[Entry, ...]
    tables: tuple[Table, ...]
    warnings: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Plain values; ``docs/evaluation.md`` documents the keys."""
        return {
            "runs": [asdict(e) for e in self.entries],
            "tables": [
                {
                    "protocol": t.protocol,
                    "metric": t.metric,
                    "conditions": t.conditions,
                    "rows": [_row_json(row) for row in t.rows],
                }
                for t in self.tables
            ],
            "warnings": list(self.warnings),
        }


def compare(runs: Sequence[str | Path]) -> Comparison:
    """Puts kept results of several runs side by side; measures nothing.

    Args:
        runs: Run folders, exported folders, or files that ``evaluate --json`` wrote.

    Raises:
        FovealError: Nothing was measured on one of them, or it is none of these.
    """
    if not runs:
        raise FovealError("nothing to compare", hint="foveal compare RUN RUN ...")
    paths = list(dict.fromkeys(str(run) for run in runs))
    names = [Path(p).name for p in paths]
    warnings: list[str] = []
    kept: list[tuple[Entry, list[Result]]] = []
    for path, short in zip(paths, names, strict=True):
        entry = _entry(path, short if names.count(short) == 1 else path)
        results = _results(path)
        warnings += _stale(entry, results)
        kept.append((entry, results))
    tables = list(_tables(kept))
    warnings += _unlike(tables) + _views(tables) + _missing(kept)
    return Comparison(tuple(e for e, _ in kept), tuple(tables), tuple(warnings))


def conditions(result: Result) -> dict[str, Any]:
    """What must be equal for two results to stand in one table, flat."""
    about = {k: v for k, v in result.configuration.items() if k not in _OWN}
    chosen = result.configuration.get("chosen", {}).get("trained", {})
    about["settings"] = {k: v for k, v in chosen.items() if k not in _FOUND}
    flat = flatten({**about, "n": result.n})
    return {k: v for k, v in flat.items() if k.rpartition(".")[2] not in _WHERE}


def _tables(kept: Sequence[tuple[Entry, list[Result]]]) -> Iterator[Table]:
    groups: dict[str, tuple[dict[str, Any], list[Row]]] = {}
    for entry, results in kept:
        for r in results:
            alike = conditions(r)
            key = json.dumps([r.protocol, r.metric, alike], sort_keys=True)
            groups.setdefault(key, (alike, []))[1].append(Row(entry, r))
    for alike, rows in groups.values():
        first = rows[0].result
        yield Table(first.protocol, first.metric, alike, tuple(_ordered(rows)))


def _ordered(rows: list[Row]) -> list[Row]:
    """The best first, every row with its distance to the best and to what labels give."""
    if any(row.result.interval is None for row in rows):
        return rows
    sign = -1 if rows[0].result.higher_is_better else 1
    rows = sorted(rows, key=lambda row: sign * row.result.value)
    best = next((row for row in rows if not row.entry.labels), None)
    with_labels = next((row for row in rows if row.entry.labels), None)
    return [
        Row(row.entry, row.result, _difference(row, best), _difference(row, with_labels))
        for row in rows
    ]


def _difference(row: Row, other: Row | None) -> tuple[float, tuple[float, float]] | None:
    if other is None or other is row or (row.entry.labels and not other.entry.labels):
        return None
    mine, theirs = row.result, other.result
    if mine.interval is None or theirs.interval is None:
        return None
    interval = unpaired_difference(mine.value, mine.interval, theirs.value, theirs.interval)
    return mine.value - theirs.value, interval


def _row_json(row: Row) -> dict[str, Any]:
    def difference(found: tuple[float, tuple[float, float]] | None) -> dict[str, Any] | None:
        return None if found is None else {"difference": found[0], "interval": list(found[1])}

    r = row.result
    return {
        "run": row.entry.name,
        "value": r.value,
        "interval": None if r.interval is None else list(r.interval),
        "n": r.n,
        "baselines": r.baselines,
        "random_init_value": r.configuration.get("random_init_value"),
        "to_best": difference(row.to_best),
        "to_labels": difference(row.to_labels),
    }


def _entry(path: str, name: str) -> Entry:
    """What is known of one argument."""
    folder = RunFolder(path)
    recipe: dict[str, Any] = {}
    if folder.exists:
        recipe = read_json(folder.recipe_file)
    elif Path(path).is_dir():
        recipe = read_about(path).get("recipe", {})
    method = recipe.get("method")
    done = read_json(folder.finished_file) if folder.finished else {}
    return Entry(
        name=name,
        path=path,
        method=method,
        network=recipe.get("network", {}).get("name"),
        seed=recipe.get("seed"),
        seen=done.get("seen"),
        minutes=None if "seconds" not in done else done["seconds"] / 60,
        labels=method is not None and _learns_from_labels(method),
    )


def _learns_from_labels(method: str) -> bool:
    try:
        return get_method(method).family == "supervised"
    except FovealError:  # a method of the user's own that cannot be imported here
        return False


def _results(path: str) -> list[Result]:
    """The kept results of one argument."""
    given = Path(path)
    if given.is_file() and given.suffix == ".json":
        try:
            found = read_json(given)
            return [Result.from_json(r) for r in found]
        except (ValueError, TypeError, KeyError) as error:
            raise FovealError(
                f"{path} holds no results: {error!r}", hint="foveal evaluate ... --json > FILE.json"
            ) from error
    if given.is_file():
        raise FovealError(
            f"{path} is a single file, beside which no results are kept",
            hint=f"foveal evaluate {path} --data LABELLED --json > {given.stem}.json, and compare "
            "that file",
        )
    if not given.is_dir():
        raise FovealError(f"there is no {path}", hint="run folders, exported folders, .json files")
    files = sorted(RunFolder(path).results.glob("*.json"))
    if not files:
        raise FovealError(
            f"{path}: nothing was measured on it yet",
            hint=f"foveal evaluate {path} --data LABELLED",
        )
    return [Result.from_json(r) for file in files for r in read_json(file)]


def _stale(entry: Entry, results: Sequence[Result]) -> list[str]:
    """Whether the weights have changed since they were measured."""
    if Path(entry.path).is_file():
        return []
    now = weights_digest(load_encoder(entry.path))
    old = _protocols(r for r in results if r.configuration["weights"] != now)
    if not old:
        return []
    return [
        f"{entry.name} has been trained on since {old} was measured: foveal evaluate {entry.path} "
        "--data LABELLED again"
    ]


def _unlike(tables: Sequence[Table]) -> list[str]:
    """What keeps results of one protocol in tables of their own."""
    found: dict[tuple[str, str, tuple[str, ...]], list[Result]] = {}
    for protocol, metric in dict.fromkeys((t.protocol, t.metric) for t in tables):
        some = [t for t in tables if (t.protocol, t.metric) == (protocol, metric)]
        main = max(some, key=lambda t: len(t.rows))
        there = {row.entry.name for row in main.rows}
        for table in some:
            changed = tuple(_changes(main.conditions, table.conditions))
            for row in table.rows:
                if row.entry.name not in there:
                    key = (row.entry.name, main.rows[0].entry.name, changed)
                    found.setdefault(key, []).append(row.result)
    return [
        f"{name} was not measured like {other} ({_protocols(results)}) and stands in a table of "
        f"its own: {'; '.join(changed)}"
        for (name, other, changed), results in found.items()
    ]


def _changes(main: dict[str, Any], other: dict[str, Any]) -> Iterator[str]:
    for key in sorted(set(main) | set(other)):
        a, b = main.get(key), other.get(key)
        if a == b:
            continue
        words = _WORDS.get(key, key.replace("_", " "))
        yield (
            words if key.endswith("fingerprint") else f"{words}: {_short(b)} instead of {_short(a)}"
        )


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) < 40 else f"{text[:36]} ..."


def _views(tables: Sequence[Table]) -> list[str]:
    """Networks that look at the pictures in another size stand together; it is said."""
    found: dict[str, Any] = {}
    for table in tables:
        views = {row.entry.name: row.result.configuration.get("view") for row in table.rows}
        if len({json.dumps(v, sort_keys=True) for v in views.values()}) > 1:
            found |= views
    if not found:
        return []
    named = ", ".join(
        f"{name} {v['size']} px of {v['channels']} channels, "
        + (f"{v['fraction']:g} of the short side" if "fraction" in v else "squashed")
        for name, v in found.items()
        if v is not None
    )
    return [f"the networks are not shown the same view of a picture: {named}"]


def _missing(kept: Sequence[tuple[Entry, list[Result]]]) -> list[str]:
    """Protocols that were not run on all."""
    every = dict.fromkeys(r.protocol for _, results in kept for r in results)
    lines = []
    for entry, results in kept:
        lacking = [p for p in every if p not in {r.protocol for r in results}]
        if lacking:
            lines.append(f"not measured on {entry.name}: {', '.join(lacking)}")
    return lines


def _protocols(results: Any) -> str:
    return ", ".join(dict.fromkeys(f"{r.protocol} {r.metric}" for r in results))
