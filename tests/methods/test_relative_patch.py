"""Relative patch location against the papers' golden values."""

import math

import numpy as np
import pytest
import torch

from foveal.backbones.registry import build_backbone
from foveal.core.batch import StreamBatch
from foveal.methods.base import DataInfo
from foveal.methods.relative_patch import RelativePatch, RelativePatchOptions
from foveal.methods.tiles import neighbours
from foveal.views.make import make_view
from foveal.views.spec import Tiles, View
from foveal.views.table import COLUMNS

SMALL = View(size=18, flip=0.0, tiles=Tiles(stride=6, size=4, jitter=2))
HEAD = {"hidden": [16], "norm": "batch", "dropout": 0.0}


def _method(**options):
    torch.manual_seed(0)
    return RelativePatch(
        lambda in_chans=None, **changes: build_backbone("small", width=0.25, pool="avg"),
        DataInfo(samples=10, size=18),
        RelativePatchOptions(**{"view": SMALL, "head": HEAD, **options}),
    )


def _batch(n=4):
    pixels = np.random.default_rng(0).integers(0, 256, (n, 9, 4, 4, 3), dtype=np.uint8)
    index = torch.arange(n)
    views = {"view": torch.from_numpy(pixels)}
    return {"main": StreamBatch(views, {}, index, index, index * 0 - 1)}


def test_places():
    """Seen from the first, in reading order, the centre left out."""
    from_centre = {b: place for a, b, place in neighbours(3, 3) if a == 4}
    assert from_centre == {0: 0, 1: 1, 2: 2, 3: 3, 5: 4, 6: 5, 7: 6, 8: 7}
    # The other way round the place is the opposite one.
    table = {(a, b): place for a, b, place in neighbours(3, 4)}
    assert all(table[b, a] == 7 - place for (a, b), place in table.items())


@pytest.mark.parametrize(
    ("grid", "count"), [((2, 2), 12), ((3, 3), 40), ((3, 4), 58), ((4, 4), 84)]
)
def test_number_of_pairs(grid, count):
    assert len(neighbours(*grid)) == count


def test_projection_removes_green_and_magenta():
    a = np.array([-1.0, 2.0, -1.0])
    matrix = np.eye(3) - np.outer(a, a) / a.dot(a)
    assert matrix @ [200, 100, 50] == pytest.approx([191.6667, 116.6667, 41.6667], abs=1e-4)
    picture = np.tile(np.array([200, 100, 50], np.uint8), (20, 20, 1))
    view = View(size=18, flip=0.0, projection=1.0, tiles=SMALL.tiles)
    rows = np.zeros((10, len(COLUMNS)), np.float32)
    out = np.zeros((9, 4, 4, 3), np.uint8)
    make_view(view, picture, (1, 2), 0, rows, out)
    assert (out == [192, 117, 42]).all()


def test_dropped_channels_are_the_same_in_all_patches_of_a_picture():
    picture = np.random.default_rng(0).integers(0, 256, (400, 500, 3), dtype=np.uint8)
    view = RelativePatchOptions().view
    kept = set()
    for position in range(12):
        rows = np.zeros((10, len(COLUMNS)), np.float32)
        out = np.zeros((9, 96, 96, 3), np.uint8)
        make_view(view, picture, (1, 2), position, rows, out)
        spread = out.reshape(9, -1, 3).std(1)
        assert ((spread > 5) == (spread[0] > 5)).all() and ((spread > 5).sum(1) == 1).all()
        kept.add(int(spread[0].argmax()))
    assert kept == {0, 1, 2}


def test_defaults_are_the_papers():
    o = RelativePatchOptions()
    t = o.view.tiles
    assert (t.size, t.stride, t.jitter) == (96, 144, 14)
    gap = t.stride - t.size
    assert gap == 48 and (gap - t.jitter, gap + t.jitter) == (34, 62)
    assert t.once == ("channel_drop",) and o.view.shrink.p == 0.33
    assert o.pairs == "all" and o.standardise == "rms" and o.head.hidden == (4096, 4096)


@pytest.mark.parametrize(("pairs", "count"), [("all", 40), ("centre", 8)])
def test_logits_are_those_of_the_two_patches(pairs, count):
    method, batch = _method(pairs=pairs), _batch()
    method.eval()
    with torch.no_grad():
        logits = method(batch, None)["logits"]
        assert logits.shape == (4, count, 8)
        tiles = batch["main"].images("view")
        z = [method.trunk(method.inputs(tiles[:, i]))["pooled"] for i in range(9)]
        for q, (first, second) in enumerate(method.pairs.tolist()):
            alone = method.head.layers(torch.cat([z[first], z[second]], 1))
            assert torch.allclose(alone, logits[:, q], atol=1e-4)


def test_loss():
    method, batch = _method(pairs="centre"), _batch()
    assert method.places.tolist() == list(range(8))
    guess = method.loss({"logits": torch.zeros(4, 8, 8)}, batch, None)
    assert guess.loss.item() == pytest.approx(math.log(8)) == pytest.approx(2.079442, abs=1e-6)
    right = method.loss({"logits": 30 * torch.eye(8).expand(4, 8, 8)}, batch, None)
    assert right.loss < 1e-6 and right.log["place_accuracy"] == 1
    assert list(method.trivial_losses().values()) == [math.log(8)]


def test_both_encoders():
    x = torch.rand(2, 3, 18, 18)
    whole, tiles = _method().encoder().eval(), _method(encode={"grid": 3}).encoder().eval()
    assert whole.grid == 1 and tiles.grid == 3
    assert whole(x)["pooled"].shape == tiles(x)["pooled"].shape == (2, 64)


def test_other_grids():
    grid = Tiles(rows=2, columns=2, stride=8, size=4, jitter=2)
    method = _method(view=View(size=18, flip=0.0, tiles=grid))
    assert len(method.pairs) == 12 and set(method.places.tolist()) == set(range(8))
    with pytest.raises(ValueError, match="3 x 3"):
        RelativePatchOptions(view=View(size=18, tiles=grid), pairs="centre")
    with pytest.raises(ValueError, match=r"view\.tiles"):
        RelativePatchOptions(view=View(size=32))
