import pytest
import torch

from foveal.errors import FovealError
from foveal.metrics.retrieval import first_right, ranking_ap, recall_at_k

Z = torch.tensor([(1, 0), (0.9, 0.435890), (0, 1), (0.6, 0.8), (-1, 0), (0.8, -0.6)])
Y = torch.tensor([0, 1, 1, 0, 1, 0])


def test_golden_recalls():
    found = recall_at_k(Z, Y, (1, 2, 3))
    assert found == pytest.approx({1: 0.333333, 2: 0.666667, 3: 0.833333}, abs=1e-5)


@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_places_do_not_depend_on_the_chunk(chunk):
    assert first_right(Z, Y, 5, chunk=chunk).tolist() == first_right(Z, Y, 5).tolist()
    assert first_right(Z, torch.arange(6), 3, chunk=chunk).tolist() == [3] * 6


def test_more_neighbours_than_pictures():
    assert recall_at_k(Z, Y, (50,))[50] == 1
    with pytest.raises(FovealError, match="at least 2"):
        recall_at_k(Z[:1], Y[:1], (1,))


def test_junk_leaves_the_ranking():
    similarity = torch.tensor([[0.9, 0.8, 0.7, 0.6]])
    positive = torch.tensor([[False, True, False, True]])
    junk = torch.tensor([[True, False, False, False]])
    assert ranking_ap(similarity, positive, junk)[0] == pytest.approx((1 + (0.5 + 2 / 3) / 2) / 2)
    with pytest.raises(FovealError, match="no right picture"):
        ranking_ap(similarity, positive, positive)
