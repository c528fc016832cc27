"""k-means and whitening against DeepCluster's golden values."""

import numpy as np
import pytest

from foveal.clustering.kmeans import cluster_sizes, kmeans
from foveal.clustering.whiten import pca_whiten
from foveal.errors import FovealError


def test_whitening_golden():
    x = np.array([[2, 0, 1], [0, 1, 0], [1, 3, 1], [4, 1, 2], [3, 5, 0]], np.float32)
    white = pca_whiten(x, 2)
    gram = white @ white.T
    expected = {
        (1, 2): 0.249775, (1, 3): -0.685692, (1, 4): 0.440213, (1, 5): -0.957311,
        (2, 3): 0.533551, (2, 4): -0.759480, (2, 5): -0.519010, (3, 4): -0.955420,
        (3, 5): 0.446017, (4, 5): -0.161876,
    }  # fmt: skip
    for (i, j), value in expected.items():
        assert gram[i - 1, j - 1] == pytest.approx(value, abs=1e-5)
    assert np.allclose(np.linalg.norm(white, axis=1), 1)


def test_whitening_keeps_only_directions_in_which_something_varies():
    x = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    x[:, 4:] = 3.0
    assert pca_whiten(x, 6).shape == (50, 4)
    with pytest.raises(ValueError, match="same"):
        pca_whiten(np.ones((5, 3), np.float32), 2)


POINTS = np.array([(0, 0), (0, 1), (1, 0), (5, 5), (5, 6), (9, 0)], np.float32)


def test_kmeans_golden():
    start = np.array([(0, 0), (5, 5)], np.float32)
    found = kmeans(POINTS, 2, iterations=5, start=start)
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
