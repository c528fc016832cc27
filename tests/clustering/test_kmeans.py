"""k-means and whitening against DeepCluster's golden values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.clustering.kmeans import cluster_sizes, kmeans
from foveal.clustering.whiten import pca_whiten
from foveal.core.rows import Rows, disk_array
from foveal.errors import FovealError


def test_whitening_golden():
    x = np.array([[2, 0, 1], [0, 1, 0], [1, 3, 1], [4, 1, 2], [3, 5, 0]], np.float32)
    white = pca_whiten(x, 2).x
    gram = white @ white.T
    expected = {
        (1, 2): 0.249775, (1, 3): -0.685692, (1, 4): 0.440213, (1, 5): -0.957311,
        (2, 3): 0.533551, (2, 4): -0.759480, (2, 5): -0.519010, (3, 4): -0.955420,
        (3, 5): 0.446017, (4, 5): -0.161876,
    }  # fmt: skip
    for (i, j), value in expected.items():
        assert gram[i - 1, j - 1] == pytest.approx(value, abs=1e-5)
    assert np.allclose(np.linalg.norm(white, axis=1), 1)


def test_golden_eigenvalues_of_whitening():
    """Up to their scale, which the length of the rows takes away."""
    x = np.array([[2, 0, 1], [0, 1, 0], [1, 3, 1], [4, 1, 2], [3, 5, 0]], np.float32)
    plain, scaled = (np.abs(pca_whiten(x, 3, power=power).x[0]) for power in (0.0, 1.0))
    found = scaled / plain
    values = [3.386405, 2.193993, 0.179602]
    assert found[1:] / found[0] == pytest.approx(np.divide(values[1:], values[0]), rel=1e-5)


def test_whitening_keeps_only_directions_in_which_something_varies():
    x = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    x[:, 4:] = 3.0
    assert pca_whiten(x, 6).x.shape == (50, 4)
    with pytest.raises(ValueError, match="same"):
        pca_whiten(np.ones((5, 3), np.float32), 2)


POINTS = np.array([(0, 0), (0, 1), (1, 0), (5, 5), (5, 6), (9, 0)], np.float32)


def test_a_floor_does_not_raise_rounding():
    """24 rows of 40 features on 5 directions: what float32 leaves of the others decides nothing."""
    generator = np.random.default_rng(0)
    x = (generator.normal(size=(24, 5)) @ generator.normal(size=(5, 40))).astype(np.float32)
    white = pca_whiten(x, floor=1e-5).x
    assert white.shape == (24, 5)
    again = pca_whiten(x * np.float32(1 + 2**-20), floor=1e-5).x  # other last bits
    assert np.abs(white @ white.T - again @ again.T).max() < 1e-4


def test_kmeans_golden():
    start = np.array([(0, 0), (5, 5)], np.float32)
    first = kmeans(POINTS, 2, iterations=0, start=start)
    assert first.assignments.tolist() == [0, 0, 0, 1, 1, 1]
    assert first.objective == pytest.approx(44, abs=1e-4)
    found = kmeans(POINTS, 2, iterations=5, start=start)
    assert found.iterations == 1
    assert found.assignments.tolist() == [0, 0, 0, 1, 1, 1]
    assert np.allclose(found.centroids, [(1 / 3, 1 / 3), (19 / 3, 11 / 3)], atol=1e-5)
    assert found.objective == pytest.approx(32.6667, abs=1e-3)


def test_kmeans_is_a_function_of_its_seed():
    x = np.random.default_rng(1).normal(size=(300, 5)).astype(np.float32)
    a, b, c = (kmeans(x, 12, seed=s) for s in (3, 3, 4))
    assert np.array_equal(a.assignments, b.assignments)
    assert not np.array_equal(a.assignments, c.assignments)
    # Every row is with its nearest centroid.
    distances = ((x[:, None] - a.centroids[None]) ** 2).sum(2)
    assert np.array_equal(distances.argmin(1), a.assignments)
    assert a.objective == pytest.approx(distances.min(1).sum(), rel=1e-4)


def test_kmeans_splits_empty_clusters():
    """All rows but four are one point: a cluster that starts on a copy of it would stay empty."""
    x = np.concatenate([np.zeros((40, 2)), np.eye(2) * 9, -np.eye(2) * 9]).astype(np.float32) + 3
    start = np.full((5, 2), 3, np.float32)
    assert cluster_sizes(kmeans(x, 5, iterations=20, start=start).assignments, 5).used >= 3


def test_fewer_rows_than_clusters():
    with pytest.raises(FovealError, match="6 samples cannot form 7 clusters"):
        kmeans(POINTS, 7)


def test_cluster_sizes():
    sizes = cluster_sizes(np.array([0, 0, 2, 2, -1]), 4)
    assert sizes.used == 2 and sizes.largest == 0.5
    assert sizes.entropy == pytest.approx(np.log(2))


def test_golden_of_sharded_kmeans():
    """DeeperCluster's distributed k-means on two shards, here in one process."""
    x = [(1, 0), (0.9, 0.1), (0.8, 0.3), (0, 1), (0.1, 0.9), (-1, 0), (-0.9, 0.2), (-0.8, -0.1)]
    x = np.array(x, np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    found = kmeans(x, 2, iterations=1, start=x[[0, 3]])
    assert np.bincount(found.assignments).tolist() == [3, 5]
    expected = [(0.976738, 0.153852), (-0.571607, 0.417356)]
    assert np.allclose(found.centroids, expected, atol=1e-6)
    again = kmeans(x, 2, iterations=9, start=found.centroids)
    assert again.iterations == 1 and np.allclose(again.centroids, expected, atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(
    n=st.integers(1, 700), d=st.integers(1, 20), k=st.integers(1, 30),
    offset=st.sampled_from([0.0, 100.0]), seed=st.integers(0, 5),
)  # fmt: skip
def test_every_row_is_with_its_nearest_centroid_and_centroids_are_means(n, d, k, offset, seed):
    x = (np.random.default_rng(seed).normal(size=(n, d)) + offset).astype(np.float32)
    found = kmeans(x, min(k, n), iterations=60, seed=seed)
    wide = x.astype(np.float64)
    distances = ((wide[:, None] - found.centroids.astype(np.float64)[None]) ** 2).sum(2)
    ours = distances[np.arange(n), found.assignments]
    assert (ours <= distances.min(1) + 1e-4 * (1 + offset)).all()
    assert found.objective == pytest.approx(ours.sum(), rel=1e-3, abs=1e-3 * (1 + offset))
    if found.iterations < 60:
        for c in range(min(k, n)):
            mean = wide[found.assignments == c].mean(0)
            assert np.allclose(found.centroids[c], mean, atol=1e-5 * (1 + offset))


def test_more_centroids_than_a_tile_holds():
    x = np.random.default_rng(2).normal(size=(1300, 3)).astype(np.float32)
    found = kmeans(x, 1200, iterations=3)
    distances = ((x[:, None] - found.centroids[None]) ** 2).sum(2)
    assert np.allclose(distances.min(1), distances[np.arange(1300), found.assignments], atol=1e-5)


def test_spherical_kmeans_goes_by_the_cosine():
    generator = np.random.default_rng(3)
    angle = np.concatenate([generator.normal(a, 0.1, 50) for a in (0.0, 2.0, 4.0)])
    x = np.stack([np.cos(angle), np.sin(angle)], 1) * generator.uniform(0.1, 9, (150, 1))
    found = kmeans(x.astype(np.float32), 3, start=x[[0, 50, 100]], spherical=True)
    assert found.assignments.tolist() == [0] * 50 + [1] * 50 + [2] * 50
    assert np.allclose(np.linalg.norm(found.centroids, axis=1), 1)


def test_a_warm_start_is_done_at_once():
    x = np.random.default_rng(4).normal(size=(400, 4)).astype(np.float32)
    first = kmeans(x, 6, iterations=200)
    again = kmeans(x, 6, iterations=200, start=first.centroids)
    assert again.iterations <= 1 and np.array_equal(first.assignments, again.assignments)
    with pytest.raises(FovealError, match=r"start is \[5, 4\], not \[6, 4\]"):
        kmeans(x, 6, start=first.centroids[:5])


def test_features_that_are_no_numbers_are_refused():
    x = np.ones((600, 2), np.float32)
    x[550, 1] = np.nan
    with pytest.raises(FovealError, match="NaN or infinity"):
        kmeans(x, 3)


def test_rows_on_disk_stay_there(tmp_path):
    """What is made of rows on disk is on disk too; what is read is a block at a time."""
    x = disk_array(tmp_path, 2000, 8)
    x[:] = np.random.default_rng(5).normal(size=x.shape)
    white = pca_whiten(Rows(x, np.arange(2000), 2000, folder=tmp_path), 4)
    assert isinstance(white.x, np.memmap) and white.x.shape == (2000, 4)
    assert np.array_equal(white.x, pca_whiten(np.array(x), 4).x)
    assert max(len(block) for _, block in white.blocks(300)) == 300
    some = white.take(np.arange(0, 2000, 7)).take(np.arange(5, 200))
    assert np.array_equal(np.concatenate([b for _, b in some.blocks(64)]), white.x[35:1400:7])
    assert some.total == 195 and np.array_equal(some.at, np.arange(195))
    assert np.array_equal(kmeans(white, 9).assignments, kmeans(np.array(white.x), 9).assignments)
