"""A study in a folder: what is done stays done. Training is faked but for the last test."""

import io
import json
import re
from types import SimpleNamespace

import pytest
from cases import write_pictures
from rich.console import Console

import foveal
from foveal.core.files import write_json
from foveal.engine.runfolder import Outcome, RunFolder
from foveal.errors import FovealError
from foveal.evaluation.result import Result
from foveal.report.study_page import write_study_page
from foveal.report.study_text import render, render_plan
from foveal.studies.grid import make_grid
from foveal.studies.runner import Runner


class Fakes:
    """The verbs, without the work: a score that grows with the logarithm of the pictures."""

    def __init__(self, stop_at=None, refuse=None):
        self.trained, self.measured, self.stop_at, self.refuse = [], [], stop_at, refuse

    def pretrain(self, data, out, *, recipe, quiet):
        if self.refuse and recipe.network.width == self.refuse:
            raise FovealError("too wide")
        folder = RunFolder(out)
        if not folder.exists:
            folder.create(recipe, {"fingerprint": "x"})
        self.trained.append(out.name)
        finished = len(self.trained) != self.stop_at
        outcome = Outcome(finished, 4, 100, 2.0, None if finished else "SIGTERM")
        if finished:
            folder.finish(outcome)
        return SimpleNamespace(outcome=outcome)

    def evaluate(self, run, data, *, protocols):
        self.measured.append(run.name)
        pictures, seed = map(int, re.search(r"_n(\d+)_s(\d)", run.name).groups())
        value = 0.2 + 0.0001 * pictures + 0.01 * seed
        return [
            Result(protocols[0], "top1", value, (0.1, 0.9), 10, {"random_init": {"value": 0.1}})
        ]


def _runner(out, fakes, said=None, **values):
    values = {"sizes": [100, 200, 400], "seeds": 2, "epochs": 1, **values}
    return Runner(
        out, make_grid("data-scaling", **values), "pile", "labelled", "knn/top1",
        pretrain=fakes.pretrain, evaluate=fakes.evaluate,
        say=print if said is None else said.append,
    )  # fmt: skip


def _text(shown):
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(shown)
    return console.export_text()


def test_a_study_that_was_interrupted_goes_on_and_one_that_grew_adds_what_is_missing(tmp_path):
    first = Fakes(stop_at=3)
    study = _runner(tmp_path / "s", first).run()
    assert study.stopped and len(study.scores) == 2 and len(first.trained) == 3
    assert [p.state for p in _runner(tmp_path / "s", first).plan(trial=False)] == [
        "done", "done", "started", "open", "open", "open"
    ]  # fmt: skip
    second = Fakes()
    study = _runner(tmp_path / "s", second).run()
    assert second.trained[0] == first.trained[2] and len(second.trained) == 4
    assert len(study.scores) == 6 and study.findings.lines[0].fit.points == 6
    third = Fakes()
    assert _runner(tmp_path / "s", third).run().scores == study.scores and not third.trained
    grown = _runner(tmp_path / "s", third, seeds=3).run()
    assert len(third.trained) == 3 and len(grown.scores) == 9


def test_a_network_that_cannot_be_run_does_not_cost_the_others(tmp_path):
    said = []
    study = _runner(tmp_path / "s", Fakes(refuse=2.0), said, widths=[1.0, 2.0]).run()
    assert len(study.scores) == 6 and len(study.failed) == 6
    assert all(reason == "too wide" for reason in study.failed.values())
    assert any("cannot be run: too wide" in line for line in said)


def test_the_plan_knows_how_long_it_takes(tmp_path):
    fakes = Fakes()
    runner = _runner(tmp_path / "s", fakes)
    assert {p.minutes for p in runner.plan(trial=False)} == {None}
    plan = runner.plan(trial=True)  # 2 seconds for 100 pictures; 400 in every run
    assert [p.minutes for p in plan] == pytest.approx([8 / 60] * 6) and len(fakes.trained) == 1
    assert not (tmp_path / "s").exists()
    shown = _text(render_plan(runner.grid, plan))
    assert "6 runs, 6 not done: about 0.8 minutes" in shown and "rotation_n400_s1" in shown


def test_a_signal_during_a_trial_ends_the_plan(tmp_path):
    fakes = Fakes(stop_at=1)
    with pytest.raises(KeyboardInterrupt):
        _runner(tmp_path / "s", fakes, widths=[0.5, 1.0]).plan(trial=True)
    assert len(fakes.trained) == 1


def test_what_is_shown_is_what_was_found(tmp_path):
    study = _runner(tmp_path / "s", Fakes(), widths=[0.5, 1.0]).run()
    shown = _text(render(study))
    assert "12 of 12 runs" in shown and "rotation, width 0.5" in shown
    assert "24.5 ± 0.7" in shown  # 400 pictures
    assert "rank changes: 0 of 3 pairs" in shown and "R²" in shown
    page = write_study_page(study, tmp_path / "study.html").read_text()
    assert "<svg" in page and "24.5 ± 0.7" in page and "stroke-dasharray" in page
    json.dumps(study.to_json(), allow_nan=False)


def test_a_folder_holds_one_study(tmp_path):
    _runner(tmp_path / "s", Fakes()).run()
    with pytest.raises(FovealError, match="labelled labelled, not other"):
        Runner(
            tmp_path / "s", make_grid("data-scaling", sizes=[1, 2]), "pile", "other", "knn/top1",
            pretrain=Fakes().pretrain, evaluate=Fakes().evaluate, say=print,
        )  # fmt: skip
    write_json(tmp_path / "t" / "x.json", {})
    with pytest.raises(FovealError, match="holds something else"):
        _runner(tmp_path / "t", Fakes())
    with pytest.raises(FovealError, match="no protocol/metric"):
        Runner(
            tmp_path / "u", make_grid("data-scaling", sizes=[1, 2]), "pile", "x", "knn",
            pretrain=Fakes().pretrain, evaluate=Fakes().evaluate, say=print,
        )  # fmt: skip


def test_a_tiny_grid_really_runs(tmp_path):
    """Two sizes, labels with noise made on purpose: the whole way, once."""
    pictures = write_pictures(tmp_path / "pictures", n=48)
    changes = {
        "batch": 8, "network": {"width": 0.25}, "labels": {"drop": 0.1},
        "machine": {"cores": 1, "monitor_every": 100.0},
    }  # fmt: skip
    study = foveal.study(
        "data-scaling", pictures, tmp_path / "s", methods=["supervised"], sizes=[16, 32], seeds=1,
        axes=["labels.flip=0.2"], epochs=0.5, changes=changes, quiet=True,
    )  # fmt: skip
    assert [s.cell.recipe.pictures for s in study.scores] == [16, 32] and not study.failed
    assert all(s.cell.recipe.labels.flip == 0.2 for s in study.scores)
    assert all(s.random_init is not None for s in study.scores)
    assert len(study.findings.lines) == 1 and (tmp_path / "s" / "study.html").is_file()
    run = tmp_path / "s" / "cells" / study.scores[0].cell.name
    assert (run / "backbone.safetensors").is_file() and (run / "report.html").is_file()
