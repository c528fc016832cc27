"""Jigsaw against the paper's golden values."""

import math

import numpy as np
import pytest
import torch

from foveal.backbones.registry import build_backbone
from foveal.core.batch import StreamBatch
from foveal.methods.base import DataInfo
from foveal.methods.jigsaw import Jigsaw, JigsawOptions
from foveal.methods.tiles import TileHead
from foveal.recipes import get_recipe
from foveal.views.spec import Tiles, View

SMALL = View(size=16, flip=0.0, tiles=Tiles(rows=2, columns=2, stride=8, size=6, jitter=2))
HEAD = {"hidden": [16], "norm": "batch", "dropout": 0.0}


def _make(in_chans=None, **changes):
    return build_backbone("small", width=0.25, in_chans=3, pool="avg", **changes)


def _method(**options):
    torch.manual_seed(0)
    options = {"view": SMALL, "permutations": 20, "head": HEAD, **options}
    return Jigsaw(_make, DataInfo(samples=10, size=16), JigsawOptions(**options))


def _batch(n=6, tiles=4, side=6):
    pixels = np.random.default_rng(0).integers(0, 256, (n, tiles, side, side, 3), dtype=np.uint8)
    index = torch.arange(n)
    views = {"view": torch.from_numpy(pixels)}
    return {"main": StreamBatch(views, {}, index, index, index * 0 - 1)}


def _count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


@pytest.mark.parametrize(
    ("tile", "fc6", "permutations", "parameters"),
    [(75, 512, 1000, 27_407_208), (64, 1024, 1000, 46_544_232), (64, 1024, 100, 42_856_932)],
)
def test_parameters_of_the_whole_network(tile, fc6, permutations, parameters):
    with torch.device("meta"):
        trunk = build_backbone("cfn", tile=tile, fc6=fc6)
        head = TileHead(trunk.dim, 9, permutations, JigsawOptions().head)
    assert _count(trunk, head) == parameters
    convs = [p.numel() for p in trunk.parameters() if p.ndim == 4]
    biases = [96, 256, 384, 384, 256]
    found = [w + b for w, b in zip(convs[:5], biases, strict=True)]
    assert found == [34_944, 307_456, 885_120, 663_936, 442_624]


def test_defaults_are_the_papers():
    o = JigsawOptions()
    t = o.view.tiles
    assert (o.view.size, t.stride, t.size, t.jitter, t.side) == (255, 85, 64, 21, (255, 255))
    assert o.view.flip == 0 and o.view.grey == 0.3 and o.view.grey_kind == "mean"
    assert t.once == ("grey",) and o.view.channel_shift.pixels == (-2, 2)
    assert (o.permutations, o.rule, o.shown, o.standardise) == (1000, "mean", 1, "channel")
    assert (o.head.hidden, o.head.dropout) == ((4096,), 0.5)
    recipe = get_recipe("jigsaw/imagenet")
    assert recipe.epochs * 1_281_167 / 256 == pytest.approx(350_000, rel=1e-3)
    assert recipe.epochs * o.shown == pytest.approx(69.9, abs=0.05)  # puzzles of a picture
    assert [m * 1_281_167 / 256 for m in recipe.schedule.milestones] == pytest.approx(
        [100_000, 200_000, 300_000], rel=1e-3
    )
    assert (recipe.batch, recipe.optimiser.lr, recipe.optimiser.weight_decay) == (256, 0.01, 5e-4)


def test_guessing():
    method = _method()
    loss = method.loss({"logits": torch.zeros(6, 1, 20)}, _batch(), None).loss
    assert loss.item() == pytest.approx(math.log(20))
    assert list(method.trivial_losses().values()) == [pytest.approx(math.log(20))]
    nine = View(size=24, flip=0.0, tiles=Tiles(stride=8, size=6, jitter=2))
    for permutations, chance in ((100, 4.60517), (1000, 6.90776)):
        levels = _method(view=nine, permutations=permutations).trivial_losses()
        assert list(levels.values()) == [pytest.approx(chance, abs=1e-5)]


def test_loss_is_that_of_the_permutation_shown():
    method, batch = _method(shown=3), _batch()
    drawn = method.drawn(batch)
    assert drawn.shape == (6, 3)
    logits = torch.nn.functional.one_hot(drawn, 20).float() * 30
    losses = method.loss({"logits": logits}, batch, None)
    assert losses.loss < 1e-6 and losses.log["puzzle_accuracy"] == 1


def test_place_i_shows_tile_perm_i():
    """Shuffled features give what the network gives on shuffled tiles."""
    method, batch = _method(shown=2), _batch()
    method.eval()
    drawn = method.drawn(batch)
    with torch.no_grad():
        logits = method(batch, None)["logits"]
        for q in range(2):
            order = method.permutations[drawn[:, q]]
            pixels = batch["main"].images("view")
            tiles = torch.stack([pixels[b, order[b]] for b in range(6)])
            z = [method.trunk(method.inputs(tiles[:, i]))["pooled"] for i in range(4)]
            assert torch.allclose(method.head.layers(torch.cat(z, 1)), logits[:, q], atol=1e-4)


def test_shared_puzzles_are_different_ones_and_the_same_for_all():
    drawn = _method(shown=8, shared=True).drawn(_batch())
    assert (drawn == drawn[:1]).all() and len(set(drawn[0].tolist())) == 8


def test_puzzles_are_drawn_anew_each_time_a_picture_is_seen():
    method, first = _method(permutations=24), _batch(64)
    again = {"main": StreamBatch(first["main"].views, {}, first["main"].index,
             first["main"].position + 64, first["main"].label)}  # fmt: skip
    a, b = method.drawn(first), method.drawn(again)
    assert (a != b).float().mean() > 0.8
    assert len(a.unique()) > 16


def test_set_is_kept_with_the_weights_and_reported():
    method = _method(permutations=6, view=SMALL)
    assert method.state_dict()["permutations"].shape == (6, 4)
    assert method.facts() == {
        "permutations": 6.0, "distance_mean": pytest.approx(method.set.mean),
        "distance_min": float(method.set.minimum),
    }  # fmt: skip


def test_biases_learn_twice_as_fast_and_do_not_decay():
    method = _method()
    groups = method.parameter_groups()["main"]
    vectors = [g for g in groups if g.lr == 2.0]
    assert all(g.decay == 0 and all(p.ndim == 1 for p in g.parameters) for g in vectors)
    assert sum(len(g.parameters) for g in groups) == len(list(method.parameters()))
    assert {g.lr for g in _method(caffe_biases=False).parameter_groups()["main"]} == {1.0}


@pytest.mark.parametrize(
    ("embedding", "norm", "width"), [(None, False, 64), (10, False, 10), (10, True, 10)]
)
def test_heads_of_the_later_papers(embedding, norm, width):
    head = {"embedding": embedding, "embedding_norm": norm, "hidden": [], "dropout": 0.0}
    method = _method(head=head)
    assert method.head.layers[-1].in_features == 4 * width
    assert method(_batch(), None)["logits"].shape == (6, 1, 20)


def test_encoders():
    whole, tiles = _method().encoder(), _method(encode={"grid": 2, "join": "max"}).encoder()
    assert whole.grid == 1 and (tiles.grid, tiles.join) == (2, "max")
    x = torch.rand(3, 3, 16, 16)
    assert whole.eval()(x)["pooled"].shape == tiles.eval()(x)["pooled"].shape == (3, 64)
    dense = _method(encode={"grid": 3, "overlap": 0.5, "join": "max"}).encoder().eval()
    cut = [x[:, :, i : i + 8, j : j + 8] for i in (0, 4, 8) for j in (0, 4, 8)]
    with torch.no_grad():
        alone = [dense.trunks[0](dense.inputs[0](tile))["pooled"] for tile in cut]
        largest = torch.stack(alone).amax(0)
        torch.testing.assert_close(dense(x)["pooled"], largest, rtol=1e-4, atol=1e-5)


def test_a_puzzle_needs_tiles():
    with pytest.raises(ValueError, match=r"view\.tiles"):
        JigsawOptions(view=View(size=32))
