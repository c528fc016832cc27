"""Combinations: the paper's golden values, turns, sharing, and that parts are whole methods."""

import math

import pytest
import torch
from torch import nn

from foveal.backbones.encoder import Encoder
from foveal.backbones.mix import UnitMix
from foveal.backbones.registry import build_backbone
from foveal.core.batch import StreamBatch
from foveal.core.colour import rgb_to_lab
from foveal.core.progress import Progress
from foveal.core.rows import whole
from foveal.engine.build import RecipeMaker, build_method
from foveal.engine.monitors import Watch
from foveal.engine.optim import build_optimisers
from foveal.errors import FovealError
from foveal.methods import get_method
from foveal.methods.base import DataInfo
from foveal.methods.shared import LightnessBatch
from foveal.recipe import Network, Recipe, validated
from foveal.recipes import describe, get_recipe
from foveal.views.spec import View

VIEW = View(size=16).model_dump(mode="json")
ROTATION = {"view": VIEW}
BYOL = {"view_a": VIEW, "view_b": VIEW, "hidden": 16, "outputs": 8}
CLUSTERS = {"view": VIEW, "cluster_view": VIEW, "clusters": 4, "sobel": False}


def _info(**changes):
    return DataInfo(**{"samples": 40, "batch": 8, "size": 16, "fraction": 1.0, **changes})


def _method(name, options, network=None, **info):
    network = network or Network(name="small", width=0.25)
    recipe = Recipe(method=name, options=options, network=network, epochs=3, batch=8)
    return build_method(recipe, _info(**info))


def _batch(method, step, n=8):
    found = {}
    for name, s in method.streams().items():
        if step % s.every[0] == s.every[1]:
            torch.manual_seed(step)
            pixels = torch.randint(0, 256, (n, 16, 16, 3), dtype=torch.uint8)
            rows = torch.arange(n)
            found[name] = StreamBatch(
                dict.fromkeys(s.views, pixels), {}, rows, rows, rows * 0 - 1, stream=name, step=step
            )
    return found


def _progress(step, steps=12):
    return Progress(step, steps, step * 8 // 40, 2.4, step * 8, step * 8, 0, 0.1)


def test_mix_golden_values():
    """alpha (3, -4, 0) -> (.6, -.8, 0); units (1, 2), (0, 1), (5, 5) mix to (.6, .4)."""

    class Units(nn.Module):
        def forward(self, x, ends):
            values = {"u1": (1.0, 2.0), "u2": (0.0, 1.0), "u3": (5.0, 5.0)}
            return {n: torch.tensor(values[n]).reshape(1, 2, 1, 1) for n in ends}

        def pool(self, x):
            return x.flatten(1)

    mix = UnitMix(Units(), ["u1", "u2", "u3"], "last", 2)
    mix.norms = nn.ModuleList(nn.Identity() for _ in range(3))
    mix.alpha.data = torch.tensor([3.0, -4.0, 0.0])
    torch.testing.assert_close(mix.row().detach(), torch.tensor([0.6, -0.8, 0.0]))
    assert mix.row().abs().sum().item() == pytest.approx(1.4)
    out = mix(torch.zeros(1, 3, 4, 4), ("last", "u2"))
    torch.testing.assert_close(out["pooled"].detach(), torch.tensor([[0.6, 0.4]]))
    assert out["last"].shape == (1, 2, 1, 1) and out["u2"].flatten().tolist() == [0.0, 1.0]
    uniform = UnitMix(Units(), [f"u{i}" for i in range(23)], "last", 2)
    assert uniform.row().abs().sum().item() == pytest.approx(4.795832)


def test_chance_losses():
    method = _method("rotation+deepcluster", {"rotation": ROTATION, "deepcluster": CLUSTERS})
    levels = method.trivial_losses()
    assert sorted(levels.values()) == pytest.approx([math.log(4), math.log(4)])
    assert {key.rpartition("(")[2] for key in levels} == {"rotation)", "deepcluster)"}


def test_parts_take_turns_on_one_trunk():
    method = _method("rotation+byol", {"rotation": ROTATION, "byol": BYOL})
    assert {n: s.every for n, s in method.streams().items()} == {
        "rotation/main": (2, 0),
        "byol/main": (2, 1),
    }
    assert [s.counts_epoch for s in method.streams().values()] == [True, False]
    trunk = {id(p) for p in method.trunk.parameters()}
    optimisers = build_optimisers(method, Recipe(method="rotation", epochs=1))
    for step, (due, other) in enumerate([("rotation", "byol"), ("byol", "rotation")]):
        progress = _progress(step)
        batch = _batch(method, step)
        assert set(batch) == {f"{due}/main"}
        losses = method.loss(method(batch, progress), batch, progress)
        assert losses.log[f"{due}_loss"] == losses.loss and f"{other}_loss" not in losses.log
        method.zero_grad()
        losses.loss.backward()
        head = [p for p in method.methods[other].parameters() if id(p) not in trunk]
        assert all(p.grad is None for p in head)
        assert all(p.grad is not None for p in method.trunk.parameters())
        own = {id(p) for g in optimisers[f"{due}/main"].param_groups for p in g["params"]}
        assert trunk < own and not own & {id(p) for p in head}
    # Moments of the tasks are apart, on the same parameters.
    optimisers["rotation/main"].step()
    assert optimisers["rotation/main"].state and not optimisers["byol/main"].state


def test_a_part_learns_as_it_does_alone():
    """The combination's first turn is the method's own first step, to the bit."""
    alone = _method("rotation", ROTATION)
    both = _method("rotation+byol", {"rotation": ROTATION, "byol": BYOL})
    both.methods["rotation"].load_state_dict(alone.state_dict())
    batch = _batch(both, 0)
    losses = []
    for method, b in ((alone, {"main": batch["rotation/main"]}), (both, batch)):
        found = method.loss(method(b, _progress(0)), b, _progress(0))
        found.loss.backward()
        losses.append(found.loss)
    assert torch.equal(*losses)
    for p, q in zip(alone.parameters(), both.methods["rotation"].parameters(), strict=True):
        assert torch.equal(p.grad, q.grad)


def test_a_parts_schedule_counts_its_own_turns():
    options = {"rotation": ROTATION, "byol": BYOL, "sizes": {"byol": 0.5}}
    method = _method("rotation+byol", options)
    byol = method.turns[1]
    assert method.streams()["byol/main"].size == 0.5
    # Of 12 steps it has 1, 3, 5, ...: before step 7 it had three turns of four pictures.
    own = byol.progress(_progress(7), 0)
    assert (own.step, own.steps, own.seen, own.epoch) == (3, 6, 12, 0)
    assert own.epochs == pytest.approx(6 * 4 / 40)
    assert [byol.progress(_progress(s), 0).step for s in range(5)] == [0, 0, 1, 1, 2]
    assert [method.turns[0].progress(_progress(s), 0).step for s in range(5)] == [0, 1, 1, 2, 2]


def test_a_part_may_learn_more_slowly():
    options = {"rotation": ROTATION, "byol": {**BYOL, "predictor_lr": 10}, "rates": {"byol": 0.1}}
    groups = _method("rotation+byol", options).parameter_groups()
    assert [g.lr for g in groups["byol/main"]] == pytest.approx([0.1, 1.0])
    assert [g.lr for g in groups["rotation/main"]] == [1.0]


def test_groups_and_refreshes_are_a_parts_own():
    method = _method("rotation+deepcluster", {"rotation": ROTATION, "deepcluster": CLUSTERS})

    def run(fn, view, **how):
        generator = torch.Generator().manual_seed(1)
        return whole(torch.randn(40, method.trunk.dim, generator=generator).numpy())

    assert method.sample_groups() is None and method.refresh_due(_progress(0))
    done = method.refresh(run, _progress(0))
    assert method.refreshed.tolist() == [0, 1] and "deepcluster_used" in done.log
    assert set(method.sample_groups()) == {"deepcluster/main"}
    # Pictures of its own turns count: 5 of 8 are an epoch, so it is due before its sixth.
    due = [s for s in range(30) if method.refresh_due(_progress(s, 30))]
    assert due[0] == 10


def test_batch_norm_averages_of_the_trunk_are_one_parts():
    options = {"rotation": ROTATION, "byol": BYOL}
    for statistics, moved in (("encode", 1), ("mixed", 2)):
        method = _method("rotation+byol", {**options, "statistics": statistics})
        for step in range(2):
            method(_batch(method, step), _progress(step))
        counts = {int(v) for k, v in method.trunk.named_buffers() if "num_batches" in k}
        # BYOL passes two views.
        assert counts == {1 if moved == 1 else 3}
    method = _method("rotation+byol", {**options, "encode": "byol"})
    for step in range(2):
        method(_batch(method, step), _progress(step))
    assert {int(v) for k, v in method.trunk.named_buffers() if "num_batches" in k} == {2}


def test_lasso_gives_every_part_a_mix_of_its_own():
    network = Network(name="small", width=0.25, extra={"blocks": [1, 1, 3]})
    options = {"rotation": ROTATION, "byol": BYOL, "lasso": 0.1}
    method = _method("rotation+byol", options, network)
    batch, progress = _batch(method, 0), _progress(0)
    losses = method.loss(method(batch, progress), batch, progress)
    task = losses.log["rotation_loss"]
    torch.testing.assert_close(losses.loss.detach(), task + 0.1 * math.sqrt(3))
    assert losses.log["rotation_units"] == 3
    losses.loss.backward()
    rows = {k: p for k, p in method.named_parameters() if k.endswith("alpha") and p.requires_grad}
    assert len(rows) == 2
    assert [p.grad is None for p in rows.values()] == [False, True]
    # What is handed over is a network of its own: the mix is part of it.
    encoder = method.encoder().eval()
    again = Encoder.from_description(encoder.describe()).eval()
    again.load_state_dict(encoder.state_dict())
    x = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(again(x)["pooled"], encoder(x)["pooled"])
    with pytest.raises(FovealError, match=r"small has 1 residual units.*\n.*blocks"):
        _method("rotation+byol", options)


def test_the_papers_trunk_mixes_23_units():
    with torch.device("meta"):
        backbone = build_backbone("resnetv2_101_block3", mix=True)
    assert len(backbone.body.units) == 23
    assert backbone.body.units[-1] == "stage3_unit23"


def test_harmonised_parts_see_lightness():
    pixels = torch.randint(0, 256, (2, 5, 5, 3), dtype=torch.uint8)
    rows = torch.arange(2)
    batch = StreamBatch({"v": pixels}, {}, rows, rows, rows)
    seen = LightnessBatch.of(batch).images("v")
    wanted = rgb_to_lab(batch.images("v"))[:, :1] / 100
    torch.testing.assert_close(seen, wanted.expand(-1, 3, -1, -1))
    options = {"rotation": ROTATION, "byol": BYOL, "harmonise": ["rotation"]}
    method = _method("rotation+byol", options).eval()
    with torch.no_grad():
        inside = method.methods["rotation"].encoder()(wanted.expand(-1, 3, -1, -1))["pooled"]
        torch.testing.assert_close(method.encoder()(batch.images("v"))["pooled"], inside)
    with pytest.raises(FovealError, match="harmonised part learns from the colours"):
        _method("rotation+byol", options, channels=1, mean=(0.5,), std=(0.2,))


def test_one_channel_is_repeated_over_those_of_the_trunk():
    colour = {"view": VIEW, "stride": 4}
    options = {"colorization": colour, "rotation": ROTATION}
    method = _method("colorization+rotation", options).eval()
    x = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        inside = method.methods["colorization"].encoder()(x)["pooled"]
        outside = method.encoder()
        torch.testing.assert_close(outside(x)["pooled"], inside)
    assert outside.describe()["trunks"][0]["in_chans"] == 3
    assert (
        dict(outside.trunks[0].named_parameters()).keys()
        == dict(method.trunk.named_parameters()).keys()
    )


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("rotation+rotation", {}, "different single methods"),
        ("rotation+multitask", {}, "different single methods"),
        ("rotation+simclrr", {}, "no method 'simclrr'\n.*did you mean simclr"),
        ("rotation+byol", {"encode": "jigsaw"}, "'jigsaw' is no part here\n.*rotation, byol"),
        ("rotation+byol", {"rotatoin": {}}, "did you mean rotation"),
        ("rotation+deepcluster", {"deepcluster": {"clusters": 4}}, "in_chans=2.*\n.*sobel=false"),
        ("rotation+split_brain", {}, "split_brain wants trunks of its own"),
        ("rotation+exemplar", {"exemplar": {"classes": 4}}, "exemplar cut samples of their own"),
    ],
)
def test_what_cannot_be_combined_is_refused(name, options, message, tmp_path):
    with pytest.raises(FovealError, match=f"(?s){message}"):
        method = _method(name, options)
        method.samples(_pictures(tmp_path))


def _pictures(folder):
    import numpy as np
    from PIL import Image

    from foveal.data.sources import open_source

    for i in range(6):
        pixels = np.random.default_rng(i).integers(0, 255, (64, 64, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return open_source(folder)


def test_recipes_of_combinations():
    recipe = get_recipe("rotation+jigsaw+colorization/small")
    parts = [get_recipe(f"{p}/small") for p in ("rotation", "jigsaw", "colorization")]
    assert recipe.options["jigsaw"] == parts[1].options
    assert recipe.batch == parts[0].batch
    batches = [round(recipe.batch * recipe.options["sizes"].get(p.method, 1)) for p in parts]
    assert batches == [p.batch for p in parts]
    # As many updates as the parts have together.
    assert recipe.epochs / recipe.batch == pytest.approx(sum(p.epochs / p.batch for p in parts))
    assert "--recipe rotation+jigsaw/doom" in describe("rotation+jigsaw/doom").command
    with pytest.raises(FovealError, match="no recipe 'jigsaw/dom'"):
        get_recipe("jigsaw+rotation/dom")
    paper = get_recipe("multitask/imagenet")
    assert paper.network.name == "resnetv2_101_block3"
    validated(get_method(paper.method).Options, paper.options, "paper")


def test_losses_of_parts_are_watched_apart():
    watch = Watch({})
    found = []
    for step in range(400):
        found += watch.loss((0.2, 1.386)[step % 2], {"guessing": 1.386}, 2.0, step % 2)
    assert len(found) == 1 and "guessing" in found[0]


def test_trunks_are_loaded_once():
    loaded = []
    maker = RecipeMaker(Network(name="small", width=0.25), 3, loaded.append)
    get_method("rotation+byol")(maker, _info(), _options())
    assert len(loaded) == 1


def _options():
    return validated(
        get_method("rotation+byol").Options, {"rotation": ROTATION, "byol": BYOL}, "test"
    )
