"""ONNX and Hugging Face style exports, loaded the way their line says."""

import json
import sys

import pytest
import torch
from readme import in_readme

from foveal.backbones.encoder import Encoder
from foveal.backbones.inputs import Normalise
from foveal.backbones.registry import build_backbone
from foveal.core.files import write_json
from foveal.errors import FovealError
from foveal.evaluation.result import Result
from foveal.exporting.card import write_card
from foveal.exporting.formats import export
from foveal.exporting.weights import save_encoder


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    torch.manual_seed(0)
    layers = [Normalise([0.4] * 3, [0.2] * 3)]
    encoder = Encoder([build_backbone("small", width=0.25)], [layers], channels=3, size=24)
    encoder(torch.rand(8, 3, 24, 24))
    folder = tmp_path_factory.mktemp("encoder")
    save_encoder(encoder, folder / "backbone.safetensors", {"recipe": {"method": "byol"}})
    return encoder.eval(), folder


def test_onnxruntime_loads_it_at_any_batch_and_size(saved, tmp_path):
    import onnxruntime  # noqa: F401 - the line needs it

    encoder, folder = saved
    report = export(folder, format="onnx", out=tmp_path / "out")
    session = eval(report.line)
    assert in_readme(report)
    about = json.loads((tmp_path / "out" / "encoder.json").read_text())
    assert about["input"]["free"] == ["batch", "height", "width"]
    for shape in ((1, 3, 24, 24), (5, 3, 24, 24), (2, 3, 40, 56)):
        x = torch.rand(shape)
        with torch.no_grad():
            expected = encoder(x)["pooled"]
        (found,) = session.run([about["output"]["name"]], {about["input"]["name"]: x.numpy()})
        assert torch.allclose(torch.from_numpy(found), expected, atol=1e-4, rtol=1e-4)


def test_without_the_extra_one_line_names_it(saved, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(FovealError, match="onnxruntime") as caught:
        export(saved[1], format="onnx", out=tmp_path / "out")
    assert caught.value.hint == "pip install 'foveal[onnx]'" and not (tmp_path / "out").exists()


def test_hf_folder(saved, tmp_path):
    import foveal  # noqa: F401 - the line needs it

    encoder, folder = saved
    report = export(folder, format="hf", out=tmp_path / "out")
    assert report.files == (
        "README.md", "config.json", "model.safetensors", "preprocessor_config.json",
    )  # fmt: skip
    assert in_readme(report)
    x = torch.rand(2, 3, 24, 24)
    with torch.no_grad():
        assert torch.equal(eval(report.line)(x)["pooled"], encoder(x)["pooled"])
    how = json.loads((tmp_path / "out" / "preprocessor_config.json").read_text())
    assert how["size"]["shortest_edge"] == 27 and how["crop_size"]["height"] == 24
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\n") and report.line in card and "Nothing was measured" in card


def test_the_card_holds_what_was_measured(saved, tmp_path):
    baselines = {
        name: {"value": v, "interval": [v, v], "difference": 0.1, "difference_interval": [0, 0.2]}
        for name, v in (("random_init", 0.146), ("pixels", 0.171))
    }
    about = {"data": {"test": {"name": "doom/objects/test", "n": 4000}}}
    result = Result("knn", "top1", 0.306, (0.292, 0.321), 4000, baselines, about)
    write_card(saved[0], {}, tmp_path, "torch.load()", [result.to_json()])
    card = (tmp_path / "README.md").read_text()
    row = "| knn top1 | test (4,000) | 30.6 [29.2, 32.1] | 14.6 | 17.1 (raw pixels) |"
    assert row in card


def test_the_card_holds_figures_that_are_no_shares_and_other_baselines(saved, tmp_path):
    def beside(value):
        return {
            "value": value, "interval": None, "difference": 0.1, "difference_interval": None,
        }  # fmt: skip

    about = {"data": {"test": {"name": "doom/scenes", "n": 200}}, "unit": "m"}
    baselines = {"random_init": beside(0.9), "mean_depth": beside(1.23456)}
    depth = Result("depth", "rmse", 0.71234, None, 200, baselines, about)
    alone = Result("knn", "top1", 0.5, (0.4, 0.6), 10, {"random_init": beside(0.25)}, {})
    write_card(saved[0], {}, tmp_path, "torch.load()", [depth.to_json(), alone.to_json()])
    card = (tmp_path / "README.md").read_text()
    assert "| depth rmse (m) | scenes (200) | 0.7123 | 0.9 | 1.235 (mean depth) |" in card
    assert "| knn top1 | ? (10) | 50.0 [40.0, 60.0] | 25.0 | - |" in card


def test_a_run_folder_brings_its_results(tmp_path):
    from foveal.engine.runfolder import RunFolder
    from foveal.exporting.formats import results_of

    assert results_of(tmp_path) == []
    run = RunFolder(tmp_path)
    write_json(tmp_path / "recipe.json", {})
    write_json(run.results / "knn.json", [{"protocol": "knn"}])
    assert results_of(tmp_path) == [{"protocol": "knn"}]
