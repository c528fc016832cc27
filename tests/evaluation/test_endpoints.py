import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from foveal.backbones.base import End
from foveal.backbones.encoder import Encoder
from foveal.backbones.inputs import Normalise
from foveal.backbones.registry import build_backbone
from foveal.errors import FovealError
from foveal.evaluation import linear as linear_module
from foveal.evaluation.pooling import SOURCES, pool_map, pooler, side_of
from foveal.evaluation.probe import leading_directions
from foveal.evaluation.run import evaluate


@pytest.mark.parametrize(
    ("rule", "channels", "side", "values"),
    [
        ("goyal", 64, 112, 9216), ("goyal", 256, 56, 9216), ("goyal", 512, 28, 8192),
        ("goyal", 1024, 14, 9216), ("goyal", 2048, 7, 8192),
        ("goyal", 96, 109, 9600), ("goyal", 256, 54, 9216), ("goyal", 384, 26, 9600),
        ("goyal", 256, 26, 9216),
        ("deepcluster", 96, 55, 9600), ("deepcluster", 256, 27, 9216),
        ("deepcluster", 384, 13, 9600), ("deepcluster", 256, 13, 9216),
        ("sela", 96, 55, 9600), ("sela", 256, 13, 9216),
        ("deepercluster", 64, 224, 9216), ("deepercluster", 128, 112, 8192),
        ("deepercluster", 256, 56, 9216), ("deepercluster", 512, 28, 8192),
        ("deepercluster", 512, 14, 8192),
        ("max", 64, 55, 9216), ("max", 192, 27, 9408), ("max", 384, 13, 9600),
        ("max", 256, 13, 9216),
        ("resize", 96, 55, 9600), ("resize", 256, 27, 9216), ("resize", 384, 13, 9600),
        ("revisiting", 2048, 7, 2048), ("revisiting", 1024, 14, 4096),
        ("revisiting", 512, 28, 8192), ("revisiting", 256, 56, 6400),
    ],
)  # fmt: skip
def test_golden_sizes_of_the_papers_poolings(rule, channels, side, values):
    assert pool_map(torch.zeros(1, channels, side, side), rule).numel() == values


def test_the_papers_kernels_are_what_they_say():
    x = torch.randn(2, 1024, 14, 14)
    torch.testing.assert_close(pool_map(x, "goyal"), F.avg_pool2d(x, 8, 3))
    x = torch.randn(2, 96, 55, 55)
    torch.testing.assert_close(pool_map(x, "sela"), F.max_pool2d(x, 6, 6, 3))


@pytest.mark.parametrize("channels", [64, 96, 128, 192, 256, 384, 512, 1024, 2048])
def test_one_rule_gives_the_sides_of_all_papers(channels):
    sides = {64: 12, 96: 10, 128: 8, 192: 7, 256: 6, 384: 5, 512: 4, 1024: 3, 2048: 2}
    assert side_of(channels) == sides[channels]


def test_small_maps_tokens_and_vectors():
    small = torch.randn(1, 256, 5, 5)
    for rule in ("avg", "max", "resize", "revisiting"):
        assert torch.equal(pool_map(small, rule), small)
    pool = pooler("avg")
    tokens = torch.randn(2, 7, 16)
    torch.testing.assert_close(pool(tokens, End("block0", 16, 4, "tokens")), tokens.mean(1))
    vector = torch.randn(2, 16)
    assert torch.equal(pool(vector, End("fc", 16, 0, "vector")), vector)
    with pytest.raises(FovealError, match="256 x 5 x 5"):
        pool_map(small, "goyal")
    assert set(SOURCES) >= {"avg", "goyal"}


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 100), st.sampled_from([8, 32]))
def test_directions_hold_as_much_variance_as_the_exact_ones(seed, count):
    draw = torch.Generator().manual_seed(seed)
    scale = torch.arange(1, 1201).float() ** -1.0
    x = torch.randn(300, 1200, generator=draw) * scale
    x -= x.mean(0)
    axes = leading_directions(x, count)
    torch.testing.assert_close(axes.T @ axes, torch.eye(count), atol=1e-4, rtol=0)
    exact = torch.linalg.svdvals(x.double())[:count].square().sum()
    assert float((x @ axes).square().sum() / exact) > 0.999


def _encoder(seed=0):
    torch.manual_seed(seed)
    trunk = build_backbone("small", width=0.25, stem="small")
    return Encoder([trunk], [[Normalise([0.5] * 3, [0.25] * 3)]], channels=3, size=16, fraction=1.0)


@pytest.fixture(autouse=True)
def _every_fourth_l2(monkeypatch):
    monkeypatch.setattr(linear_module, "_COARSE_FROM", 0)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    draw = np.random.default_rng(0)
    labels = np.arange(150) % 3
    x = draw.normal(110, 30, (150, 20, 20, 3)) + 30 * np.eye(3)[labels][:, None, None]
    path = tmp_path_factory.mktemp("data") / "data.npz"
    np.savez(path, images=x.clip(0, 255).astype(np.uint8), labels=labels)
    return path


def test_every_end_point_and_the_best_of_them(data):
    encoder = _encoder()
    before = {name: v.clone() for name, v in encoder.state_dict().items()}
    found = evaluate(
        encoder, data, protocols=["endpoints"], changes={"features": 300, "directions": 8}
    )
    names = [end.name for end in encoder.ends]
    assert [r.metric for r in found] == [*(f"top1 {name}" for name in names), "top1 best"]
    for name, r in zip(names, found, strict=False):
        about = r.configuration
        assert about["layer"] == name and set(r.baselines) == {"random_init", "pixels"}
        assert "8 principal directions" in about["chosen"]["trained"]["normalisation"]
        # 8 channels of 8 x 8 cells become 6 x 6; 24 of 4 x 4 and 64 of 2 x 2 stay.
        dims = {"stem": 288, "stage1": 288, "stage2": 384, "stage3": 256}
        assert about["chosen"]["trained"]["pooled_dim"] == dims[name]
    best = found[-1]
    held_out = {
        r.configuration["layer"]: r.configuration["chosen"]["trained"]["held_out_accuracy"]
        for r in found[:-1]
    }
    layer = best.configuration["chosen"]["trained"]["layer"]
    assert held_out[layer] == max(held_out.values())
    assert best.value == next(r.value for r in found if r.metric == f"top1 {layer}")
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, before[name])


def test_oracle_takes_the_best_on_the_test_pictures_and_says_so(data):
    found = evaluate(
        _encoder(), data, protocols=["endpoints"], select="oracle",
        changes={"features": 300, "ends": "stage1+stage3", "directions": 8},
    )  # fmt: skip
    assert [r.metric for r in found] == ["top1 stage1", "top1 stage3", "top1 best oracle"]
    assert found[-1].value == max(r.value for r in found[:-1])
    for which in ("random_init", "pixels"):
        assert found[-1].baselines[which]["value"] == max(
            r.baselines[which]["value"] for r in found[:-1]
        )


def test_a_layer_or_a_setting_that_is_not_there(data):
    with pytest.raises(FovealError, match="no end point 'stage9'"):
        evaluate(_encoder(), data, protocols=["endpoints"], changes={"ends": "stage9"})
    with pytest.raises(FovealError, match="endpoints has no setting 'poool'"):
        evaluate(_encoder(), data, protocols=["endpoints"], changes={"poool": "max"})
    with pytest.raises(FovealError, match="pool"):
        evaluate(_encoder(), data, protocols=["endpoints"], changes={"pool": "median"})


def test_mean_per_class_is_what_is_chosen_by_and_reported(data):
    found = evaluate(
        _encoder(), data, protocols=["linear", "ridge"], changes={"metric": "mean_per_class"}
    )
    assert [r.metric for r in found] == ["mean_per_class"] * 2
    # Three classes of ten test pictures each: the same as top-1.
    top1 = evaluate(_encoder(), data, protocols=["linear"])[0]
    assert found[0].value == pytest.approx(top1.value)
    assert found[0].interval[0] < found[0].value < found[0].interval[1] or found[0].value == 1
    ap = evaluate(_encoder(), data, protocols=["linear"], changes={"metric": "map_eleven_point"})[0]
    assert ap.metric == "map_eleven_point" and "11-point" in ap.configuration["ap"]
    assert "held_out_map" in ap.configuration["chosen"]["trained"]
