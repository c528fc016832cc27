import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.errors import FovealError
from foveal.metrics import knn
from foveal.metrics.accuracy import mean_per_class_accuracy, topk_accuracy, true_class_rank
from foveal.metrics.knn import knn_accuracy, knn_scores


def _unit(*degrees):
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], 1)


TRAIN, LABELS, QUERY = _unit(0, 50, 75, 180), torch.tensor([1, 0, 0, 1]), _unit(20)


@pytest.mark.parametrize(
    ("temperature", "expected", "winner"),
    [
        (0.07, (239667.23, 676156.81), 1),
        (0.1, (6078.750, 12051.281), 1),
        (0.5, (8.801447, 6.549477), 0),
    ],
)
def test_golden_scores(temperature, expected, winner):
    found = knn_scores(TRAIN, LABELS, QUERY, classes=2, k=3, temperature=temperature)[0]
    assert found.tolist() == pytest.approx(expected, rel=1e-6)
    assert int(found.argmax()) == winner


def test_k_is_cut_to_the_training_size():
    few = knn_scores(TRAIN, LABELS, QUERY, classes=2, k=4)
    assert torch.equal(knn_scores(TRAIN, LABELS, QUERY, classes=2, k=200), few)


def test_without_normalisation_only_the_scale_of_a_query_changes():
    a = knn_scores(TRAIN, LABELS, QUERY, classes=2, k=3, temperature=0.1)
    b = knn_scores(TRAIN, LABELS, QUERY, classes=2, k=3, temperature=0.1, normalise=False)
    torch.testing.assert_close(a[0] / a[0, 0], b[0] / b[0, 0])


def test_neighbours_of_equal_similarity_are_taken_in_row_order():
    same = torch.ones(10, 3)
    labels = torch.tensor([2, 2, 0, 0, 0, 1, 1, 1, 1, 1])
    scores = knn_scores(same, labels, same[:1], classes=3, k=3, temperature=1.0)[0]
    assert scores.tolist() == pytest.approx([math.e, 0, 2 * math.e])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 12))
def test_it_is_the_plain_definition_whatever_the_block(seed, n, k):
    draw = np.random.default_rng(seed)
    # Small integers make ties common.
    train, test = draw.integers(-2, 3, (n, 2)), draw.integers(-2, 3, (7, 2))
    labels = draw.integers(0, 3, n)
    expected = np.zeros((7, 3))
    for q in range(7):
        similarity = train @ test[q]
        for i in np.argsort(-similarity, kind="stable")[:k]:
            expected[q, labels[i]] += np.exp((similarity[i] - similarity.max()) / 0.5)
    before = knn._BLOCK_VALUES
    knn._BLOCK_VALUES = 2 * n
    try:
        found = knn_scores(
            torch.tensor(train, dtype=torch.float32),
            torch.tensor(labels),
            torch.tensor(test, dtype=torch.float32),
            classes=3, k=k, temperature=0.5, normalise=False,
        )  # fmt: skip
    finally:
        knn._BLOCK_VALUES = before
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-12)


def test_accuracy_of_separated_and_of_meaningless_features():
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 4
    features = torch.eye(4)[labels] + 0.05 * torch.randn(400, 4, generator=draw)
    assert knn_accuracy(features[:300], labels[:300], features[300:], labels[300:]) == 1.0
    noise = torch.randn(400, 4, generator=draw)
    assert knn_accuracy(noise[:300], labels[:300], noise[300:], labels[300:], k=20) < 0.5


@pytest.mark.parametrize("wrong", [{"k": 0}, {"temperature": 0.001}])
def test_arguments_that_mean_nothing(wrong):
    with pytest.raises(FovealError):
        knn_scores(TRAIN, LABELS, QUERY, classes=2, **wrong)
    with pytest.raises(FovealError, match="at least one"):
        knn_scores(TRAIN[:0], LABELS[:0], QUERY, classes=2)


def test_golden_mean_per_class():
    confusion = [[8, 2, 0], [1, 1, 0], [0, 5, 15]]
    labels = torch.tensor([t for t in range(3) for p in range(3) for _ in range(confusion[t][p])])
    found = torch.tensor([p for t in range(3) for p in range(3) for _ in range(confusion[t][p])])
    assert mean_per_class_accuracy(found, labels) == pytest.approx(0.683333, abs=1e-5)
    assert topk_accuracy(torch.eye(3)[found], labels) == 0.75


def test_ties_of_scores_go_to_the_lower_class():
    scores = torch.tensor([[1.0, 3.0, 1.0, 3.0]]).expand(4, -1)
    assert true_class_rank(scores, torch.arange(4)).tolist() == [2, 0, 3, 1]
    assert topk_accuracy(scores, torch.arange(4), k=2) == 0.5
    with pytest.raises(FovealError):
        topk_accuracy(scores[:0], torch.arange(0))


def test_golden_vote_of_npid():
    """Class 0 has two of the four neighbours, class 1 the nearest one."""
    rows = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 1, 1]]
    bank = torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float64), dim=1)
    query = torch.tensor([[1, 0.5, 0.2]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    scores = knn_scores(bank, labels, query, classes=3, k=4, temperature=0.07)[0]
    shares = (scores / scores.sum()).tolist()
    assert shares == pytest.approx([0.254352, 0.544485, 0.201163], abs=1e-6)
    # A row that is a class of its own says how similar it is.
    alone = knn_scores(bank, torch.arange(6), query, classes=6, k=6, temperature=1.0)[0]
    cosines = [0.880451, 0.440225, 0.176090, 0.933859, 0.435801, 0.864159]
    assert alone.log().tolist() == pytest.approx(cosines, abs=1e-6)
