"""Permutation sets: the papers' golden values, determinism, the cache."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.benchmarks.released import PERMUTATIONS
from foveal.core.files import cache_home
from foveal.core.permutations import PermutationSet, mean_distance, permutation_set
from foveal.errors import FovealError

# Looked for where the user keeps files, before a test gets a cache of its own.
RELEASED = [
    pytest.param(
        file.path,
        golden,
        id=file.name,
        marks=pytest.mark.skipif(not file.path.is_file(), reason=file.reason),
    )
    for file, golden in PERMUTATIONS.items()
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "cache"))


def words(found: PermutationSet) -> list[str]:
    return ["".join(map(str, row)) for row in found.rows]


def pairs(rows):
    """Hamming distances of all pairs, the long way."""
    different = (rows[:, None] != rows[None]).sum(2)
    return different[np.triu_indices(len(rows), 1)]


def test_mean_rule_in_lexicographic_order():
    found = permutation_set(9, 100, ties="first", cache=False)
    assert words(found)[:10] == [
        "012345678", "103254786", "230167845", "321078564", "456780123",
        "547806231", "678412350", "785631402", "864523017", "012345687",
    ]  # fmt: skip
    assert (pairs(found.rows) == 2).sum() == 129
    assert found.minimum == 2 and found.mean == pytest.approx(8.08)


def test_min_rule_in_lexicographic_order():
    found = permutation_set(9, 12, rule="min", ties="first", cache=False)
    mean = permutation_set(9, 9, ties="first", cache=False)
    assert words(found)[:9] == words(mean)
    assert words(found)[9:] == ["023186457", "134670258", "167085342"]


@pytest.mark.parametrize(("count", "least"), [(10, 8), (20, 7), (50, 7), (100, 6), (1000, 5)])
def test_minimum_distance_of_the_min_rule(count, least):
    found = permutation_set(9, count, rule="min", ties="first", cache=False)
    assert found.minimum == least == pairs(found.rows[:200]).min() or count == 1000


@pytest.mark.parametrize("count", [10, 20, 50, 100, 1000])
def test_minimum_distance_of_the_mean_rule(count):
    assert permutation_set(9, count, ties="first", cache=False).minimum == 2


@pytest.mark.parametrize(("count", "mean", "near"), [(100, 8.019, 0.05), (1000, 8.001, 0.01)])
def test_random_lists(count, mean, near):
    """What another generator drew: ours lies near, its smallest distance within one or two."""
    found = permutation_set(9, count, rule="random", cache=False)
    assert found.mean == pytest.approx(mean, abs=near) and 2 <= found.minimum <= 4


@pytest.mark.parametrize(("count", "best"), [(10, 8.8), (100, 8.08), (1000, 8.008)])
def test_drawn_ties_reach_the_best_mean(count, best):
    """The best there is: every tile as often as possible in every place."""
    found = permutation_set(9, count)
    assert found.mean == pytest.approx(best)


def test_drawn_ties_make_no_near_copies():
    """In lexicographic order 129 pairs of 100 differ in two places only; drawn, hardly any."""
    found = permutation_set(9, 100)
    assert (pairs(found.rows) == 2).sum() < 10
    assert permutation_set(9, 100, rule="random").mean == pytest.approx(8.0, abs=0.05)


def test_ten_thousand():
    found = permutation_set(9, 10_000)
    assert found.rows.shape == (10_000, 9) and len(np.unique(found.rows, axis=0)) == 10_000
    assert found.mean > 8 and found.minimum >= 2


def test_four_tiles():
    found = permutation_set(4, 6, ties="first", cache=False)
    assert words(found) == ["0123", "1032", "2301", "3210", "0132", "1023"]
    assert found.mean == pytest.approx(3.466667, abs=1e-6) and found.minimum == 2


def released(path) -> np.ndarray:
    """A released list: .npy, or two int32 (n, tiles) and the tiles counted from 1."""
    if path.suffix == ".npy":
        return np.load(path)
    numbers = np.fromfile(path, "<i4")
    return numbers[2:].reshape(numbers[0], numbers[1]) - 1


@pytest.mark.parametrize(("path", "golden"), RELEASED)
def test_released_lists(path, golden):
    mean, smallest, counts = golden
    rows = released(path)
    found = pairs(rows)
    assert mean_distance(rows.astype(np.uint8)) == pytest.approx(mean, abs=6e-6)
    assert found.min() == smallest
    if counts is not None:
        assert tuple(np.bincount(found, minlength=10)[2:]) == counts


def test_how_released_lists_are_read(tmp_path):
    rows = permutation_set(9, 20, cache=False).rows
    np.save(tmp_path / "list.npy", rows)
    flat = np.concatenate([[20, 9], rows.ravel() + 1]).astype("<i4")
    flat.tofile(tmp_path / "list.bin")
    for name in ("list.npy", "list.bin"):
        assert np.array_equal(released(tmp_path / name), rows)


@settings(max_examples=15, deadline=None)
@given(
    tiles=st.integers(2, 6),
    share=st.floats(0, 1),
    rule=st.sampled_from(["mean", "min", "random"]),
    ties=st.sampled_from(["first", "random"]),
    seed=st.integers(0, 5),
)
def test_a_set_is_a_set(tiles, share, rule, ties, seed):
    most = int(np.prod(np.arange(1, tiles + 1)))
    count = 2 + int(share * (min(most, 200) - 2))
    found = permutation_set(tiles, count, rule=rule, ties=ties, seed=seed, cache=False)
    assert (np.sort(found.rows, 1) == np.arange(tiles)).all()
    assert len(np.unique(found.rows, axis=0)) == count
    assert found.mean == pytest.approx(pairs(found.rows).mean())
    assert found.minimum == pairs(found.rows).min()
    # Smaller sets are the beginnings of larger ones.
    if count > 2:
        smaller = permutation_set(tiles, count - 1, rule=rule, ties=ties, seed=seed, cache=False)
        assert np.array_equal(smaller.rows, found.rows[:-1])


def test_seeds_draw_different_sets():
    a, b = (permutation_set(9, 20, seed=seed, cache=False) for seed in (0, 1))
    assert not np.array_equal(a.rows, b.rows)
    assert np.array_equal(a.rows, permutation_set(9, 20, seed=0, cache=False).rows)


def test_the_cache_is_read_and_mended():
    made = permutation_set(9, 20)
    (path,) = (cache_home() / "permutations").iterdir()
    other = np.roll(made.rows, 1, axis=0)
    np.save(path, other)
    assert np.array_equal(permutation_set(9, 20).rows, other), "what is there is used"
    path.write_bytes(path.read_bytes()[:100])
    assert np.array_equal(permutation_set(9, 20).rows, made.rows)
    assert np.array_equal(np.load(path), made.rows), "a damaged file is written again"
    np.save(path, np.zeros_like(other))
    assert np.array_equal(permutation_set(9, 20).rows, made.rows)


def test_no_folder_to_write_to(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "file"))
    assert len(permutation_set(9, 20).rows) == 20


def test_mean_distance():
    rows = np.array([[0, 1, 2], [1, 2, 0], [0, 2, 1]], np.uint8)
    assert mean_distance(rows) == pytest.approx((3 + 2 + 2) / 3)


@pytest.mark.parametrize(
    ("tiles", "count", "message"),
    [(3, 7, "there are 6"), (9, 1, "there are 362880"), (16, 10, "16 tiles"), (1, 2, "1 tiles")],
)
def test_impossible_sets(tiles, count, message):
    with pytest.raises(FovealError, match=message):
        permutation_set(tiles, count)
    with pytest.raises(FovealError, match="rule="):
        permutation_set(9, 10, rule="largest")
