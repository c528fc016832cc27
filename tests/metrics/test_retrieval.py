import pytest
import torch

from foveal.errors import FovealError
from foveal.metrics.retrieval import first_right, ranking_ap, recall_at_k
from foveal.metrics.rmac import Whitening, region_vectors, rmac, rmac_regions

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


def test_golden_trapezoid_of_a_ranking():
    positive = torch.tensor([[True, False, False, True, False, True, True, False]])
    similarity = torch.arange(8, 0, -1.0)[None]
    assert float(ranking_ap(similarity, positive)[0]) == pytest.approx(0.600595, abs=1e-5)


def test_regions_of_maps():
    assert len(rmac_regions(14, 14)) == 14
    # 2 min(h, w) / (l + 1), from border to border.
    assert rmac_regions(6, 6) == [
        (0, 0, 6), (0, 0, 4), (0, 2, 4), (2, 0, 4), (2, 2, 4),
        *((top, left, 3) for top in (0, 2, 3) for left in (0, 2, 3)),
    ]  # fmt: skip
    # 1.6 times as wide: two squares a level overlap by two fifths.
    assert rmac_regions(10, 16, 1) == [(0, 0, 10), (0, 6, 10)]
    assert rmac_regions(16, 10, 1) == [(0, 0, 10), (6, 0, 10)]
    assert rmac_regions(1, 1) == [(0, 0, 1)] * 14
    with pytest.raises(FovealError, match="0 levels"):
        rmac_regions(4, 4, 0)


def test_rmac_adds_up_unit_maxima():
    maps = torch.tensor([[[3.0, 0], [0, 1]], [[4.0, 0], [0, 1]]])[None]
    regions = region_vectors(maps, 1)
    torch.testing.assert_close(regions, torch.tensor([[[0.6, 0.8]]]))
    both = region_vectors(maps, 2)
    corners = torch.tensor([[0.6, 0.8], [0, 0], [0, 0], [2**-0.5, 2**-0.5]])
    torch.testing.assert_close(both[0, 1:], corners)
    expected = torch.nn.functional.normalize(2 * torch.tensor([0.6, 0.8]) + 2**-0.5, dim=0)
    torch.testing.assert_close(rmac(both)[0], expected)


def test_whitening_learned_on_some_vectors_is_applied_to_others():
    draw = torch.Generator().manual_seed(0)
    turn = torch.randn(5, 5, generator=draw)
    x = torch.randn(400, 5, generator=draw) @ turn + 3
    whitening = Whitening.of(x)
    z = whitening(x).double()
    torch.testing.assert_close(z.mean(0), torch.zeros(5).double(), atol=1e-4, rtol=0)
    torch.testing.assert_close(z.T @ z / 400, torch.eye(5).double(), atol=1e-3, rtol=0)
    flat = torch.cat([x, torch.ones(400, 1)], 1)
    assert Whitening.of(flat)(flat).shape == (400, 5)
    assert Whitening.of(x, 2)(x[:7]).shape == (7, 2)
    regions = torch.nn.functional.normalize(torch.randn(3, 4, 5, generator=draw), dim=2)
    torch.testing.assert_close(rmac(regions, whitening).norm(dim=1), torch.ones(3))
    with pytest.raises(FovealError, match="the same"):
        Whitening.of(torch.ones(5, 2))


def test_junk_leaves_the_ranking():
    similarity = torch.tensor([[0.9, 0.8, 0.7, 0.6]])
    positive = torch.tensor([[False, True, False, True]])
    junk = torch.tensor([[True, False, False, False]])
    assert ranking_ap(similarity, positive, junk)[0] == pytest.approx((1 + (0.5 + 2 / 3) / 2) / 2)
    with pytest.raises(FovealError, match="no right picture"):
        ranking_ap(similarity, positive, positive)
