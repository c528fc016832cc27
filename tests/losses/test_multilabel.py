"""Multi-label loss against the golden values of the paper's page."""

import pytest
import torch
from torch.nn import functional as F

from foveal.data.hierarchy import read_hierarchy
from foveal.errors import FovealError
from foveal.losses.multilabel import base_rate_loss, closed_upwards, multilabel_loss

TREE = "dog,animal\ncorgi,dog\n# leaves\ncat,animal\n"
CLASSES = ["corgi", "dog", "animal", "cat", "vehicle"]
LOGITS = torch.tensor([[1.0, 0, 2, -1, -2]])


def test_a_corgi_is_a_dog_is_an_animal():
    found = read_hierarchy(TREE, CLASSES)
    assert found.names == tuple(CLASSES)
    target = closed_upwards(torch.tensor([0]), torch.from_numpy(found.positives))
    assert target.tolist() == [[1, 1, 1, 0, 0]]
    each = F.binary_cross_entropy_with_logits(LOGITS, target, reduction="none")[0]
    assert each.tolist() == pytest.approx(
        [0.313262, 0.693147, 0.126928, 0.313262, 0.126928], abs=1e-6
    )
    loss = multilabel_loss(LOGITS, target)
    assert loss.item() == pytest.approx(1.573527, abs=1e-6)
    assert loss.item() / 5 == pytest.approx(0.314705, abs=1e-6)
    # Without closing upwards the ancestors are punished for being right.
    alone = closed_upwards(torch.tensor([0]), torch.eye(5, dtype=torch.bool))
    assert multilabel_loss(LOGITS, alone).item() == pytest.approx(3.573527, abs=1e-6)


def test_what_is_above_and_no_class_of_its_own_comes_last():
    found = read_hierarchy(TREE + "animal,thing\nbus,vehicle\nbus,thing\n", ["cat", "bus", "corgi"])
    assert found.names == ("cat", "bus", "corgi", "animal", "dog", "thing", "vehicle")
    rows = [[found.names[c] for c in row.nonzero()[0]] for row in found.positives]
    assert rows == [
        ["cat", "animal", "thing"],
        ["bus", "thing", "vehicle"],
        ["corgi", "animal", "dog", "thing"],
    ]


def test_no_label_is_no_class():
    positives = torch.from_numpy(read_hierarchy(TREE, CLASSES).positives)
    assert closed_upwards(torch.tensor([-1, 4]), positives).tolist() == [[0] * 5, [0, 0, 0, 0, 1]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dog\n", "line 1 of tree.csv is not child,parent"),
        ("dog,animal\nanimal,dog\n", "above itself"),
        ("poodle,dog\n", "neither a class of the data nor above one"),
    ],
)
def test_what_is_no_hierarchy(text, words):
    with pytest.raises(FovealError, match=words):
        read_hierarchy(text, ["dog", "cat"], "tree.csv")


def test_base_rates():
    """Four classes, each a quarter of the pictures: the entropy of four coins of 1/4."""
    coin = F.binary_cross_entropy(torch.tensor(0.25), torch.tensor(0.25)).item()
    assert base_rate_loss(torch.eye(4, dtype=torch.bool)) == pytest.approx(4 * coin, abs=1e-6)
    # What is above all of them is no surprise.
    above = torch.cat([torch.eye(4), torch.ones(4, 1)], 1).bool()
    assert base_rate_loss(above) == pytest.approx(4 * coin, abs=1e-6)
