"""The order of a stream: permutations, and groups drawn evenly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.data.blocks import Blocks
from foveal.data.order import Order
from foveal.errors import FovealError

patient = settings(deadline=None)  # the first call compiles


@patient
@given(st.integers(1, 400), st.integers(0, 3), st.integers(0, 5))
def test_every_round_is_a_permutation(n, seed, number):
    rows = Order(n, seed, "main").rows(np.arange(number * n, (number + 1) * n))
    assert np.array_equal(np.sort(rows), np.arange(n))


def test_rounds_seeds_and_streams_differ():
    def first(*key):
        return Order(200, *key).rows(np.arange(400)).tolist()

    one = first(0, "main")
    assert one[:200] != one[200:]
    assert len({tuple(x[:200]) for x in (one, first(1, "main"), first(0, "other"))}) == 3


@patient
@given(
    st.lists(st.integers(-1, 6), min_size=1, max_size=60).filter(lambda g: max(g) >= 0),
    st.lists(st.integers(0, 10_000), min_size=1, max_size=40),
)
def test_a_position_does_not_know_its_batch(groups, positions):
    for given_groups in (None, np.array(groups)):
        order = Order(len(groups), 3, "s", given_groups)
        together = order.rows(np.array(positions))
        alone = [int(order.rows(np.array([p]))[0]) for p in positions]
        assert together.tolist() == alone


@patient
@given(
    st.lists(st.integers(-1, 8), min_size=1, max_size=120).filter(lambda g: max(g) >= 0),
    st.integers(0, 4),
)
def test_groups_are_drawn_evenly_and_the_left_out_never(groups, number):
    groups = np.array(groups)
    n = len(groups)
    rows = Order(n, 0, "s", groups).rows(np.arange(number * n, (number + 1) * n))
    assert len(rows) == n and (groups[rows] >= 0).all()
    live = np.unique(groups[groups >= 0])
    share = -(-n // len(live))
    drawn = np.bincount(groups[rows], minlength=9)[live]
    # A round is cut to n, so what is missing from full shares is all that may be missing.
    assert drawn.max() <= share and (share - drawn).sum() == share * len(live) - n
    for g in live:
        members = np.flatnonzero(groups == g)
        if len(members) >= share:
            mine = rows[groups[rows] == g]
            assert len(set(mine.tolist())) == len(mine)


def test_the_example_of_deepcluster():
    """N = 10, clusters of 6, 3, 0 and 1: four draws of each live one, shuffled, cut to ten."""
    groups = np.array([0] * 6 + [1] * 3 + [3])
    seen = np.zeros(10)
    cuts = set()
    for seed in range(400):
        rows = Order(10, seed, "main", groups).rows(np.arange(10))
        counts = np.bincount(groups[rows], minlength=4)
        assert counts[2] == 0 and counts.max() <= 4 and counts.sum() == 10
        first = rows[groups[rows] == 0]
        assert len(set(first.tolist())) == len(first)  # 6 members for 4 draws: none twice
        assert (rows == 9).sum() == counts[3]  # the single one, again and again
        cuts.add(tuple(counts))
        seen += np.bincount(rows, minlength=10)
    # Ten of twelve slots, so each cluster is drawn 3 1/3 times on average.
    assert len(cuts) == 6
    per_group = np.array([seen[:6].sum(), seen[6:9].sum(), seen[9]]) / 400
    assert np.abs(per_group - 10 / 3).max() < 0.12
    assert np.abs(seen[:6] / 400 - 10 / 18).max() < 0.1
    assert np.abs(seen[6:9] / 400 - 10 / 9).max() < 0.15


def test_a_small_group_is_drawn_with_replacement():
    groups = np.array([0] * 90 + [1] * 10)
    rows = Order(100, 0, "s", groups).rows(np.arange(100))
    mine = rows[groups[rows] == 1]
    assert len(mine) == 50 and 5 < len(set(mine.tolist())) <= 10


@patient
@given(st.integers(0, 50), st.integers(0, 5))
def test_a_substitute_is_one_that_may_be_drawn(position, attempt):
    groups = np.array([-1, 5, -1, 2, 5, -1])
    order = Order(6, 1, "s", groups)
    row = order.substitute(position, attempt)
    assert groups[row] >= 0 and row == order.substitute(position, attempt)
    assert 0 <= Order(6, 1, "s").substitute(position, attempt) < 6


def test_substitutes_vary():
    order = Order(50, 0, "s")
    assert len({order.substitute(7, attempt) for attempt in range(20)}) > 10
    assert len({order.substitute(p, 0) for p in range(20)}) > 10


def test_nothing_to_draw_is_refused():
    with pytest.raises(FovealError, match="no samples"):
        Order(0, 0, "s")
    with pytest.raises(FovealError, match="left out"):
        Order(3, 0, "s", np.full(3, -1))
    with pytest.raises(ValueError, match="2 groups for 3 samples"):
        Order(3, 0, "s", np.zeros(2, int))


def test_positions_far_away_are_reached_at_once():
    order = Order(10**9, 0, "s")
    rows = order.rows(np.array([0, 10**9 - 1, 10**15]))
    assert ((rows >= 0) & (rows < 10**9)).all()


@patient
@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=80),
    st.integers(1, 4),
    st.integers(0, 3),
    st.booleans(),
)
def test_blocks_are_permuted_and_then_mixed_in_windows(of, window, number, in_order):
    """Every round shows each sample once, a window of blocks at a time."""
    of = np.array(sorted(of) if in_order else of)
    n = len(of)
    order = Order(n, 0, "s", blocks=Blocks(of, window))
    positions = np.arange(number * n, (number + 1) * n)
    rows = order.rows(positions)
    assert np.array_equal(np.sort(rows), np.arange(n))
    assert rows.tolist() == [int(order.rows(np.array([p]))[0]) for p in positions]
    # A block is in use from its first sample to its last: never more than a window of them.
    seen = of[rows]
    first = {b: int(np.argmax(seen == b)) for b in set(of.tolist())}
    last = {b: n - 1 - int(np.argmax(seen[::-1] == b)) for b in first}
    for p in range(n):
        assert sum(first[b] <= p <= last[b] for b in first) <= window


def test_every_round_has_other_windows():
    of = np.arange(400) // 4
    rows = Order(400, 0, "s", blocks=Blocks(of, 5)).rows(np.arange(800)).reshape(2, 400)
    assert {*of[rows[0, :20]]} != {*of[rows[1, :20]]}
    # Within a window blocks are mixed.
    assert all(len({*of[w]}) == 5 for w in rows.reshape(-1, 20))
    grouped = Order(400, 0, "s", np.arange(400) % 3, Blocks(of, 5))
    assert len({*of[grouped.rows(np.arange(20))]}) > 10
