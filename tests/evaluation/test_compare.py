import io
import json
import shutil
import sys

import numpy as np
import pytest
import torch
from rich.console import Console

from foveal import cli
from foveal.backbones.encoder import Encoder
from foveal.backbones.inputs import Normalise
from foveal.backbones.registry import build_backbone
from foveal.core.files import read_json, write_json
from foveal.engine.runfolder import RunFolder
from foveal.errors import FovealError
from foveal.evaluation import linear as linear_module
from foveal.evaluation.protocols import PROTOCOLS
from foveal.evaluation.run import evaluate
from foveal.evaluation.side_by_side import compare
from foveal.evaluation.tuning import Tuning
from foveal.exporting.weights import save_encoder
from foveal.recipe import Network, Recipe
from foveal.report.compare_page import write_compare_page
from foveal.report.compare_text import render


def _run(path, seed, method="simclr", size=16):
    torch.manual_seed(seed)
    trunk = build_backbone("small", in_chans=3, width=0.25, stem="small")
    encoder = Encoder(
        [trunk], [[Normalise([0.5] * 3, [0.25] * 3)]], channels=3, size=size, fraction=1.0
    )
    folder = RunFolder(path)
    recipe = Recipe(method=method, network=Network(name="small"), epochs=1, seed=seed)
    folder.create(recipe, {"data": "pile", "fingerprint": "", "scan": {}})
    save_encoder(encoder, folder.backbone_file, {"recipe": recipe.to_json()})
    return path


def _data(path, seed=0, n=105):
    draw = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    x = draw.normal(110, 30, (n, 20, 20, 3)) + 40 * np.eye(3)[labels][:, None, None]
    np.savez(path, images=x.clip(0, 255).astype(np.uint8), labels=labels)
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of other seeds, measured by the same command with every protocol.

    Clusters are left out: resampling their scores takes seconds.
    """
    root = tmp_path_factory.mktemp("runs")
    data = _data(root / "data.npz")
    found = [_run(root / "a", 0), _run(root / "b", 1)]
    for run in found:
        # Sixteen fits by L-BFGS a run, with a quarter of the values of l2.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(linear_module, "_COARSE_FROM", 0)
            evaluate(
                run, data, protocols=[p for p in PROTOCOLS if p != "clusters"], labels=[5],
                tuning=Tuning(epochs=1), changes={"directions": 8},
            )  # fmt: skip
    return found


def _text(found, width=160):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(render(found))
    return console.export_text()


def test_one_command_on_two_runs_is_one_table_for_every_protocol(runs):
    """Holds for protocols to come: what a probe chooses must not look like a setting."""
    found = compare(runs)
    assert found.warnings == ()
    assert all(len(t.rows) == 2 for t in found.tables)
    kept = {(r["protocol"], r["metric"]) for p in (runs[0] / "results").glob("*.json")
            for r in read_json(p)}  # fmt: skip
    assert {(t.protocol, t.metric) for t in found.tables} == kept
    assert len(found.tables) == len(kept)


def test_rows_stand_in_order_with_their_distance_to_the_best(runs):
    knn = next(t for t in compare(runs).tables if t.protocol == "knn")
    first, second = knn.rows
    assert first.result.value >= second.result.value
    assert first.to_best is None
    difference, (low, high) = second.to_best
    assert difference == second.result.value - first.result.value <= 0
    assert low < difference < high


def _changed(run, protocol, change):
    path = run / "results" / f"{protocol}.json"
    value = read_json(path)
    for r in value:
        change(r)
    write_json(path, value)


@pytest.fixture
def copies(runs, tmp_path):
    return [shutil.copytree(run, tmp_path / run.name) for run in runs]


def _set(*keys, value):
    def change(result):
        at = result["configuration"]
        for key in keys[:-1]:
            at = at[key]
        at[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_set("data", "test", "fingerprint", value="other"), "other test pictures"),
        (_set("data", "train", "fingerprint", value="other"), "other training pictures"),
        (_set("seed", value=7), "seed: 7 instead of 0"),
        (_set("classes", value=9), "classes: 9 instead of 3"),
        (_set("layer", value="stage2"), "layer: stage2 instead of pooled"),
        (_set("chosen", "trained", "k", value=5), "settings.k: 5 instead of 20"),
        (_set("crops", value=10), "crops: 10 instead of nothing"),
    ],
)
def test_what_was_measured_unlike_stands_apart_and_is_named(copies, change, words):
    _changed(copies[1], "knn", change)
    found = compare(copies)
    assert [len(t.rows) for t in found.tables if t.protocol == "knn"] == [1, 1]
    assert all(len(t.rows) == 2 for t in found.tables if t.protocol != "knn")
    (warning,) = found.warnings
    assert words in warning and "b was not measured like a (knn top1)" in warning
    shown = " ".join(_text(found).split())
    assert "warning: b was not measured like a" in shown


def test_results_on_more_data_are_more_tables_and_no_warning(copies, tmp_path):
    other = _data(tmp_path / "other.npz", seed=1)
    for run in copies:
        evaluate(run, other, protocols=["knn"])
    found = compare(copies)
    assert [len(t.rows) for t in found.tables if t.protocol == "knn"] == [2, 2]
    assert found.warnings == ()


def test_what_was_not_measured_is_named(copies):
    (copies[1] / "results" / "ridge.json").unlink()
    assert compare(copies).warnings == ("not measured on b: ridge",)


def test_weights_that_changed_after_measuring_are_named(copies):
    (copies[1] / "backbone.safetensors").write_bytes(
        (copies[0] / "backbone.safetensors").read_bytes()
    )
    (warning,) = compare(copies).warnings
    assert warning.startswith("b has been trained on since ") and "knn top1" in warning


def test_another_view_of_the_pictures_is_told(tmp_path, runs):
    larger = _run(tmp_path / "c", 0, size=20)
    evaluate(larger, runs[0].parent / "data.npz", protocols=["knn"])
    found = compare([runs[0], larger])
    assert len(next(t for t in found.tables if t.protocol == "knn").rows) == 2
    assert any("a 16 px of 3 channels" in w and "c 20 px" in w for w in found.warnings)
    knn = next(t for t in found.tables if t.protocol == "knn")
    assert [name for name, _ in knn.beside()] == ["raw pixels, 16 px", "raw pixels, 20 px"]


def test_a_run_with_labels_is_the_yardstick_and_no_contestant(tmp_path, runs, copies):
    _run(tmp_path / "with", 2, method="supervised")
    evaluate(tmp_path / "with", runs[0].parent / "data.npz", protocols=["knn"])
    _changed(tmp_path / "with", "knn", lambda r: r.update(value=0.99, interval=[0.98, 1.0]))
    found = compare([*copies, tmp_path / "with"])
    knn = next(t for t in found.tables if t.protocol == "knn")
    top, best, _ = knn.rows
    assert top.entry.labels and top.to_best is None and top.to_labels is None
    assert best.to_best is None and best.to_labels[0] == best.result.value - 0.99
    assert "with (labels)" in _text(found) and "to labels" in _text(found)


def test_files_of_results_and_exported_folders(tmp_path, runs):
    from foveal.exporting.formats import export

    data = runs[0].parent / "data.npz"
    export(runs[0], format="hf", out=tmp_path / "exported")
    with pytest.raises(FovealError, match="nothing was measured"):
        compare([tmp_path / "exported"])
    found = evaluate(tmp_path / "exported", data, protocols=["knn"])
    write_json(tmp_path / "kept.json", [r.to_json() for r in found])
    side = compare([runs[0], tmp_path / "exported", tmp_path / "kept.json"])
    knn = next(t for t in side.tables if t.protocol == "knn")
    assert len({row.result.value for row in knn.rows}) == 1
    assert [e.method for e in side.entries] == ["simclr", "simclr", None]
    save = runs[0] / "backbone.safetensors"
    for path, words in [
        (save, "single file"), (tmp_path / "none", "there is no"), (data, "single file"),
    ]:  # fmt: skip
        with pytest.raises(FovealError, match=words):
            compare([path])
    (tmp_path / "bad.json").write_text('[{"protocol": 1}]')
    with pytest.raises(FovealError, match="holds no results"):
        compare([tmp_path / "bad.json"])


def test_the_page_needs_nothing_else_and_shows_everything(tmp_path, runs):
    found = compare(runs)
    page = write_compare_page(found, tmp_path / "page.html").read_text()
    assert "http" not in page and "<script" not in page
    for table in found.tables:
        assert table.title.replace("'", "&#x27;") in page
        for row in table.rows:
            value = row.result.value
            assert (f"{100 * value:.1f} %" if row.result.baselines else f"{value:.3f}") in page
    assert page.count("<svg") == sum(1 + len(t.rows) for t in found.tables if t.about.baselines)


def test_the_command(capsys, monkeypatch, copies, tmp_path):
    _changed(copies[1], "knn", _set("seed", value=1))
    page = tmp_path / "page.html"
    words = ["foveal", "compare", *map(str, copies), "--json", "--out", str(page)]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0
    value = json.loads(capsys.readouterr().out)
    assert [r["name"] for r in value["runs"]] == ["a", "b"]
    assert len(value["warnings"]) == 1 and page.is_file()
    row = value["tables"][0]["rows"][0]
    assert set(row) == {
        "run", "value", "interval", "n", "baselines", "random_init_value", "to_best", "to_labels",
    }  # fmt: skip
