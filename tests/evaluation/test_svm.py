import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.svm import LinearSVC

from foveal.backbones.encoder import Encoder
from foveal.backbones.registry import build_backbone
from foveal.errors import FovealError
from foveal.evaluation import linear as linear_module
from foveal.evaluation import squared_hinge
from foveal.evaluation.low_shot import drawn
from foveal.evaluation.run import evaluate
from foveal.evaluation.squared_hinge import SquaredHinge
from foveal.evaluation.svm import COSTS, FOLDS, best_costs, fit_each, folds_of, validated

X = torch.tensor([[3, 4], [0, 2], [1, 0], [2, -1], [-1, 1]], dtype=torch.float64)


def _samples(n=90, d=7, classes=3, seed=0):
    draw = np.random.default_rng(seed)
    y = draw.integers(0, classes, n)
    x = draw.normal(size=(classes, d))[y] + draw.normal(size=(n, d))
    return torch.from_numpy(x / np.linalg.norm(x, axis=1, keepdims=True)), y


def test_golden_svm():
    x = X / (X.norm(dim=1, keepdim=True) + 1e-5)
    sign = torch.tensor([1, 1, -1, -1, -1])[:, None]
    found = next(SquaredHinge(x, sign).path([1.0]))
    assert found.weight[:, 0].tolist() == pytest.approx([0.460405, 1.348913], abs=1e-5)
    assert float(found.bias) == pytest.approx(-0.707436, abs=1e-5)
    assert float(found.objective) == pytest.approx(3.196096, abs=1e-5)
    assert found.scores(x)[:, 0].tolist() == pytest.approx(
        [0.647935, 0.641470, -0.247035, -0.898888, -0.079170], abs=1e-5
    )


def test_there_are_26_costs():
    assert len(COSTS) == 26
    assert (COSTS[0], COSTS[-1]) == (1e-7, 100)
    assert {0.5**4, 0.5**19, 0.1, 1.0} <= set(COSTS)


@pytest.mark.parametrize("d", [7, 200])
def test_it_is_scikit_learns_linear_svc(d):
    x, y = _samples(d=d)
    sign = np.where(y[:, None] == np.arange(3), 1, -1)
    costs = [1e-3, 0.5, 20.0]
    for cost, found in zip(costs, SquaredHinge(x, torch.from_numpy(sign)).path(costs), strict=True):
        for c in range(3):
            theirs = LinearSVC(C=cost, class_weight={1: 2, -1: 1}, dual=True, tol=1e-10,
                               max_iter=1_000_000).fit(x.numpy(), sign[:, c])  # fmt: skip
            assert found.weight[:, c].numpy() == pytest.approx(theirs.coef_[0], abs=1e-4)
            assert float(found.bias[c]) == pytest.approx(theirs.intercept_[0], abs=1e-4)


def test_float32_finds_what_float64_finds(monkeypatch):
    x, y = _samples(n=300)
    sign = torch.from_numpy(np.where(y[:, None] == np.arange(3), 1, -1))
    exact = list(SquaredHinge(x, sign).path(COSTS))
    monkeypatch.setattr(squared_hinge, "_FLOAT64_VALUES", 0)
    quick = list(SquaredHinge(x, sign).path(COSTS))
    for a, b in zip(exact, quick, strict=True):
        assert b.weight.dtype == torch.float32
        torch.testing.assert_close(b.objective.double(), a.objective, rtol=2e-5, atol=0)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(COSTS), st.integers(2, 40), st.integers(1, 12))
def test_a_solution_is_where_the_gradient_vanishes(seed, cost, n, d):
    draw = np.random.default_rng(seed)
    x = torch.from_numpy(draw.normal(size=(n, d)))
    sign = torch.from_numpy(draw.integers(-1, 2, (n, 3)))
    found = next(SquaredHinge(x, sign).path([cost]))
    f = found.scores(x)
    hinge = torch.where(sign == 0, 0, (1 - sign * f).clamp(min=0))
    pull = 2 * cost * torch.where(sign > 0, 2.0, 1.0) * sign * hinge
    torch.testing.assert_close(x.T @ pull, found.weight, atol=1e-4 * (1 + cost), rtol=1e-4)
    torch.testing.assert_close(pull.sum(0), found.bias, atol=1e-4 * (1 + cost), rtol=1e-4)


def test_left_out_samples_change_nothing():
    x, y = _samples()
    sign = torch.from_numpy(np.where(y == 0, 1, -1))[:, None]
    sign[::3] = 0
    kept = sign[:, 0] != 0
    both = [next(SquaredHinge(a, b).path([1.0])) for a, b in ((x, sign), (x[kept], sign[kept]))]
    torch.testing.assert_close(both[0].weight, both[1].weight, rtol=1e-5, atol=1e-5)


def test_every_fold_has_its_share_of_positives():
    one = 2 * np.eye(4, dtype=np.int8)[np.arange(50) % 4] - 1
    folds = folds_of(one, seed=0)
    assert (folds == folds[:, :1]).all()
    several = np.random.default_rng(0).integers(-1, 2, (50, 4)).astype(np.int8)
    for each in (one, several):
        folds = folds_of(each, seed=1)
        for c in range(4):
            counts = [int((each[folds[:, c] == k, c] == 1).sum()) for k in range(FOLDS)]
            assert max(counts) - min(counts) <= 1
        assert np.array_equal(folds, folds_of(each, seed=1))


def test_validation_says_which_costs_learn_and_the_test_is_found():
    x, y = _samples(n=240, d=20)
    sign = np.where(y[:, None] == np.arange(4), 1, -1).astype(np.int8)  # nobody holds the last
    aps = validated(x[:150], sign[:150], seed=0)
    assert aps.shape == (len(COSTS), 4)
    assert np.isnan(aps[:, 3]).all()
    best = best_costs(aps)
    assert best[3] == 1.0
    assert all(aps[COSTS.index(best[c]), c] == aps[:, c].max() for c in range(3))
    scores = fit_each(x[:150], sign[:150], best, x[150:])
    assert scores.shape == (90, 4)
    assert (scores.argmax(1) == y[150:]).mean() > 0.6
    alone = next(SquaredHinge(x[:150], torch.from_numpy(sign[:150])).path([best[1]]))
    assert scores[:, 1] == pytest.approx(alone.scores(x[150:])[:, 1].numpy(), abs=1e-4)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Pictures that hold up to three coloured squares, in VOC's layout."""
    root = tmp_path_factory.mktemp("voc")
    draw = np.random.default_rng(0)
    colours = {"red": (220, 30, 30), "green": (30, 220, 30), "blue": (30, 30, 220)}
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for i in range(90):
        pixels = draw.integers(60, 160, (18, 36, 3)).astype(np.uint8)
        items = ""
        for place, (name, colour) in enumerate(colours.items()):
            if draw.random() < 0.4 or (i == 0 and name == "red"):
                pixels[3:15, 12 * place : 12 * place + 12] = colour
                difficult = int(draw.random() < 0.1 and i > 0)
                items += (f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>"
                          "<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
                          "</object>")  # fmt: skip
        Image.fromarray(pixels).save(root / f"JPEGImages/{i:03d}.jpg", quality=95)
        (root / f"Annotations/{i:03d}.xml").write_text(f"<annotation>{items}</annotation>")
    names = [f"{i:03d}" for i in range(90)]
    (root / "ImageSets/Main/trainval.txt").write_text("\n".join(names[:60]))
    (root / "ImageSets/Main/test.txt").write_text("\n".join(names[60:]))
    return root


def _encoder():
    torch.manual_seed(0)
    return Encoder([build_backbone("small", width=0.25)], [[]], channels=3, size=16)


def test_pictures_of_several_classes(scenes):
    found = evaluate(_encoder(), scenes, protocols=["svm", "health"])[0]
    assert (found.protocol, found.metric, found.n) == ("svm", "map_envelope", 30)
    assert found.value > 0.7
    assert found.interval[0] <= found.value <= found.interval[1]
    assert set(found.baselines) == {"random_init", "pixels"}
    about = found.configuration
    assert about["view"]["crop"] == "whole"
    assert about["class_names"] == ["blue", "green", "red"]
    chosen = about["chosen"]["trained"]
    assert np.mean(chosen["ap_per_class"]) == pytest.approx(found.value)
    assert set(chosen["cost_per_class"]) <= set(COSTS)
    json.dumps(found.to_json(), allow_nan=False)


def test_one_sigmoid_a_class_for_pictures_of_several(scenes, monkeypatch):
    monkeypatch.setattr(linear_module, "_COARSE_FROM", 0)
    found = evaluate(
        _encoder(), scenes, protocols=["linear", "endpoints"],
        changes={"ends": "stage3", "directions": 8},
    )  # fmt: skip
    metrics = [r.metric for r in found]
    assert metrics == [f"map_eleven_point{more}" for more in ("", " stage3", " best")]
    assert found[0].value > 0.7
    assert "binary" in found[0].configuration["chosen"]["trained"]["loss"]
    with pytest.raises(FovealError, match="one class a picture") as error:
        evaluate(_encoder(), scenes, protocols=["linear"], changes={"metric": "top1"})
    assert "map_eleven_point" in error.value.hint


def test_what_needs_one_class_a_picture_says_so_before_anything_is_computed(scenes):
    with pytest.raises(FovealError, match="knn needs one class a picture") as error:
        evaluate(_encoder(), scenes, protocols=["svm", "knn"])
    assert "svm" in error.value.hint


@pytest.mark.parametrize("several", [False, True])
def test_draws_hold_k_positives_and_their_negatives(several):
    draw = np.random.default_rng(0)
    one = 2 * np.eye(4, dtype=np.int8)[np.arange(80) % 4] - 1
    sign = np.where(draw.random((80, 4)) < 0.3, 1, -1).astype(np.int8) if several else one
    left = [drawn(sign, k, seed=0, several=several, draw=0) for k in (2, 5)]
    for k, found in zip((2, 5), left, strict=True):
        assert ((found == 1).sum(0) == k).all()
        assert ((found == -1).sum(0) == 3 * k).all()
        assert (found[found != 0] == sign[found != 0]).all()
    assert ((left[0] == left[1]) | (left[0] == 0)).all()
    other = drawn(sign, 5, seed=0, several=several, draw=1)
    assert not np.array_equal(other, left[1])


def test_low_shot_honest_and_oracle(scenes):
    honest, oracle = (
        evaluate(_encoder(), scenes, protocols=["svm_lowshot"], select=select)
        for select in ("cv", "oracle")
    )
    ks = [1, 2, 4, 8, 16]
    assert [r.metric for r in honest] == [f"map_envelope k={k}" for k in ks[: len(honest)]]
    assert len(honest) == len(oracle) >= 3
    assert all(r.metric.endswith(" oracle") for r in oracle)
    for r in honest + oracle:
        about = r.configuration["chosen"]["trained"]
        assert len(about["draws"]) == 5
        assert about["min"] <= r.value <= about["max"]
        assert r.value == pytest.approx(np.mean(about["draws"]))
        assert about["std"] == pytest.approx(np.std(about["draws"]))
        json.dumps(r.to_json(), allow_nan=False)
    assert "test pictures" in oracle[0].configuration["chosen_on"]
    best = oracle[-1].configuration["chosen"]["trained"]
    assert max(best["mean_by_cost"]) == pytest.approx(oracle[-1].value)
    # One positive: nothing can be held out.
    assert np.ptp(honest[0].configuration["chosen"]["trained"]["cost_per_draw_and_class"]) == 0


def test_a_choice_that_is_none(scenes):
    with pytest.raises(FovealError, match="select='best'"):
        evaluate(_encoder(), scenes, protocols=["svm_lowshot"], select="best")
