import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F

from foveal.errors import FovealError
from foveal.evaluation import linear as linear_module
from foveal.evaluation.knn import knn
from foveal.evaluation.linear import L2_GRID, LogisticProblem, linear
from foveal.evaluation.probe import Problem, Standardise, held_out, leading_directions
from foveal.evaluation.ridge import ridge, ridge_path
from foveal.evaluation.sgd import sgd, train_heads
from foveal.metrics.accuracy import topk_accuracy

BINARY_X = torch.tensor([[0, 0], [1, 0], [0, 1], [3, 3], [4, 3], [3, 4]], dtype=torch.float64)
BINARY_Y = torch.tensor([0, 0, 0, 1, 1, 1])


def _problem(n=600, d=12, classes=4, seed=0, **options):
    draw = torch.Generator().manual_seed(seed)
    y = torch.randint(0, classes, (n,), generator=draw)
    centres = 1.2 * torch.randn(classes, d, generator=draw)
    x = (centres[y] + torch.randn(n, d, generator=draw)) * torch.rand(d, generator=draw) * 10 + 3
    cut = 2 * n // 3
    return Problem(x[:cut], y[:cut], x[cut:], classes, **options), y[cut:]


@pytest.mark.parametrize(
    ("c", "w", "b", "objective", "p"),
    [(1, 0.782791, -2.867306, 1.192959, 0.373102), (0.1, 0.272449, -0.999047, None, 0.454699)],
)
def test_golden_binary_logistic_regression(c, w, b, objective, p):
    fit = LogisticProblem(BINARY_X, BINARY_Y, classes=2).fit(1 / c)
    difference = fit.weight[1] - fit.weight[0]
    assert difference.tolist() == pytest.approx([w, w], abs=1e-5)
    assert float(fit.bias[1] - fit.bias[0]) == pytest.approx(b, abs=1e-5)
    if objective:
        assert fit.objective == pytest.approx(objective, abs=1e-5)
    found = fit.scores(torch.tensor([[2.0, 1.0]])).softmax(1)[0, 1]
    assert float(found) == pytest.approx(p, abs=1e-5)


def test_golden_three_class_logistic_regression():
    x = torch.tensor([[0, 0], [1, 0], [4, 0], [5, 0], [0, 4], [1, 4]], dtype=torch.float64)
    fit = LogisticProblem(x, torch.tensor([0, 0, 1, 1, 2, 2]), classes=3).fit(1.0)
    assert fit.objective == pytest.approx(1.614209, abs=1e-5)
    found = fit.scores(torch.tensor([[2.0, 2.0]])).softmax(1)[0].tolist()
    assert found == pytest.approx([0.259957, 0.283883, 0.456160], abs=1e-5)


def test_the_grid_has_45_values_a_quarter_of_a_decade_apart():
    assert len(L2_GRID) == 45
    assert (L2_GRID[0], L2_GRID[-1]) == pytest.approx((1e-6, 1e5))
    assert np.diff(np.log10(L2_GRID)) == pytest.approx(0.25)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([1e-3, 0.1, 1.0, 30.0]), st.booleans())
def test_a_fit_is_where_the_gradient_vanishes(seed, l2, warm):
    problem, _ = _problem(n=90, d=5, classes=3, seed=seed)
    x, y = problem.train_x.double(), problem.train_y
    solver = LogisticProblem(x, y, classes=3, max_iterations=2000)
    fit = solver.fit(l2, solver.fit(100 * l2) if warm else None)
    residual = fit.scores(x).softmax(1) - F.one_hot(y, 3)
    # Measured by the step it asks for, since features are not scaled here.
    curvature = x.square().sum(0) + l2
    gradient = residual.T @ x + l2 * fit.weight
    assert float((gradient / curvature.sqrt()).abs().max()) < 1e-3
    assert float(residual.sum(0).abs().max()) < 1e-3


def test_float32_finds_what_float64_finds(monkeypatch):
    problem, _ = _problem()
    exact = LogisticProblem(problem.train_x, problem.train_y, classes=4).fit(1.0)
    monkeypatch.setattr(linear_module, "_FLOAT64_VALUES", 0)
    quick = LogisticProblem(problem.train_x, problem.train_y, classes=4).fit(1.0)
    assert quick.weight.dtype == torch.float32
    assert quick.objective == pytest.approx(exact.objective, rel=1e-4)


def test_golden_step_of_sgd():
    x, y = torch.tensor([[1.0, 0], [0, 1], [1, 1]]), torch.tensor([0, 1, 1])
    # One full batch: the cosine starts at 1.
    weight, bias = train_heads(
        x, y, classes=2, heads=[(1.0, 0.0), (0.5, 0.0)], seed=0, epochs=1, batch=3, momentum=0.0
    )
    assert weight[:, 0].T.flatten().tolist() == pytest.approx([0, -1 / 3, 0, 1 / 3], abs=1e-6)
    assert bias[0].tolist() == pytest.approx([-1 / 6, 1 / 6], abs=1e-6)
    loss = float(F.cross_entropy(x @ weight[:, 0] + bias[0], y))
    assert loss == pytest.approx(0.500054, abs=1e-5)
    torch.testing.assert_close(weight[:, 1], weight[:, 0] / 2)


def test_heads_trained_together_are_heads_trained_alone():
    problem, _ = _problem(n=120)
    grid = [(0.1, 0.0), (0.03, 0.01)]
    arguments = {"classes": 4, "seed": 1, "epochs": 3, "batch": 32}
    x = Standardise(problem.train_x)(problem.train_x)
    together, _ = train_heads(x, problem.train_y, heads=grid, **arguments)
    for h, head in enumerate(grid):
        alone, _ = train_heads(x, problem.train_y, heads=[head], **arguments)
        torch.testing.assert_close(together[:, h], alone[:, 0], rtol=1e-4, atol=1e-5)


def test_ridge_solves_its_normal_equations():
    problem, _ = _problem(n=150)
    x, y = problem.train_x.double(), F.one_hot(problem.train_y, 4).double()
    for l2, (weight, bias) in zip(
        (0.5, 50.0), ridge_path(problem.train_x, problem.train_y, classes=4, l2s=(0.5, 50.0)),
        strict=True,
    ):  # fmt: skip
        residual = x @ weight + bias - y
        torch.testing.assert_close(x.T @ residual + l2 * weight, torch.zeros_like(weight),
                                   atol=1e-6, rtol=0)  # fmt: skip
        torch.testing.assert_close(residual.sum(0), torch.zeros(4).double(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("probe", [knn, linear, ridge, sgd])
def test_every_probe_learns_repeats_itself_and_says_how(probe):
    problem, labels = _problem()
    scores, about = probe(problem)
    assert scores.shape == (200, 4)
    assert topk_accuracy(scores, labels) > 0.75
    again, _ = probe(problem)
    assert torch.equal(scores, again)
    assert "normalisation" in about
    if probe is not knn:
        assert "held out" in about["chosen_on"]
        assert 0.75 < about["held_out_accuracy"] <= 1


@pytest.mark.parametrize("probe", [linear, ridge, sgd])
def test_no_choice_depends_on_the_test_pictures(probe):
    problem, _ = _problem()
    other = Problem(problem.train_x, problem.train_y, -problem.test_x[:5], 4)
    assert probe(problem)[1] == probe(other)[1]


def test_linear_sweep_is_not_cut_short_where_the_penalty_rules():
    problem, labels = _problem(n=90, d=6)
    scores, about = linear(problem)
    assert about["l2_tried"][2] > 15
    assert topk_accuracy(scores, labels) > 0.6


def test_a_class_without_a_neighbour_is_no_answer():
    problem = Problem(torch.eye(3), torch.tensor([0, 1, 1]), torch.eye(3), 3, k=1)
    scores, about = knn(problem)
    assert torch.isneginf(scores[:, 2]).all()
    assert scores.argmax(1).tolist() == [0, 1, 1]
    assert about["k"] == 1


def test_raw_pixels_are_centred_for_knn_and_cut_for_linear_probes():
    x = torch.rand(40, 300) + 10
    _, about = knn(Problem(x, torch.arange(40) % 2, x, 2, pixels=True))
    assert "own mean" in about["normalisation"]
    scale = Standardise(x, max_dim=16)
    assert scale(x).shape == (40, 16)
    # The directions kept are those of most variance.
    whole = Standardise(x)(x)
    kept = float(scale(x).square().sum() / whole.square().sum())
    largest = torch.linalg.svdvals(whole.double()).square()
    assert kept == pytest.approx(float(largest[:16].sum() / largest.sum()), abs=1e-4)


def test_features_that_do_not_vary_stay_finite():
    x = torch.cat([torch.randn(20, 2), torch.full((20, 1), 7.0)], 1)
    z = Standardise(x)(x)
    assert torch.isfinite(z).all()
    torch.testing.assert_close(z[:, 2], torch.zeros(20))
    torch.testing.assert_close(z[:, 0].std(correction=0), torch.tensor(1.0))


def test_choices_are_made_by_the_metric():
    # Class 0 is nine tenths of all: top-1 is high where nothing else is found.
    y = torch.tensor([0] * 18 + [1, 1])
    scores = torch.zeros(20, 2)
    problem = Problem(torch.zeros(20, 1), y, torch.zeros(1, 1), 2)
    rows = torch.arange(20)
    assert problem.score(scores, rows) == pytest.approx(0.9)
    assert replace(problem, metric="mean_per_class").score(scores, rows) == pytest.approx(0.5)
    perfect = F.one_hot(y, 2).float()
    assert replace(problem, metric="map_eleven_point").score(perfect, rows) == 1
    # All alike: one rank, whose precision is the share of the class.
    found = replace(problem, metric="map_eleven_point").score(scores, rows)
    assert found == pytest.approx((0.9 + 0.1) / 2)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.03, 1.0, 30.0]))
def test_several_classes_are_binary_problems_of_their_own(seed, l2):
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(60, 4))
    marks = (x @ draw.normal(size=(4, 3)) + draw.normal(size=(60, 3)) > 0.5).astype(np.int8)
    together = LogisticProblem(
        torch.from_numpy(x), torch.from_numpy(marks), classes=3, max_iterations=2000
    ).fit(l2)
    for c in range(3):
        if 0 < marks[:, c].sum() < 60:
            alone = LogisticRegression(C=1 / l2, tol=1e-10, max_iter=5000).fit(x, marks[:, c])
            ours = [*together.weight[c].tolist(), float(together.bias[c])]
            assert ours == pytest.approx([*alone.coef_[0], *alone.intercept_], abs=2e-3)


def test_what_is_not_counted_changes_nothing():
    draw = np.random.default_rng(0)
    x = torch.from_numpy(draw.normal(size=(40, 3)))
    marks = torch.from_numpy((draw.random((40, 2)) < 0.4).astype(np.int8))
    marks[30:, 0] = -1
    fit = LogisticProblem(x, marks, classes=2, max_iterations=2000).fit(1.0)
    less = LogisticProblem(x[:30], marks[:30], classes=2, max_iterations=2000).fit(1.0)
    torch.testing.assert_close(fit.weight[0], less.weight[0], atol=1e-4, rtol=0)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=60), st.integers(0, 100))
def test_held_out_part(labels, seed):
    labels = np.array(labels)
    counts = np.bincount(labels)
    if counts.max() < 2:
        with pytest.raises(FovealError, match="held out"):
            held_out(labels, seed=seed)
        return
    kept, held = held_out(labels, seed=seed)
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(len(labels)))
    for c, n in enumerate(counts):
        chosen = int((labels[held.numpy()] == c).sum())
        assert chosen == (max(1, math.floor(0.2 * n)) if n > 1 else 0)
    again = held_out(labels, seed=seed)
    assert torch.equal(again[1], held)


@pytest.mark.parametrize("count", [3, 50])
def test_directions_of_few_samples_with_many_features(count):
    x = torch.randn(20, 3000, generator=torch.Generator().manual_seed(0))
    x = (x - x.mean(0)) * torch.linspace(2, 0.1, 3000)
    axes = leading_directions(x, count)
    assert axes.shape == (3000, min(count, 20))
    assert torch.allclose(axes.T @ axes, torch.eye(axes.shape[1]), atol=1e-5)
    kept = torch.linalg.svd(x).S[: axes.shape[1]].square()
    assert torch.allclose((x @ axes).square().sum(0).flip(0), kept, rtol=1e-3, atol=1e-3)
