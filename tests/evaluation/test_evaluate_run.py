import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import nn

from foveal.backbones.encoder import Encoder
from foveal.backbones.inputs import Normalise
from foveal.backbones.registry import build_backbone
from foveal.data.sources import ArraySource, Subset
from foveal.engine.runfolder import RunFolder
from foveal.errors import FovealError
from foveal.evaluation import linear as linear_module
from foveal.evaluation.baselines import random_init
from foveal.evaluation.embed import embed
from foveal.evaluation.features import Store, encoder_features, frozen, weights_digest
from foveal.evaluation.protocols import PROTOCOLS, get_protocol
from foveal.evaluation.result import Result, table
from foveal.evaluation.run import evaluate
from foveal.evaluation.tuning import Tuning
from foveal.exporting.weights import save_encoder
from foveal.recipe import Recipe
from foveal.views.presets import center_view

CLASSES = 3


def _encoder(seed=0, channels=3, width=0.25):
    torch.manual_seed(seed)
    trunk = build_backbone("small", in_chans=channels, width=width, stem="small")
    layers = [Normalise([0.5] * channels, [0.25] * channels)]
    return Encoder([trunk], [layers], channels=channels, size=16, fraction=1.0).eval()


def _pictures(n, seed=0):
    """Pictures whose class is a hue, at random brightness, with noise."""
    draw = np.random.default_rng(seed)
    labels = np.arange(n) % CLASSES
    colours = np.array([[1.0, 0.4, 0.4], [0.4, 1.0, 0.4], [0.4, 0.4, 1.0]])
    x = colours[labels][:, None, None] * draw.uniform(60, 160, (n, 1, 1, 1))
    x = x + draw.normal(0, 30, (n, 20, 20, 3))
    return x.clip(0, 255).astype(np.uint8), labels


@pytest.fixture
def data(tmp_path):
    images, labels = _pictures(150)
    np.savez(tmp_path / "data.npz", images=images, labels=labels)
    return tmp_path / "data.npz"


def _source(n=40):
    images, labels = _pictures(n)
    return ArraySource("pictures", images, labels)


def test_results_hold_what_the_law_asks_for(data):
    found = evaluate(_encoder(), data, protocols=["knn", "linear", "ridge", "sgd"], k=5)
    assert [(r.protocol, r.metric) for r in found] == [
        (name, "top1") for name in ("knn", "linear", "ridge", "sgd")
    ]
    for r in found:
        value = r.to_json()
        assert list(value) == [
            "protocol", "metric", "value", "interval", "n", "baselines", "configuration",
        ]  # fmt: skip
        assert r.n == 30
        assert r.interval[0] <= r.value <= r.interval[1]
        assert set(r.baselines) == {"random_init", "pixels"}
        for base in r.baselines.values():
            assert set(base) == {"value", "interval", "difference", "difference_interval"}
            assert base["difference"] == pytest.approx(r.value - base["value"])
            low, high = base["difference_interval"]
            assert low <= base["difference"] <= high
        assert Result.from_json(json.loads(json.dumps(value, allow_nan=False))) == r
        about = r.configuration
        assert about["data"]["train"]["n"] == 120
        assert set(about["chosen"]) == {"trained", "random_init", "pixels"}
        assert about["view"]["size"] == 16
    by_name = {r.protocol: r for r in found}
    assert by_name["knn"].configuration["chosen"]["trained"]["k"] == 5
    assert by_name["linear"].value > 0.8  # the colour survives an untrained network


def test_same_call_same_numbers_and_the_seed_changes_the_split(data):
    a, b = (evaluate(_encoder(), data, protocols=["knn", "health"]) for _ in range(2))
    assert [r.to_json() for r in a] == [r.to_json() for r in b]
    c = evaluate(_encoder(), data, protocols=["knn"], seed=1)
    where = lambda r: r.configuration["data"]["test"]["fingerprint"]  # noqa: E731
    assert where(a[0]) != where(c[0])


def test_random_init_of_the_untrained_encoder_is_the_encoder(tmp_path):
    from foveal.core import rng

    about = _encoder().describe()
    torch.manual_seed(rng.seed64(7, "init"))
    encoder = Encoder.from_description(about).eval()
    state = torch.get_rng_state()
    drawn = random_init(encoder, _source(), seed=7, store=Store(tmp_path))
    assert torch.equal(torch.get_rng_state(), state)
    for (name, a), (_, b) in zip(encoder.named_parameters(), drawn.named_parameters(), strict=True):
        assert torch.equal(a, b), name
    assert not drawn.training
    again = random_init(encoder, _source(), seed=7, store=Store(tmp_path))
    other = random_init(encoder, _source(), seed=7, store=Store(tmp_path / "other"))
    assert weights_digest(again) == weights_digest(other)
    assert weights_digest(random_init(encoder, _source(), seed=8, store=Store(tmp_path))) != (
        weights_digest(again)
    )


def test_random_init_has_the_statistics_of_the_training_pictures(tmp_path):
    drawn = random_init(_encoder(), _source(), seed=0, store=Store(tmp_path))
    norms = [m for m in drawn.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert norms
    seen = []
    norms[0].register_forward_hook(lambda m, x, y: seen.append(x[0]))
    found = encoder_features(Store(tmp_path), drawn, _source(), center_view(16, 1.0))
    x = seen[0].detach()
    torch.testing.assert_close(norms[0].running_mean, x.mean((0, 2, 3)), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(norms[0].running_var, x.var((0, 2, 3)), rtol=1e-3, atol=1e-4)
    assert found.x.shape == (40, drawn.dim)


def test_evaluation_changes_nothing_of_the_encoder(data, monkeypatch):
    monkeypatch.setattr(linear_module, "_COARSE_FROM", 0)
    encoder = _encoder().train()
    encoder.trunks[0].eval()
    modes = {name: m.training for name, m in encoder.named_modules()}
    state = {name: v.clone() for name, v in encoder.state_dict().items()}
    evaluate(
        encoder, data, protocols=list(PROTOCOLS), labels=[5], tuning=Tuning(epochs=1),
        changes={"directions": 8},
    )  # fmt: skip
    assert {name: m.training for name, m in encoder.named_modules()} == modes
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert all(p.grad is None for p in encoder.parameters())


class _Writing(nn.Module):
    """A trunk that writes to itself in evaluation mode."""

    def __init__(self, to):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.register_buffer("calls", torch.zeros(()), persistent=False)
        self.to_write = to

    def forward(self, x, ends=()):
        if self.to_write:
            getattr(self, self.to_write).data += 1e-3
        return {"pooled": x.mean((2, 3)) * self.weight}


@pytest.mark.parametrize("to", ["weight", "calls"])
def test_an_encoder_that_changes_is_refused_and_nothing_is_kept(tmp_path, to):
    encoder = _encoder()
    encoder.trunks[0].body = _Writing(to)
    with pytest.raises(FovealError, match="changed a parameter or a buffer"):
        encoder_features(Store(tmp_path), encoder, _source(), center_view(16))
    assert list(tmp_path.iterdir()) == []
    encoder.trunks[0].body = _Writing(None)
    assert encoder_features(Store(tmp_path), encoder, _source(), center_view(16)).x.any()
    with pytest.raises(FovealError, match="changed"), frozen(encoder):
        encoder.trunks[0].body.calls.add_(1)


def test_features_are_computed_once(tmp_path):
    encoder, source, view = _encoder(), _source(), center_view(16)
    calls = []
    encoder.register_forward_hook(lambda *_: calls.append(1))
    first = encoder_features(Store(tmp_path), encoder, source, view)
    n = len(calls)
    again = encoder_features(Store(tmp_path), encoder, source, view)
    assert len(calls) == n
    np.testing.assert_array_equal(first.x, again.x)
    with torch.no_grad():
        next(encoder.parameters()).mul_(1.5)
    other = encoder_features(Store(tmp_path), encoder, source, view)
    assert len({first.key, other.key}) == 2
    keys = {
        encoder_features(Store(tmp_path), encoder, *rest).key
        for rest in [
            (source, center_view(16, 0.5)),
            (source, center_view(20)),
            (Subset(source, np.arange(20)), view),
        ]
    }
    assert len(keys) == 3


def _folder(tmp_path, *, broken=True):
    images, labels = _pictures(60)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = tmp_path / "pile" / f"class {label}" / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    if broken:
        (tmp_path / "pile" / "class 1" / "bad.png").write_bytes(b"\x89PNG not really")
        (tmp_path / "pile" / "class 2" / "zero.jpg").write_bytes(b"")
    return tmp_path / "pile"


def test_unreadable_files_are_left_out_and_named(tmp_path):
    pile = _folder(tmp_path)
    found = evaluate(_encoder(), pile, protocols=["knn"])[0]
    unreadable = found.configuration["unreadable"]
    assert unreadable["train"] + unreadable["test"] == 2
    named = " ".join(unreadable["files"])
    assert "bad.png" in named and "zero.jpg" in named
    assert found.n + found.configuration["data"]["train"]["n"] == 60
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(table([found]))
    assert "2 pictures could not be read, left out" in console.export_text()


def test_embed(tmp_path):
    pile = _folder(tmp_path)
    encoder = _encoder()
    out = embed(encoder, pile, tmp_path / "deep" / "features.npz")
    with np.load(out) as loaded:
        assert loaded["features"].shape == (60, encoder.dim)
        assert loaded["features"].dtype == np.float32
        assert list(loaded["classes"]) == ["class 0", "class 1", "class 2"]
        names, labels = loaded["names"], loaded["labels"]
    assert names[0] == "class 0/000.png"
    assert all(f"class {label}/" in name for name, label in zip(names, labels, strict=True))
    bad = out.with_name("features.npz.bad_files.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in bad] == ["name", "class 1/bad.png", "class 2/zero.jpg"]
    assert sorted(p.name for p in out.parent.iterdir()) == [
        "features.npz", "features.npz.bad_files.csv",
    ]  # fmt: skip
    with pytest.raises(FovealError, match="npz"):
        embed(encoder, pile, tmp_path / "features.csv")


def test_embed_without_classes_and_from_a_file(tmp_path):
    encoder = _encoder(channels=1)
    save_encoder(encoder, tmp_path / "encoder.safetensors", {})
    images, _ = _pictures(10)
    np.save(tmp_path / "pile.npy", images)  # colour pictures, a grey encoder
    out = embed(tmp_path / "encoder.safetensors", tmp_path / "pile.npy", tmp_path / "f.npz")
    with np.load(out) as loaded:
        assert loaded["features"].shape == (10, encoder.dim)
        assert loaded["labels"].tolist() == [-1] * 10
        assert len(loaded["classes"]) == 0
    assert not (tmp_path / "f.npz.bad_files.csv").exists()


def test_results_of_a_run_are_kept_in_it(tmp_path, data):
    folder = RunFolder(tmp_path / "run")
    recipe = Recipe(epochs=1, seed=3)
    folder.create(recipe, {})
    save_encoder(_encoder(), folder.backbone_file, {"recipe": recipe.to_json()})
    run, path = folder.path, folder.results / "knn.json"

    found = evaluate(run, data, protocols=["knn"])
    assert json.loads(path.read_text()) == [r.to_json() for r in found]
    assert found[0].configuration["random_init"]["seed"] == 3
    assert any(folder.features.iterdir())

    # The same data again replaces, other data are added, other weights clear.
    assert evaluate(run, data, protocols=["knn"]) == found
    assert len(json.loads(path.read_text())) == 1
    images, labels = _pictures(60, seed=5)
    np.savez(tmp_path / "other.npz", images=images, labels=labels)
    evaluate(run, tmp_path / "other.npz", protocols=["knn"])
    assert len(json.loads(path.read_text())) == 2
    save_encoder(_encoder(seed=9), folder.backbone_file, {})
    evaluate(run, data, protocols=["knn"])
    assert len(json.loads(path.read_text())) == 1


def test_unknown_protocols_and_data_without_labels(tmp_path, data):
    with pytest.raises(FovealError, match="linear"):
        get_protocol("lineer")
    with pytest.raises(FovealError, match="no protocol"):
        evaluate(_encoder(), tmp_path / "missing", protocols=["knn", "nearest"])
    np.save(tmp_path / "pile.npy", _pictures(10)[0])
    with pytest.raises(FovealError):
        evaluate(_encoder(), tmp_path / "pile.npy", protocols=["knn"])


def test_health_figures(data):
    found = {r.metric: r for r in evaluate(_encoder(), data, protocols=["health"])}
    assert set(found) == {
        "feature_std", "rankme", "alpha_req", "lidar", "alignment", "uniformity",
    }  # fmt: skip
    for r in found.values():
        assert r.baselines == {} and r.interval is None
        assert np.isfinite(r.value) and np.isfinite(r.configuration["random_init_value"])
        json.dumps(r.to_json(), allow_nan=False)
    assert 0 < found["feature_std"].value < 1.5
    assert 1 <= found["rankme"].value <= _encoder().dim
    assert found["uniformity"].value < 0 < found["alignment"].value
    assert found["lidar"].configuration["augmented_passes"] == 8


def test_health_of_a_collapsed_encoder(data):
    encoder = _encoder()
    encoder.trunks[0].body = _Constant()
    encoder.trunks[0].dim = 64
    found = {r.metric: r for r in evaluate(encoder, data, protocols=["health"])}
    assert "alpha_req" not in found
    assert found["rankme"].value == pytest.approx(1, abs=1e-3)
    assert found["feature_std"].value == pytest.approx(0, abs=1e-6)


class _Constant(nn.Module):
    def forward(self, x, ends=()):
        return {"pooled": torch.ones(len(x), 64)}


def test_top5_where_there_are_classes_enough(tmp_path):
    images, _ = _pictures(66)
    np.savez(tmp_path / "many.npz", images=images, labels=np.arange(66) % 11)
    top1, top5 = evaluate(_encoder(), tmp_path / "many.npz", protocols=["knn"], k=3)
    assert (top1.metric, top5.metric) == ("top1", "top5")
    assert top5.value >= top1.value


def test_health_figures_of_two_data_sets_are_told_apart():
    results = [
        Result("health", "rankme", value, None, 9, {}, {"data": {"test": {"name": name}}})
        for name, value in (("doom/objects/test", 41.2), ("doom/scenes/val", 57.25))
    ]
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(table(results))
    lines = console.export_text().splitlines()
    for figure, name in (("41.200", "(doom/objects/test)"), ("57.250", "(doom/scenes/val)")):
        at = next(i for i, line in enumerate(lines) if figure in line)
        assert lines[at + 1].strip() == name


def test_the_table_shows_every_number_beside_its_baselines():
    base = {"value": 0.112, "interval": [0.1, 0.123], "difference": 0.2,
            "difference_interval": [0.18, 0.22]}  # fmt: skip
    about = {"classes": 37, "data": {"train": {"n": 12000}, "test": {"n": 4000}}}
    results = [
        Result("knn", "top1", 0.312, (0.29, 0.33), 4000,
               {"random_init": base, "pixels": {**base, "value": 0.19}}, about),
        Result("health", "rankme", 41.2, None, 12000, {},
               {**about, "random_init_value": 12.5, "meaning": "effective directions"}),
    ]  # fmt: skip
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(table(results))
    text = console.export_text()
    for shown in ("31.2 [29.0,33.0]", "11.2 [10.0,12.3]", "19.0", "+20.0 [+18.0,+22.0]",
                  "41.200", "12.500", "4,000 test pictures", "12,000 training"):  # fmt: skip
        assert shown in text
    narrow = Console(width=80, record=True, file=io.StringIO())
    narrow.print(table(results))
    for shown in ("[29.0,33.0]", "[10.0,12.3]", "[+18.0,+22.0]", "random init"):
        assert shown in narrow.export_text(clear=False)
