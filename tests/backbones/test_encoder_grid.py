"""Pictures cut into a grid of tiles, and tiles that are standardised by themselves."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from foveal.backbones import reading
from foveal.backbones.base import Backbone, End
from foveal.backbones.encoder import Encoder, cut
from foveal.backbones.inputs import Standardise
from foveal.backbones.registry import build_backbone
from foveal.core.batch import as_images


def test_standardise_golden():
    tile = torch.tensor([[0.0, 10.0], [20.0, 30.0]])[None, None]
    found = Standardise()(tile)[0, 0]
    expected = torch.tensor([[-1.34164, -0.44721], [0.44721, 1.34164]])
    assert torch.allclose(found, expected, atol=1e-5)
    twelve = torch.arange(12.0).reshape(1, 3, 2, 2)
    found = Standardise(mean="all", std="all", floor=None)(twelve).flatten()
    expected = torch.tensor([-1.593255, -1.303572, -1.013890, -0.724207])
    assert torch.allclose(found[:4], expected, atol=1e-6)


def test_standardise_floors():
    flat = torch.full((1, 3, 64, 64), 0.3)
    for layer in (Standardise(), Standardise("all", "all", None), Standardise("channel", "all")):
        assert layer(flat).abs().max() < 1e-3
    # 1 / sqrt(n) of 64 x 64 x 3 values is 0.009021.
    faint = 0.5 + 0.001 * torch.sign(torch.randn(1, 3, 64, 64))
    found = Standardise("all", "all", None)(faint)
    assert found.std().item() == pytest.approx(0.001 / 0.009021, rel=1e-2)


def test_root_mean_square_counts_all_channels():
    x = torch.rand(4, 3, 8, 8)
    found = Standardise("channel", "all", gain=50.0)(x)
    assert torch.allclose(found.mean((2, 3)), torch.zeros(4, 3), atol=1e-4)
    assert torch.allclose(found.square().mean((1, 2, 3)).sqrt(), torch.full((4,), 50.0), rtol=1e-4)


@settings(max_examples=20, deadline=None)
@given(grid=st.integers(1, 4), h=st.integers(4, 17), w=st.integers(4, 17))
def test_cut(grid, h, w):
    x = torch.arange(2 * 3 * h * w).reshape(2, 3, h, w)
    tiles = cut(x, grid).reshape(2, grid, grid, 3, h // grid, w // grid)
    top, left = (h % grid) // 2, (w % grid) // 2
    th, tw = h // grid, w // grid
    for i, j in np.ndindex(grid, grid):
        expected = x[:, :, top + i * th : top + (i + 1) * th, left + j * tw : left + (j + 1) * tw]
        assert torch.equal(tiles[:, i, j], expected)


@settings(max_examples=20, deadline=None)
@given(
    grid=st.integers(1, 5), tile=st.integers(4, 12), step=st.integers(1, 12), rest=st.integers(0, 3)
)
def test_cut_with_overlap(grid, tile, step, rest):
    """Given a side on which they fit exactly, tiles and steps are those that were meant."""
    step = min(step, tile)
    side = tile + (grid - 1) * step
    x = torch.arange(2 * 3 * side * side).reshape(2, 3, side, side)
    tiles = cut(x, grid, 1 - step / tile).reshape(2, grid, grid, 3, tile, tile)
    for i, j in np.ndindex(grid, grid):
        y, z = i * step, j * step
        assert torch.equal(tiles[:, i, j], x[:, :, y : y + tile, z : z + tile])
    # On any other side they stay inside.
    assert len(cut(torch.zeros(1, 1, side + rest, side + 2 * rest), grid, 0.5)) == grid**2


def test_encoder_averages_over_tiles_and_lays_maps_side_by_side():
    trunk = build_backbone("small", width=0.25).eval()
    encoder = Encoder([trunk], [[Standardise()]], channels=3, size=48, grid=3).eval()
    x = torch.rand(2, 3, 48, 48)
    with torch.no_grad():
        found = encoder(x, ["stem", "stage3"])
        assert found["stem"].shape == (2, 8, 24, 24)
        tiles = [
            trunk(Standardise()(x[:, :, 16 * i : 16 * i + 16, 16 * j : 16 * j + 16]), ["stem"])
            for i in range(3)
            for j in range(3)
        ]
    pooled = torch.stack([t["pooled"] for t in tiles]).mean(0)
    assert torch.allclose(found["pooled"], pooled, atol=1e-5)
    assert torch.allclose(found["stem"][:, :, 8:16, 16:24], tiles[5]["stem"], atol=1e-5)
    best = Encoder([trunk], [[Standardise()]], channels=3, size=48, grid=3, join="max").eval()
    with torch.no_grad():
        highest = torch.stack([t["pooled"] for t in tiles]).amax(0)
        assert torch.allclose(best(x)["pooled"], highest, atol=1e-5)
    best.overlap = 0.5
    again = Encoder.from_description(best.describe())
    assert (again.grid, again.overlap, again.join) == (3, 0.5, "max")
    older = {k: v for k, v in encoder.describe().items() if k not in ("grid", "overlap", "join")}
    assert Encoder.from_description(older).grid == 1


def test_maps_of_a_transformer_lie_side_by_side_too():
    trunk = build_backbone("vit_tiny", patch_size=4, img_size=8, depth=1).eval()
    encoder = Encoder([trunk], [[]], channels=3, size=16, grid=2).eval()
    with torch.no_grad():
        found = encoder(torch.rand(2, 3, 16, 16), ["block0"])
    assert found["block0"].shape == (2, trunk.dim, 4, 4) and found["pooled"].shape[0] == 2


class _Means(nn.Module):
    """The means of cells of 4 x 4 pixels, and nothing that a neighbour's pixels would change."""

    def forward(self, x, ends):
        return {"cells": nn.functional.avg_pool2d(x, 4), "pooled": x.mean((2, 3))}


@pytest.mark.parametrize(
    ("grid", "overlap", "side"),
    [(3, 0.0, 48), (3, 0.5, 32), (7, 0.5, 64), (3, 0.25, 40), (2, 0.75, 20)],
)
def test_maps_show_every_place_once(grid, overlap, side):
    """Tiles overlap, yet a cell of the map is the place in the picture that it is in the whole."""
    spec = {"name": "means"}
    trunk = Backbone(_Means(), ends=[End("cells", 3, 4)], dim=3, in_chans=3, spec=spec)
    encoder = Encoder([trunk], [[]], channels=3, size=side, grid=grid, overlap=overlap)
    x = torch.rand(2, 3, side, side + 1)
    found = encoder(x, ["cells"])["cells"]
    assert torch.allclose(found, nn.functional.avg_pool2d(x, 4), atol=1e-6)


@pytest.mark.parametrize(("grid", "overlap"), [(1, 0.0), (3, 0.0), (7, 0.5), (4, 0.5)])
def test_pixels_read_are_those_of_the_tiles(grid, overlap):
    trunk = build_backbone("small", in_chans=3)
    encoder = Encoder([trunk], [[]], channels=3, size=96, grid=grid, overlap=overlap)
    tiles = cut(torch.rand(1, 3, 96, 96), grid, overlap)
    assert encoder.pixels_read(96) == pytest.approx(tiles[:, 0].numel(), rel=0.03)


@pytest.mark.parametrize("grid", [1, 3])
def test_a_batch_is_read_in_pieces(monkeypatch, grid):
    """Of any number of pictures, the last piece smaller; the values are those of one forward."""
    trunk = build_backbone("small", in_chans=3, width=0.25)
    encoder = Encoder([trunk], [[]], channels=3, size=24, grid=grid).eval()
    monkeypatch.setattr(reading, "PIECE", 3 * 24 * 24)
    assert reading.piece_of(encoder, 24) == 3 and reading.piece_of(encoder, 999) == 1
    pixels = torch.randint(0, 256, (7, 24, 24, 3), dtype=torch.uint8)
    seen = []
    trunk.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    with torch.no_grad():
        found = reading.in_pieces(encoder, pixels)
        pieces, whole = list(seen), encoder(as_images(pixels))["pooled"]
    assert pieces == [n * grid**2 for n in (3, 3, 1)]
    torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-5)
    assert reading.in_pieces(encoder, pixels, lambda x: x.mean((2, 3))).shape == (7, 3)
