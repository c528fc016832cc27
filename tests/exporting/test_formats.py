"""Exports load elsewhere, give the same features, and are refused where they would not."""

import subprocess
import sys

import pytest
import timm
import torch
from readme import in_readme

from foveal.backbones import timm_bridge
from foveal.backbones.encoder import Encoder
from foveal.backbones.inputs import Channels, Normalise, Sobel, Standardise
from foveal.backbones.registry import build_backbone
from foveal.errors import FovealError
from foveal.exporting.formats import export
from foveal.exporting.weights import load_encoder, save_encoder

MEAN, STD = [0.4, 0.5], [0.2, 0.3]


def _save(tmp_path, trunks, inputs, channels, size=32):
    torch.manual_seed(0)
    encoder = Encoder(trunks, inputs, channels=channels, size=size)
    # Statistics other than 0 and 1, so that a lost buffer shows.
    encoder(torch.rand(8, channels, size, size))
    save_encoder(encoder, tmp_path / "backbone.safetensors", {"recipe": {"method": "byol"}})
    return encoder.eval()


def test_timm_loads_it(tmp_path):
    trunk = build_backbone("convnext_atto", in_chans=2)
    encoder = _save(tmp_path, [trunk], [[Normalise(MEAN, STD)]], 2, size=64)
    report = export(tmp_path, format="timm", out=tmp_path / "out")
    assert report.files == ("README.md", "config.json", "model.safetensors")
    assert report.difference < 1e-5 and report.line in str(report) and in_readme(report)
    x = torch.rand(2, 2, 64, 64)
    net = eval(report.line).eval()
    data = timm.data.resolve_model_data_config(net)
    assert tuple(data["input_size"]) == (2, 64, 64) and data["crop_pct"] == 0.875
    mean, std = (torch.tensor(data[k])[:, None, None] for k in ("mean", "std"))
    with torch.no_grad():
        expected = encoder(x)["pooled"]
        torch.testing.assert_close(net((x - mean) / std), expected)
        # foveal reads it too, and a head can be put on.
        torch.testing.assert_close(load_encoder(tmp_path / "out")(x)["pooled"], expected)
        line = report.line.replace("num_classes=0", "num_classes=7")
        assert eval(line)(x).shape == (2, 7)
    card = (tmp_path / "out" / "README.md").read_text()
    assert report.line in card and "byol" in card


def test_torch_loads_it_without_foveal(tmp_path):
    trunks = [build_backbone("small", width=0.25, in_chans=c) for c in (1, 2)]
    encoder = _save(tmp_path, trunks, [[Channels([0])], [Normalise([0.5], [0.2]), Sobel()]], 3)
    report = export(tmp_path / "backbone.safetensors", format="torch", out=tmp_path / "out")
    assert report.files == ("README.md", "backbone.safetensors", "encoder.pt2")
    assert in_readme(report)
    x = torch.rand(5, 3, 32, 32)
    torch.save(x, tmp_path / "x.pt")
    code = (
        f"import sys, torch; y = {report.line}(torch.load('{tmp_path}/x.pt'));"
        f"torch.save(y.detach(), '{tmp_path}/y.pt'); assert 'foveal' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with torch.no_grad():
        torch.testing.assert_close(torch.load(tmp_path / "y.pt"), encoder(x)["pooled"])
    assert load_encoder(tmp_path / "out").describe() == encoder.describe()


def test_features_over_a_grid_of_tiles(tmp_path):
    """The grid is part of the program, and no part of any network of timm's."""
    trunk = build_backbone("resnet18", width=0.25, stem="small")
    encoder = Encoder([trunk], [[Standardise()]], channels=3, size=32, grid=3).eval()
    save_encoder(encoder, tmp_path / "backbone.safetensors", {})
    report = export(tmp_path, format="torch", out=tmp_path / "out")
    program = torch.export.load(tmp_path / "out" / "encoder.pt2").module()
    x = torch.rand(5, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(program(x), encoder(x)["pooled"])
        torch.testing.assert_close(load_encoder(tmp_path)(x)["pooled"], encoder(x)["pooled"])
    assert report.difference < 1e-5
    plain = build_backbone("resnet18")
    encoder = Encoder([plain], [[Normalise(MEAN[:1], STD[:1])]], channels=3, size=64, grid=2)
    save_encoder(encoder, tmp_path / "backbone.safetensors", {})
    with pytest.raises(FovealError, match="whole pictures"):
        export(tmp_path, format="timm", out=tmp_path / "timm")


def test_a_difference_is_caught_and_leaves_nothing(tmp_path, monkeypatch):
    _save(tmp_path, [build_backbone("resnet18")], [[Normalise([0.5], [0.2])]], 3)

    def wrong(folder):
        return timm.create_model("resnet18", num_classes=0)

    monkeypatch.setattr(timm_bridge, "load_exported", wrong)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(FovealError, match="features differ"):
        export(tmp_path, format="timm", out=tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


def test_what_timm_cannot_hold_is_refused(tmp_path):
    small = build_backbone("small", width=0.25)
    resnet = build_backbone("resnet18", width=0.25, in_chans=2)
    plain = build_backbone("mobilenetv3_small", in_chans=2)
    rgb = Normalise([0.5], [0.2])
    for trunks, inputs in [
        ([small], [[rgb]]),
        ([resnet], [[Channels([0, 1])]]),
        ([plain], [[rgb, Sobel()]]),
        ([plain, plain], [[Channels([0, 1])], [Channels([1, 2])]]),
    ]:
        _save(tmp_path, trunks, inputs, 3)
        with pytest.raises(FovealError, match="--format torch"):
            export(tmp_path, format="timm", out=tmp_path / "out")


def test_an_occupied_folder_and_an_unknown_format_are_refused(tmp_path):
    _save(tmp_path, [build_backbone("small", width=0.25)], [[Normalise([0.5], [0.2])]], 3)
    with pytest.raises(FovealError, match="not an empty folder"):
        export(tmp_path, format="torch", out=tmp_path)
    with pytest.raises(FovealError, match="did you mean torch"):
        export(tmp_path, format="torc", out=tmp_path / "out")
