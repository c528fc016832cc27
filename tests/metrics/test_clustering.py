import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.errors import FovealError
from foveal.metrics import clustering as c

CLASSES, CLUSTERS = np.array([0] * 4 + [1] * 3 + [2] * 3), np.array([0, 0, 1, 1, 2, 2, 2, 3, 3, 2])
TOLERANCE = 1e-5


def test_golden_values():
    close = lambda x: pytest.approx(x, abs=TOLERANCE)  # noqa: E731
    assert c.mutual_information(CLASSES, CLUSTERS) == close(0.863966)
    for normaliser, expected in [
        ("arithmetic", 0.713703),
        ("geometric", 0.717334),
        ("max", 0.648536),
    ]:
        found = c.normalised_mutual_information(CLASSES, CLUSTERS, normaliser=normaliser)
        assert found == close(expected)
    assert c.adjusted_mutual_information(CLASSES, CLUSTERS) == close(0.553541)
    assert c.adjusted_rand_index(CLASSES, CLUSTERS) == close(0.444444)
    assert c.purity(CLASSES, CLUSTERS) == close(0.9)
    assert c.hungarian_accuracy(CLASSES, CLUSTERS) == close(0.7)


def test_golden_values_of_deepcluster():
    a, b = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 1, 1])
    assert c.mutual_information(a, b) == pytest.approx(0.318257, abs=TOLERANCE)
    # With itself: its entropy.
    entropies = [c.mutual_information(x, x) for x in (a, b)]
    assert entropies == pytest.approx([1.011404, 0.636514], abs=1e-6)
    nmi = c.normalised_mutual_information
    assert nmi(a, b, normaliser="geometric") == pytest.approx(0.396654, abs=TOLERANCE)
    assert nmi(a, b, normaliser="arithmetic") == pytest.approx(0.386253, abs=TOLERANCE)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=40), st.permutations(range(5)))
def test_names_of_clusters_do_not_matter(classes, names):
    classes = np.array(classes)
    renamed = np.array(names)[classes]
    assert c.purity(classes, renamed) == 1
    assert c.hungarian_accuracy(classes, renamed) == 1
    assert c.adjusted_rand_index(classes, renamed) == pytest.approx(1)


def test_labellings_of_different_length():
    with pytest.raises(FovealError, match="must be"):
        c.purity(np.zeros(3, int), np.zeros(4, int))
