"""Runs the cells of a study one after another; what is done is never done again.

A study's folder holds ``study.json``, the plan, and under ``cells`` one run folder for every cell,
with ``cell.json`` in it once it is measured. A cell is a run folder like any other.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from foveal.core.files import read_json, write_json
from foveal.engine.pretrain import Trained
from foveal.engine.runfolder import RunFolder
from foveal.errors import FovealError
from foveal.evaluation.result import Result
from foveal.recipe import Recipe, override
from foveal.studies.findings import Findings, Score, find
from foveal.studies.grid import METHOD, NETWORK, WIDTH, Cell, Grid

_TRIAL_MINUTES = 0.1
_RATE_OF = (METHOD, NETWORK, WIDTH)


class Pretrain(Protocol):
    """``foveal.pretrain``."""

    def __call__(self, data: Any, out: Path, *, recipe: Recipe, quiet: bool) -> Trained:
        """Trains a run, continues it, or finds it finished."""
        ...


class Evaluate(Protocol):
    """``foveal.evaluate``."""

    def __call__(self, run: Path, data: Any, /, *, protocols: Sequence[str]) -> list[Result]:
        """Measures a run."""
        ...


@dataclass(frozen=True)
class Planned:
    """One cell before the study: ``done``, ``started`` or ``open``; None: nobody knows."""

    cell: Cell
    state: str
    minutes: float | None


@dataclass(frozen=True)
class Study:
    """A study so far.

    Attributes:
        path: Its folder.
        grid: What it is made of.
        measure: Protocol and metric all cells are measured with.
        plan: The cells, as they stood before this call.
        scores: Of the cells that are measured.
        failed: Cells that cannot be run, with the reason.
        findings: What the scores say; None before two of them.
        stopped: A signal ended it; the same command continues.
    """

    path: Path
    grid: Grid
    measure: str
    plan: list[Planned]
    scores: list[Score]
    failed: dict[str, str]
    findings: Findings | None
    stopped: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "kind": self.grid.kind,
            "axes": {name: list(values) for name, values in self.grid.axes.items()},
            "measure": self.measure,
            "plan": [
                {"run": p.cell.name, "state": p.state, "minutes": p.minutes} for p in self.plan
            ],
            "scores": [
                {**s.cell.values, "value": s.value, "random_init": s.random_init}
                for s in self.scores
            ],
            "failed": self.failed,
            "findings": None if self.findings is None else self.findings.to_json(),
        }


class Runner:
    """A study in a folder.

    Args:
        path: The folder.
        grid: Its cells.
        data: What is learned from.
        labelled: What is measured on.
        measure: ``protocol/metric``.
        pretrain, evaluate: The verbs.
        say: Told about every cell.
    """

    def __init__(
        self,
        path: str | Path,
        grid: Grid,
        data: Any,
        labelled: Any,
        measure: str,
        *,
        pretrain: Pretrain,
        evaluate: Evaluate,
        say: Callable[[str], None],
    ) -> None:
        self.path, self.grid, self.data, self.labelled = Path(path), grid, data, labelled
        self.measure, self.pretrain, self.evaluate, self.say = measure, pretrain, evaluate, say
        self.protocol, slash, self.metric = measure.partition("/")
        if not slash:
            raise FovealError(f"'{measure}' is no protocol/metric", hint="knn/top1 or linear/top1")
        self.cells = grid.cells()
        self._check_same()

    def plan(self, *, trial: bool) -> list[Planned]:
        """Every cell with its state and its minutes of training.

        The speed is that of finished cells of the same network; where there are none and
        ``trial``, a few seconds of training tell it.
        """
        rates: dict[tuple[str, ...], float | None] = dict(self._rates())
        planned = []
        for cell in self.cells:
            state = self._state(cell)
            key = self._rate_key(cell)
            if key not in rates and trial and state != "done":
                rates[key] = self._tried(cell)
            rate = rates.get(key)
            minutes = None if rate is None else self._seen(cell) * rate / 60
            planned.append(Planned(cell, state, minutes))
        return planned

    def run(self) -> Study:
        """Runs what is not done, and finds."""
        plan = self.plan(trial=False)
        write_json(self.path / "study.json", self._about())
        failed: dict[str, str] = {}
        stopped = False
        for i, cell in enumerate(self.cells):
            if self._state(cell) == "done":
                continue
            self.say(f"{i + 1} of {len(self.cells)}: {cell.name}")
            try:
                trained = self.pretrain(
                    self.data, self.folder(cell), recipe=cell.recipe, quiet=True
                )
                if trained.outcome is not None and not trained.outcome.finished:
                    stopped = True
                    break
                self._measure(cell)
            except FovealError as error:
                # One network a method cannot take must not cost the rest of the grid.
                failed[cell.name] = error.message
                self.say(f"  cannot be run: {error.message}")
        return self.study(plan, failed, stopped)

    def study(
        self, plan: list[Planned], failed: dict[str, str] | None = None, stopped: bool = False
    ) -> Study:
        """What is there now."""
        scores = [s for cell in self.cells if (s := self._score(cell)) is not None]
        found = find(self.grid, scores) if len(scores) > 1 else None
        return Study(self.path, self.grid, self.measure, plan, scores, failed or {}, found, stopped)

    def folder(self, cell: Cell) -> Path:
        """A cell's run folder."""
        return self.path / "cells" / cell.name

    def _measure(self, cell: Cell) -> None:
        results = self.evaluate(self.folder(cell), self.labelled, protocols=[self.protocol])
        found = next((r for r in results if r.metric == self.metric), None)
        if found is None:
            known = ", ".join(f"{r.protocol}/{r.metric}" for r in results)
            raise FovealError(f"{self.protocol} measures no '{self.metric}'", hint=known)
        start = found.baselines.get("random_init", {}).get("value")
        record = {
            "recipe": cell.recipe.digest(), "measure": self.measure, "value": found.value,
            "interval": found.interval, "random_init": start,
        }  # fmt: skip
        write_json(self.folder(cell) / "cell.json", record)
        shown = "" if start is None else f" (random initialisation {start:.4g})"
        self.say(f"  {self.measure} {found.value:.4g}{shown}")

    def _record(self, cell: Cell) -> dict[str, Any] | None:
        file = self.folder(cell) / "cell.json"
        record = read_json(file) if file.is_file() else {}
        same = (record.get("recipe"), record.get("measure"))
        return record if same == (cell.recipe.digest(), self.measure) else None

    def _score(self, cell: Cell) -> Score | None:
        record = self._record(cell)
        return None if record is None else Score(cell, record["value"], record["random_init"])

    def _state(self, cell: Cell) -> str:
        if self._record(cell) is not None:
            return "done"
        return "started" if RunFolder(self.folder(cell)).exists else "open"

    def _rates(self) -> dict[tuple[str, ...], float]:
        """Seconds a picture of finished runs, by method and network."""
        rates = {}
        for cell in self.cells:
            file = RunFolder(self.folder(cell)).finished_file
            if file.is_file():
                end = read_json(file)
                rates[self._rate_key(cell)] = end["seconds"] / max(1, end["seen"])
        return rates

    def _rate_key(self, cell: Cell) -> tuple[str, ...]:
        return tuple(str(cell.values.get(axis)) for axis in _RATE_OF)

    def _tried(self, cell: Cell) -> float | None:
        recipe = override(cell.recipe, {"minutes": _TRIAL_MINUTES})
        with tempfile.TemporaryDirectory(prefix="foveal-trial-") as folder:
            try:
                outcome = self.pretrain(
                    self.data, Path(folder) / "run", recipe=recipe, quiet=True
                ).outcome
            except FovealError as error:
                self.say(f"{cell.name} cannot be run: {error.message}")
                return None
        if outcome and not outcome.finished:
            raise KeyboardInterrupt  # the signal was for the command, not for this trial alone
        return outcome.seconds / max(1, outcome.seen) if outcome else None

    def _seen(self, cell: Cell) -> float:
        if cell.recipe.pictures is None:
            from foveal.data.sources import open_source

            return float(cell.recipe.epochs or 0) * len(open_source(self.data))
        return cell.pictures_seen

    def _about(self) -> dict[str, Any]:
        return {
            "data": str(self.data), "labelled": str(self.labelled), "measure": self.measure,
            "grid": asdict(self.grid),
        }  # fmt: skip

    def _check_same(self) -> None:
        """A folder holds one study; it may grow, but not change what it measures."""
        file = self.path / "study.json"
        if file.is_file():
            before, now = read_json(file), self._about()
            for name in ("data", "labelled"):
                if before[name] != now[name]:
                    raise FovealError(
                        f"the study in {self.path} has {name} {before[name]}, not {now[name]}",
                        hint="another --out",
                    )
        elif self.path.is_dir() and any(self.path.iterdir()):
            raise FovealError(f"{self.path} holds something else", hint="another --out")
