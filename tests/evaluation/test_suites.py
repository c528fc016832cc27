import io
import sys

import numpy as np
import pytest
from rich.console import Console
from test_finetune import _encoder, _pictures
from test_transfer import voc  # noqa: F401

import foveal
from foveal import cli
from foveal.errors import FovealError
from foveal.evaluation.changes import changes_of
from foveal.evaluation.finetune import parse_labels
from foveal.evaluation.own_data import OWN_DATA
from foveal.evaluation.protocols import PROTOCOLS
from foveal.evaluation.result import table
from foveal.evaluation.run_suite import data_sets
from foveal.evaluation.suites import SUITES, Suite, get_suite
from foveal.evaluation.tuning import get_tuning


def _data(folder, n=60):
    images, labels = _pictures(n)
    np.savez(folder / "data.npz", images=images, labels=labels)
    return folder / "data.npz"


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_names_what_there_is(name):
    suite = get_suite(name)
    assert set(suite.protocols) <= {*PROTOCOLS, *OWN_DATA}
    assert len(set(suite.protocols)) == len(suite.protocols)
    parse_labels(suite.labels, seed=0)
    get_tuning(suite.tuning)
    assert suite.about


def test_the_doom_suite_leaves_out_what_takes_long_or_has_no_doom_data():
    slow = {"retrain_after", "finetune_after", "svm_pyramid", "lasso", "navigation"}
    out = {*slow, "corruptions", "instances"}
    assert set(get_suite("doom").protocols) == {*PROTOCOLS, *OWN_DATA} - out


def test_a_wrong_name_tells_the_nearest():
    with pytest.raises(FovealError, match="no suite 'goyl'") as error:
        get_suite("goyl")
    assert "goyal" in error.value.hint


def test_a_suite_asks_every_data_set_what_it_can_answer(tmp_path, voc, monkeypatch):  # noqa: F811
    monkeypatch.setitem(SUITES, "two", Suite(("knn", "svm", "finetune", "normals")))
    console = Console(file=io.StringIO(), width=200)
    found = foveal.evaluate(
        _encoder(), [_data(tmp_path), voc], suite="two", changes=["epochs=1"], console=console,
        quiet=False,
    )  # fmt: skip
    asked = [(r.protocol, r.n) for r in found if r.metric != "map_eleven_point"]
    assert asked == [("knn", 12), ("svm", 12), ("finetune", 12), ("svm", 9), ("finetune", 9)]
    shown = console.file.getvalue()
    assert "left out: normals (" in shown and "SegmentationClass" not in shown.split("normals")[0]
    text = io.StringIO()
    Console(file=text, width=200).print(table(found))
    assert "% of 9 test pictures" in text.getvalue() and "(test)" in text.getvalue()


def test_a_network_the_suites_kernels_are_not_for_is_pooled_by_the_plain_rule(
    tmp_path, monkeypatch
):
    monkeypatch.setitem(SUITES, "one", Suite(("endpoints",), changes={"pool": "goyal"}))
    console = Console(file=io.StringIO(), width=200)
    run = {"suite": "one", "console": console, "quiet": False}
    found = foveal.evaluate(_encoder(), _data(tmp_path), changes=["probe=ridge"], **run)
    assert "windows that meet" in found[0].configuration["pooling"]
    assert "endpoints: pool=avg, since pool=goyal has kernels for" in console.file.getvalue()
    # What the user asks for is not replaced.
    with pytest.raises(FovealError, match="pool=goyal has kernels"):
        foveal.evaluate(_encoder(), _data(tmp_path), changes=["pool=goyal"], **run)


def test_a_wrong_setting_is_found_before_anything_runs(tmp_path, voc, monkeypatch):  # noqa: F811
    monkeypatch.setitem(SUITES, "two", Suite(("knn", "detection")))
    console = Console(file=io.StringIO(), width=200)
    run = {"suite": "two", "console": console, "quiet": False}
    with pytest.raises(FovealError, match="cells"):
        foveal.evaluate(_encoder(), [_data(tmp_path), voc], changes=["cells=0.5"], **run)
    assert "measuring" not in console.file.getvalue()


def test_a_doom_world_is_not_taken_for_classes(tmp_path):
    for name in ("objects", "scenes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "META.json").write_text("{}")
    with pytest.raises(FovealError, match="holds several data sets") as error:
        foveal.evaluate(_encoder(), tmp_path, protocols=["knn"])
    assert f"--data {tmp_path}/objects" in error.value.hint


def test_data_that_serves_nothing_is_an_error_with_the_reason(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FovealError, match=r"serves none of the suite's protocols: .*empty"):
        foveal.evaluate(_encoder(), tmp_path / "empty", suite="simclr")


def test_evaluate_takes_a_suite_or_protocols(tmp_path):
    with pytest.raises(FovealError, match="give one of the two"):
        foveal.evaluate(_encoder(), _data(tmp_path), suite="goyal", protocols=["knn"])


def test_the_parts_of_a_doom_world_are_data_sets(tmp_path):
    for name in ("objects/train", "scenes/ImageSets"):
        (tmp_path / "world" / name).mkdir(parents=True)
    world = str(tmp_path / "world")
    assert data_sets(world) == [f"{world}/objects", f"{world}/scenes"]
    assert data_sets(f"{world}/objects") == [f"{world}/objects"]
    assert data_sets([f"{world}/scenes", "other"]) == [f"{world}/scenes", "other"]


def test_each_protocol_takes_the_settings_it_has():
    names = ["knn", "finetune", "depth", "detection"]
    found = changes_of(names, {"epochs": 2, "layer_decay": 0.5, "width": 64, "metric": "top1"})
    assert found == {
        "knn": {"metric": "top1"},
        "finetune": {"epochs": 2, "layer_decay": 0.5},
        "depth": {"epochs": 2, "width": 64},
        "detection": {"epochs": 2, "width": 64},
    }
    assert changes_of(["detection"], {"recipe": "coco_1x"}) == {"detection": {"recipe": "coco_1x"}}
    with pytest.raises(FovealError, match="finetune, depth have no setting 'widht'") as error:
        changes_of(["finetune", "depth"], {"widht": 64})
    assert "width" in error.value.hint
    with pytest.raises(FovealError, match="knn has no setting 'epochs'") as error:
        changes_of(["knn"], {"epochs": 1})
    assert "finetune" in error.value.hint


def test_several_data_sets_are_for_suites(tmp_path, capsys, monkeypatch):
    words = ["evaluate", "run", "--data", "a", "--data", "b"]
    monkeypatch.setattr(sys, "argv", ["foveal", *words])
    with pytest.raises(SystemExit):
        cli.main()
    assert "2 data sets" in capsys.readouterr().err
