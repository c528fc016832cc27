import pytest
import torch
from pydantic import ValidationError

from foveal.backbones.registry import build_backbone
from foveal.core.batch import StreamBatch
from foveal.core.progress import Progress
from foveal.methods.base import DataInfo
from foveal.methods.pirl import PIRL, PIRLOptions
from foveal.views.presets import pirl_views
from foveal.views.spec import Tiles, View

SMALL = View(size=16)
TILES = View(size=24, tiles=Tiles(stride=8, size=6, jitter=2))


def method(**options):
    torch.manual_seed(0)
    return PIRL(
        lambda in_chans=None, **_: build_backbone("small", width=0.25),
        DataInfo(samples=10, batch=4),
        PIRLOptions(**{"view": SMALL, "other_view": TILES, "negatives": 8, **options}),
    )


def batch(n=4, tiles=True):
    draw = torch.Generator().manual_seed(0)
    other = (n, 9, 6, 6, 3) if tiles else (n, 16, 16, 3)
    views = {
        "view": torch.randint(0, 256, (n, 16, 16, 3), generator=draw, dtype=torch.uint8),
        "other": torch.randint(0, 256, other, generator=draw, dtype=torch.uint8),
    }
    return {"main": StreamBatch(views, {}, torch.arange(n), torch.arange(n), torch.full((n,), -1))}


def step(m, b, number=0):
    progress = Progress(number, steps=9, epoch=0, epochs=1, position=0, seen=0, refreshes=0, lr=0)
    losses = m.loss(m(b, progress), b, progress)
    m.after_step(losses.rows, losses.means, progress)
    return losses


def test_golden_sizes_of_the_heads():
    make = lambda in_chans=None, **_: build_backbone("resnet50")  # noqa: E731
    m = PIRL(make, DataInfo(samples=10), PIRLOptions(negatives=8))
    assert sum(p.numel() for p in m.picture_head.parameters()) == 262_272
    assert sum(p.numel() for p in m.other_head.layers.parameters()) == 147_584
    assert sum(p.numel() for p in m.other_head.embed.parameters()) == 262_272


def test_golden_geometry():
    _, tiles = pirl_views()
    assert (tiles.size, tiles.tiles.stride, tiles.tiles.size, tiles.tiles.jitter) == (
        255,
        85,
        64,
        20,
    )
    assert tiles.tiles.stride - tiles.tiles.size - tiles.tiles.jitter == 1
    assert tiles.tiles.stride - tiles.tiles.size + tiles.tiles.jitter == 41


@pytest.mark.parametrize("form", ["paper", "nce", "info_nce"])
def test_both_branches_are_compared_and_only_the_picture_is_remembered(form):
    m, b = method(form=form, momentum=0.0), batch()
    losses = step(m, b)
    expected = 0.5 * losses.log["other"] + 0.5 * losses.log["picture"]
    assert torch.allclose(losses.loss, expected)
    assert torch.allclose(m.bank.rows[:4], losses.rows["z"], atol=1e-6)
    constant = m.partition.value.clone()
    assert (constant > 0) == (form == "nce")
    step(m, b, number=1)
    assert torch.equal(m.partition.value, constant)


def test_the_balance_takes_one_branch_alone():
    b = batch()
    assert torch.equal(*(step(method(balance=0.0), b).log["picture"] for _ in range(2)))
    only = step(method(balance=1.0), b)
    assert torch.allclose(only.loss, only.log["other"])


def test_tiles_are_shuffled_anew_each_time():
    m = method()
    b = batch()
    progress = Progress(0, steps=9, epoch=0, epochs=1, position=0, seen=0, refreshes=0, lr=0)
    m.eval()
    first = m(b, progress)["other"]
    b["main"] = StreamBatch(
        b["main"].views, {}, torch.arange(4), torch.arange(4) + 100, torch.full((4,), -1)
    )
    assert not torch.allclose(first, m(b, progress)["other"])


def test_turned_instead_of_shuffled():
    losses = step(method(other_view=SMALL), batch(tiles=False))
    assert losses.loss.isfinite()


def test_the_picture_is_whole():
    with pytest.raises(ValidationError, match="tiles belong"):
        PIRLOptions(view=TILES)
