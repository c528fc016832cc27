"""ResNets under torchvision's and detectron2's names.

detectron2 has to be compiled, so it is not asked. What it expects is stated here from its
documentation: the names and shapes of its layers.
"""

import pickle

import numpy as np
import pytest
import torch
from readme import in_readme

from foveal.backbones.encoder import Encoder
from foveal.backbones.inputs import Channels, Normalise
from foveal.backbones.registry import build_backbone
from foveal.errors import FovealError
from foveal.exporting.formats import export
from foveal.exporting.resnets import RESNETS, detectron2_name
from foveal.exporting.weights import save_encoder

MEAN, STD = [0.4, 0.5, 0.3], [0.2, 0.3, 0.1]
SIZE = 64


def _saved(folder, name, inputs=None, channels=3, **changes):
    torch.manual_seed(0)
    trunk = build_backbone(name, **changes)
    inputs = [Normalise(MEAN, STD)] if inputs is None else inputs
    encoder = Encoder([trunk], [inputs], channels=channels, size=SIZE)
    # Statistics other than 0 and 1, so that a lost buffer shows.
    encoder(torch.rand(4, channels, SIZE, SIZE))
    save_encoder(encoder, folder / "backbone.safetensors", {"recipe": {"method": "byol"}})
    return encoder.eval()


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_torchvision_loads_it(name, tmp_path):
    import torchvision

    encoder = _saved(tmp_path, name)
    report = export(tmp_path, format="torchvision", out=tmp_path / "out")
    assert report.files == ("README.md", "model.pth") and report.difference < 1e-4
    assert name != "resnet50" or in_readme(report)
    card = (tmp_path / "out" / "README.md").read_text()
    code = card.partition("```python\n")[2].partition("```")[0]
    assert report.line in code and "Then normalise:" in card
    names = {}
    exec(code, names)  # what a reader does
    net = names["net"].eval()
    mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
    x = torch.rand(3, 3, SIZE, SIZE)
    with torch.no_grad():
        torch.testing.assert_close(
            net((x - mean) / std), encoder(x)["pooled"], atol=1e-4, rtol=1e-4
        )
    # Every parameter has its place: nothing was left to chance.
    theirs = getattr(torchvision.models, name)().state_dict()
    written = torch.load(tmp_path / "out" / "model.pth", weights_only=True)
    assert set(theirs) - set(written) == {"fc.weight", "fc.bias"} and set(written) <= set(theirs)


# detectron2's ResNet-50 as its documentation has it: the stem, then by stage the number of blocks,
# what comes in, the width in the middle and what goes out.
STAGES_50 = {2: (3, 64, 64, 256), 3: (4, 256, 128, 512), 4: (6, 512, 256, 1024),
             5: (3, 1024, 512, 2048)}  # fmt: skip
STAGES_18 = {2: (2, 64, 64), 3: (2, 64, 128), 4: (2, 128, 256), 5: (2, 256, 512)}


def _with_norm(name, shape):
    yield f"{name}.weight", shape
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.norm.{part}", (shape[0],)


def _table_50(groups, width):
    yield from _with_norm("stem.conv1", (64, 3, 7, 7))
    for stage, (blocks, before, middle, out) in STAGES_50.items():
        middle *= width
        for b in range(blocks):
            block = f"res{stage}.{b}"
            yield from _with_norm(f"{block}.conv1", (middle, before if b == 0 else out, 1, 1))
            yield from _with_norm(f"{block}.conv2", (middle, middle // groups, 3, 3))
            yield from _with_norm(f"{block}.conv3", (out, middle, 1, 1))
        yield from _with_norm(f"res{stage}.0.shortcut", (out, before, 1, 1))


def _table_18():
    yield from _with_norm("stem.conv1", (64, 3, 7, 7))
    for stage, (blocks, before, out) in STAGES_18.items():
        for b in range(blocks):
            yield from _with_norm(f"res{stage}.{b}.conv1", (out, before if b == 0 else out, 3, 3))
            yield from _with_norm(f"res{stage}.{b}.conv2", (out, out, 3, 3))
        if before != out:
            yield from _with_norm(f"res{stage}.0.shortcut", (out, before, 1, 1))


@pytest.mark.parametrize(
    "name, table",
    [
        ("resnet18", _table_18()),
        ("resnext50_32x4d", _table_50(groups=32, width=2)),
    ],
)
def test_detectron2_finds_every_layer_by_its_name(name, table, tmp_path):
    _saved(tmp_path, name)
    report = export(tmp_path, format="detectron2", out=tmp_path / "out")
    assert report.files == ("README.md", "detectron2.yaml", "model.pkl")
    assert report.difference < 1e-4
    assert in_readme(report)
    values = pickle.loads((tmp_path / "out" / "model.pkl").read_bytes())
    assert values["matching_heuristics"] is True and values["__author__"] == "foveal"
    assert all(type(v) is np.ndarray and v.dtype == np.float32 for v in values["model"].values())
    assert {n: v.shape for n, v in values["model"].items()} == dict(table)


def test_detectron2_is_told_how_to_read_it(tmp_path):
    yaml = pytest.importorskip("yaml")
    _saved(tmp_path, "resnet18", inputs=[Normalise([0.5], [0.2])])
    report = export(tmp_path, format="detectron2", out=tmp_path / "out")
    assert report.line == f'cfg.merge_from_file("{tmp_path / "out" / "detectron2.yaml"}")'
    values = yaml.safe_load((tmp_path / "out" / "detectron2.yaml").read_text())
    assert values == {
        "MODEL": {
            "WEIGHTS": str(tmp_path / "out" / "model.pkl"),
            "PIXEL_MEAN": [127.5] * 3,
            "PIXEL_STD": [51.0] * 3,
            "RESNETS": {"DEPTH": 18, "NUM_GROUPS": 1, "WIDTH_PER_GROUP": 64,
                        "STRIDE_IN_1X1": False, "RES2_OUT_CHANNELS": 64},
        },
        "INPUT": {"FORMAT": "RGB"},
    }  # fmt: skip
    card = (tmp_path / "out" / "README.md").read_text()
    assert report.line in card and "from detectron2.config import get_cfg" in card


def test_names_by_hand():
    for timms, theirs in {
        "conv1.weight": "stem.conv1.weight",
        "bn1.running_mean": "stem.conv1.norm.running_mean",
        "layer1.0.conv2.weight": "res2.0.conv2.weight",
        "layer4.2.bn3.bias": "res5.2.conv3.norm.bias",
        "layer3.0.downsample.0.weight": "res4.0.shortcut.weight",
        "layer3.0.downsample.1.running_var": "res4.0.shortcut.norm.running_var",
    }.items():
        assert detectron2_name(timms) == theirs


def test_all_listed_names_are_built_alike_by_timm_and_torchvision():
    import timm
    import torchvision

    for name in RESNETS:
        with torch.device("meta"):
            ours = timm.create_model(name, num_classes=0).state_dict()
            theirs = getattr(torchvision.models, name)().state_dict()
        assert {n: v.shape for n, v in ours.items()} == {
            n: v.shape for n, v in theirs.items() if not n.startswith("fc.")
        }


@pytest.mark.parametrize("library", ["torchvision", "detectron2"])
@pytest.mark.parametrize(
    "what",
    [
        {"name": "resnet18", "stem": "small"},
        {"name": "resnet18", "width": 0.5},
        {"name": "resnet18", "norm": "group"},
        {"name": "resnet18", "inputs": [Channels([0]), Normalise([0.5], [0.2])], "in_chans": 1},
        {"name": "convnext_atto"},
    ],
    ids=str,
)
def test_other_networks_are_refused(library, what, tmp_path):
    _saved(tmp_path, **what)
    with pytest.raises(FovealError, match=library) as caught:
        export(tmp_path, format=library, out=tmp_path / "out")
    assert caught.value.hint and not (tmp_path / "out").exists()
