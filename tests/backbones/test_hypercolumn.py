"""Reading maps at points of the picture."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from foveal.backbones.hypercolumn import grid_points, hypercolumns, sample_grid, sample_map

MAP = torch.arange(16.0).view(1, 1, 4, 4)


def test_golden():
    points = torch.tensor([[[10.0, 6.0], [100.0, 100.0], [0.0, 0.0], [4.0, 8.0]]])
    assert sample_map(MAP, points, 4)[0, :, 0].tolist() == pytest.approx([11.5, 15, 0, 6])


def test_a_single_cell_is_read_everywhere():
    points = torch.tensor([[[0.0, 0.0], [30.0, 7.0]]])
    assert sample_map(torch.full((1, 2, 1, 1), 3.0), points, 16).tolist() == [[[3, 3], [3, 3]]]
    line = torch.tensor([[[[1.0, 3.0]]]])
    assert sample_map(line, points, 14)[0, :, 0].tolist() == pytest.approx([1, 2])


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 4), st.integers(0, 99))
def test_it_is_bilinear_interpolation(h, w, stride, seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(2, 3, h, w, generator=generator)
    points = torch.rand(2, 5, 2, generator=generator) * 30
    found = sample_map(values, points, stride)
    for b in range(2):
        for p in range(5):
            y = min(points[b, p, 0].item() / stride, h - 1)
            x = min(points[b, p, 1].item() / stride, w - 1)
            i, j = min(int(y), max(h - 2, 0)), min(int(x), max(w - 2, 0))
            k, m = min(i + 1, h - 1), min(j + 1, w - 1)
            v, u = y - i, x - j
            expected = (1 - v) * ((1 - u) * values[b, :, i, j] + u * values[b, :, i, m]) + v * (
                (1 - u) * values[b, :, k, j] + u * values[b, :, k, m]
            )
            torch.testing.assert_close(found[b, p], expected, atol=1e-4, rtol=1e-4)


def test_maps_stand_side_by_side():
    points = torch.tensor([[[10.0, 6.0]]])
    found = hypercolumns([MAP, -MAP, F.pad(MAP, (0, 4, 0, 4))], [4, 4, 4], points)
    assert found.flatten().tolist() == pytest.approx([11.5, -11.5, 11.5])


def test_grid_points_are_every_step_th_pixel():
    """180 px at every 8th: 23 x 23, the places of a 12 x 12 map enlarged twice."""
    points = grid_points((180, 180), 8, torch.device("cpu"))
    assert len(points) == 23 * 23 and points[24].tolist() == [8, 8]
    values = torch.randn(1, 2, 12, 12, generator=torch.Generator().manual_seed(0))
    enlarged = F.interpolate(values, size=(23, 23), mode="bilinear", align_corners=True)
    found = sample_grid(values, 16, (180, 180), 8)
    torch.testing.assert_close(found, enlarged.flatten(2).transpose(1, 2), atol=1e-5, rtol=0)
