"""Warnings in words: trivial losses, collapse, each said once."""

import math

import pytest

from foveal.engine.monitors import Watch


def test_a_loss_that_stands_at_a_trivial_value_is_named_once():
    watch = Watch({})
    trivial = {"log 4, what guessing the turn gives": math.log(4)}
    said = [text for step in range(300) for text in watch.loss(1.3863, trivial, epoch=step / 100)]
    assert len(said) == 1 and "what guessing the turn gives" in said[0] and "1.386" in said[0]


def test_a_loss_that_moves_is_not_named():
    watch = Watch({})
    for step in range(300):
        assert watch.loss(1.3863 - step / 500, {"guessing": math.log(4)}, step / 100) == []


def test_the_first_epoch_may_stand_still():
    watch = Watch({})
    assert not any(watch.loss(1.3863, {"guessing": math.log(4)}, 0.5) for _ in range(300))


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ({"feature_std": 0.03, "effective_rank": 40.0, "dimensions": 64.0}, "nearly the same"),
        ({"feature_std": 0.8, "effective_rank": 1.4, "dimensions": 64.0}, "1.4 of 64"),
    ],
)
def test_collapse(found, says):
    watch = Watch({})
    (text,) = watch.health(found)
    assert says in text and "collapsing" in text
    assert watch.health(found) == []


def test_healthy_features_say_nothing():
    assert Watch({}).health({"feature_std": 0.7, "effective_rank": 30.0, "dimensions": 64.0}) == []
