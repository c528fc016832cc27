"""Weights from elsewhere: names, channels, refusals, and nothing executed."""

import pickle

import pytest
import torch
from safetensors.torch import save_file

from foveal.backbones import loading
from foveal.backbones.encoder import Encoder
from foveal.backbones.inputs import Normalise
from foveal.backbones.loading import load_weights
from foveal.backbones.registry import build_backbone
from foveal.errors import FovealError
from foveal.exporting.weights import save_encoder


def _small(**arguments):
    return build_backbone("small", width=0.25, **arguments)


def _same(a, b):
    return all(torch.equal(u, v) for u, v in zip(a.state_dict().values(), b.state_dict().values(),
                                                 strict=True))  # fmt: skip


@pytest.mark.parametrize("prefix", ["", "module.", "module.encoder_q.", "backbone.body."])
@pytest.mark.parametrize("nest", [None, "state_dict", "model"])
def test_prefixes_and_nesting_are_seen_through(prefix, nest, tmp_path):
    source, target = _small(), _small()
    state = {prefix + n.removeprefix("body."): v for n, v in source.state_dict().items()}
    state["module.fc.weight"] = torch.zeros(10, 64)
    if nest:
        state = {"epoch": 3, nest: state, "optimizer": {"lr": 0.1}}
    torch.save(state, tmp_path / "weights.pth")
    report = load_weights(target, tmp_path / "weights.pth")
    assert _same(source, target)
    assert report.share == 1 and not report.missing
    assert report.unexpected == ["module.fc.weight"]
    line, *rest = str(report).splitlines()
    assert line.startswith(f"{len(source.state_dict())} names matched (100.0%")
    assert "module.fc.weight" in rest[0]


def test_a_run_folder_and_its_file(tmp_path):
    source = _small()
    encoder = Encoder([source], [[Normalise([0.5], [0.2])]], channels=3, size=32)
    save_encoder(encoder, tmp_path / "backbone.safetensors", {})
    for init in (tmp_path, tmp_path / "backbone.safetensors"):
        target = _small()
        load_weights(target, init)
        assert _same(source, target)


def test_channels_are_adapted(tmp_path):
    source = _small().eval()
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    grey = torch.rand(2, 1, 32, 32)
    for channels in (1, 5):
        target = _small(in_chans=channels).eval()
        report = load_weights(target, tmp_path / "w.safetensors")
        assert report.share == 1 and f"into {channels}" in report.reshaped[0]
        # A grey picture gives the same features, however many channels repeat it.
        with torch.no_grad():
            torch.testing.assert_close(
                target(grey.expand(-1, channels, -1, -1))["pooled"],
                source(grey.expand(-1, 3, -1, -1))["pooled"],
                rtol=1e-4, atol=1e-5,
            )  # fmt: skip


def test_more_channels_may_keep_the_first_three(tmp_path):
    source = _small().eval()
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    target = _small(in_chans=5).eval()
    report = load_weights(target, tmp_path / "w.safetensors", channels="inflated")
    assert "inflated to 5: the first 3 keep theirs" in report.reshaped[0]
    own, rgb = (next(p for p in net.parameters() if p.dim() == 4) for net in (target, source))
    torch.testing.assert_close(own[:, :3], rgb * 3 / 5)
    torch.testing.assert_close(own.sum(1), rgb.sum(1))
    # Fewer channels have no first three to keep.
    report = load_weights(_small(in_chans=1), tmp_path / "w.safetensors", channels="inflated")
    assert "summed into 1" in report.reshaped[0]


def test_a_poor_match_is_refused_and_changes_nothing(tmp_path):
    save_file(_small().state_dict(), tmp_path / "w.safetensors")
    target = build_backbone("small", width=0.5)
    before = {n: v.clone() for n, v in target.state_dict().items()}
    with pytest.raises(FovealError, match=r"(?s)fits 0.*missing: body.stages.stem.*init_min_share"):
        load_weights(target, tmp_path / "w.safetensors")
    assert all(torch.equal(v, before[n]) for n, v in target.state_dict().items())
    # Half of the network, accepted when asked for.
    state = _small().state_dict()
    save_file({n: v for n, v in state.items() if "stage3" not in n}, tmp_path / "half.safetensors")
    with pytest.raises(FovealError, match="stage3"):
        load_weights(_small(), tmp_path / "half.safetensors")
    report = load_weights(_small(), tmp_path / "half.safetensors", min_share=0.1)
    assert 0.1 < report.share < 0.9 and all("stage3" in name for name in report.missing)


def test_positions_of_a_transformer_are_resampled(tmp_path):
    source = build_backbone("vit_tiny", img_size=64, depth=1)
    torch.save(source.body.net.state_dict(), tmp_path / "vit.pt")
    target = build_backbone("vit_tiny", img_size=96, depth=1)
    report = load_weights(target, tmp_path / "vit.pt")
    assert report.share == 1 and "resampled" in report.reshaped[0]
    x = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(
            target.eval()(x)["pooled"], source.eval()(x)["pooled"], rtol=1e-3, atol=1e-3
        )


class _Bomb:
    def __reduce__(self):
        return (open, ("exploded", "w"))


def test_a_pickle_payload_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": _Bomb()}, "a.pth")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(_Bomb()))
    for name in ("a.pth", "b.pt"):
        with pytest.raises(FovealError, match="could run code"):
            load_weights(_small(), name)
    assert not (tmp_path / "exploded").exists()


def test_what_is_no_weights_is_named(tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / "a.safetensors").write_text("hello")
    torch.save({"epoch": 1}, tmp_path / "a.pth")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.json").write_text("{}")
    for name, message in [
        ("none.pth", "there are no weights"),
        ("a.txt", "no file of weights"),
        ("a.safetensors", "damaged"),
        ("a.pth", "no state dict"),
        ("run", "not finished"),
        (".", "holds no backbone.safetensors"),
    ]:
        with pytest.raises(FovealError, match=message):
            load_weights(_small(), tmp_path / name)


def test_timm_weights_are_asked_for_by_name(monkeypatch):
    published = build_backbone("resnet18").body.net.state_dict()
    published["fc.weight"], published["fc.bias"] = torch.zeros(1000, 512), torch.zeros(1000)
    asked = []

    def download(name):
        asked.append(name)
        return published

    monkeypatch.setattr("foveal.backbones.timm_bridge.pretrained_state", download)
    target = build_backbone("resnet18")
    report = loading.load_weights(target, "timm/resnet18.a1_in1k")
    assert asked == ["resnet18.a1_in1k"]
    assert report.share == 1 and report.unexpected == ["fc.weight", "fc.bias"]
    monkeypatch.undo()
    with pytest.raises(FovealError, match="did you mean resnet18"):
        loading.load_weights(target, "timm/resnet81")
