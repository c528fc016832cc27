"""The file of an encoder: complete, described, checked."""

import json

import pytest
import torch
from safetensors.torch import save_file

from foveal.backbones.encoder import Encoder
from foveal.backbones.inputs import Channels, Normalise, Sobel
from foveal.backbones.registry import build_backbone
from foveal.errors import FovealError
from foveal.exporting.weights import load_encoder, read_about, save_encoder


def _encoder():
    """Two trunks that see different channels, with statistics that are not 0 and 1."""
    torch.manual_seed(0)
    trunks = [build_backbone("small", width=0.25, in_chans=c) for c in (1, 2)]
    encoder = Encoder(
        trunks,
        [[Normalise([0.5], [0.2]), Channels([0])], [Sobel()]],
        channels=3,
        size=32,
        fraction=0.9,
    )
    encoder(torch.rand(4, 3, 32, 32))
    return encoder


def test_a_file_is_all_that_is_needed(tmp_path):
    encoder = _encoder()
    about = {"recipe": {"method": "byol"}, "seed": 3, "names": ["ä"]}
    save_encoder(encoder, tmp_path / "run" / "backbone.safetensors", about)
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["backbone.safetensors"]
    for path in (tmp_path / "run", tmp_path / "run" / "backbone.safetensors"):
        loaded = load_encoder(path)
        assert not loaded.training and loaded.describe() == encoder.describe()
        assert read_about(path) == about
        x = torch.rand(2, 3, 32, 32)
        with torch.no_grad():
            ours, theirs = encoder.eval()(x, ["stage2"]), loaded(x, ["stage2"])
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_cannot_be_read_says_why(tmp_path):
    file = tmp_path / "backbone.safetensors"
    save_encoder(_encoder(), file, {"version": "9.9"})
    whole = file.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.safetensors").write_bytes(b"")
    save_file({"x": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    header = {"format": 99}
    save_file({"x": torch.zeros(2)}, tmp_path / "new.safetensors", {"foveal": json.dumps(header)})
    description = _encoder().describe()
    description["trunks"][0]["width"] = 0.5
    header = {"format": 1, "encoder": description, "about": {"version": "9.9"}, "prefix": ""}
    save_file({"x": torch.zeros(2)}, tmp_path / "odd.safetensors", {"foveal": json.dumps(header)})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.json").write_text("{}")
    (tmp_path / "run" / "checkpoints").mkdir()
    for name, message in [
        ("cut.safetensors", "damaged"),
        ("empty.safetensors", "damaged"),
        ("foreign.safetensors", "not written by foveal"),
        ("new.safetensors", "format 99"),
        ("odd.safetensors", "(?s)does not fit.*9.9"),
        ("none.safetensors", "no file"),
        ("run", "not finished"),
    ]:
        with pytest.raises(FovealError, match=message):
            load_encoder(tmp_path / name)
