"""Continuing from good weights: heads first, low rates, and never to something worse."""

import json
import math
import os
import signal

import pytest
import torch
from cases import tiny_recipe, write_pictures
from PIL import Image
from torch import nn

import foveal
from foveal.engine.adapt import Guard, adapted_groups
from foveal.engine.checkpoint import save_checkpoint
from foveal.engine.runfolder import RunFolder
from foveal.engine.screen import ProgressScreen
from foveal.errors import FovealError
from foveal.methods.base import DataInfo, Group, Losses, Method, Stream
from foveal.recipe import Adapt, Recipe, override
from foveal.views.spec import View


class Forgets(Method):
    """Learns to be silent: features become zeros, whatever the picture."""

    def __init__(self, make, data, options):
        super().__init__(make, data, options)
        self.trunk, self.normalise = make(), data.normalise()
        self.head = nn.Linear(self.trunk.dim, 1)

    def streams(self):
        return {"main": Stream({"v": View(size=16)})}

    def forward(self, batch, progress):
        pooled = self.trunk(self.normalise(batch["main"].images("v")))["pooled"]
        return {"pooled": pooled, "y": self.head(pooled)}

    def loss(self, out, batch, progress):
        return Losses(out["pooled"].sum(dim=1).mean() + out["y"].sigmoid().mean())

    def encoder(self):
        return self.data.encoder(self.trunk, self.normalise)


FORGETS = f"{__name__}:{Forgets.__name__}"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"), n=96)


@pytest.fixture(scope="module")
def first(pictures, tmp_path_factory):
    """A finished run whose weights are continued."""
    out = tmp_path_factory.mktemp("first") / "run"
    foveal.pretrain(pictures, out, recipe=recipe("rotation", epochs=0.25), quiet=True)
    return out


def recipe(name, **changes):
    machine = {"cores": 1, "log_every": 1, "monitor_every": 0.25}
    return tiny_recipe(name, machine=machine, **changes)


def forgetting(first, **changes):
    """12 steps an epoch, a look every 3."""
    adapt = {"heads": 0.5, "lr": 1.0, "decay": 1.0, "patience": 2}
    rate = {"name": "sgd", "lr": 0.5, "scaling": "none"}
    return recipe(FORGETS, epochs=3, init=str(first), adapt=adapt, optimiser=rate, **changes)


def state(run):
    return foveal.load(run).state_dict()


@pytest.fixture(scope="module")
def forgotten(pictures, first, tmp_path_factory):
    out = tmp_path_factory.mktemp("forgotten") / "run"
    return foveal.pretrain(pictures, out, recipe=forgetting(first), quiet=True)


def trunk_of(path):
    """The trunk's weights in a checkpoint, by an encoder's names."""
    method = torch.load(path, weights_only=True)["method"]
    return {f"trunks.0.{n[6:]}": v for n, v in method.items() if n.startswith("trunk.")}


def test_what_became_worse_than_the_start_is_put_back(forgotten):
    outcome, folder = forgotten.outcome, forgotten.folder
    assert outcome.finished and outcome.steps < 36
    assert outcome.kept.startswith("kNN fell from") and outcome.kept.endswith(" are kept")
    log = [r["knn"] for r in folder.metrics() if r["kind"] == "online"]
    assert log[-1] < log[0] <= max(log[1:])
    kept, mine = trunk_of(folder.best), state(folder.path)
    assert kept.keys() == mine.keys()
    assert all(torch.equal(value, mine[name]) for name, value in kept.items())
    assert json.loads(folder.finished_file.read_text())["kept"] == outcome.kept
    assert outcome.kept in folder.report_file.read_text(encoding="utf-8")


def test_quality_and_drift_are_watched_from_the_start(forgotten):
    log = forgotten.folder.metrics()
    knn = [(r["step"], r["knn"]) for r in log if r["kind"] == "online"]
    drift = {r["step"]: r["cka_to_start"] for r in log if r["kind"] == "monitor"}
    assert [s for s, _ in knn] == list(drift) and knn[0][0] == 0 and drift[0] == pytest.approx(1)
    assert knn[-1][1] < knn[0][1] and knn[-2][1] < knn[0][1] and drift[knn[-1][0]] < 0.9


def test_interrupted_it_ends_the_same(pictures, first, forgotten, tmp_path, monkeypatch):
    show = ProgressScreen.step
    late = forgotten.outcome.steps - 2

    def stop(screen, step, *rest):
        show(screen, step, *rest)
        if step == late:
            os.kill(os.getpid(), signal.SIGTERM)

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(ProgressScreen, "step", stop)
        trained = foveal.pretrain(pictures, out, recipe=forgetting(first), quiet=True)
    assert not trained.outcome.finished and trained.outcome.kept is None
    trained = foveal.pretrain(pictures, out, recipe=forgetting(first), quiet=True)
    assert trained.outcome.kept == forgotten.outcome.kept
    assert trained.outcome.steps == forgotten.outcome.steps
    clock = ("images_per_s", "data_wait", "seconds")
    lines = [
        [
            {k: v for k, v in r.items() if k not in clock}
            for r in t.folder.metrics()
            if r["kind"] != "warning"
        ]
        for t in (trained, forgotten)
    ]
    assert lines[0] == lines[1]


def test_what_did_not_become_worse_stays(pictures, first, tmp_path):
    """The trunk of the last step, which is not that of the start."""
    tiny = recipe("rotation", epochs=0.5, init=str(first), adapt={"heads": 0.25})
    trained = foveal.pretrain(pictures, tmp_path / "run", recipe=tiny, quiet=True)
    log = [r["knn"] for r in trained.folder.metrics() if r["kind"] == "online"]
    assert log[-1] >= log[0] and trained.outcome.kept is None and trained.outcome.steps == 6
    mine = state(tmp_path / "run")
    assert any(not torch.equal(v, state(first)[n]) for n, v in mine.items())
    ends = trunk_of(trained.folder.last)
    assert ends.keys() == mine.keys() and all(torch.equal(v, mine[n]) for n, v in ends.items())


def test_heads_learn_alone_first_and_the_teacher_starts_from_the_same(pictures, first, tmp_path):
    tiny = recipe("byol", epochs=0.5, init=str(first), adapt={"heads": 0.5})
    trained = foveal.pretrain(pictures, tmp_path / "run", recipe=tiny, quiet=True)
    assert trained.outcome.steps == 6
    start, end = (
        torch.load(path, weights_only=True)["method"]
        for path in (trained.folder.start, trained.folder.last)
    )
    given = dict(foveal.load(first).trunks[0].named_parameters())
    for trunk in ("trunk", "target_trunk"):
        for name, value in given.items():
            assert torch.equal(start[f"{trunk}.{name}"], value)
            assert torch.equal(end[f"{trunk}.{name}"], value), "frozen, and its average with it"
    heads = [n for n in start if n.startswith("projector.") and n.endswith("weight")]
    assert heads and all(not torch.equal(start[n], end[n]) for n in heads)


def test_pictures_are_normalised_as_the_weights_know_them(pictures, first, tmp_path):
    """Darker pictures: their own mean would make other features of the same weights."""
    dark = tmp_path / "dark"
    for path in sorted(pictures.rglob("*.png")):
        (dark / path.parent.name).mkdir(parents=True, exist_ok=True)
        Image.open(path).point(lambda v: v // 2).save(dark / path.parent.name / path.name)
    known = foveal.load(first).describe()["inputs"]
    adapted = recipe("rotation", epochs=0.25, init=str(first), adapt={"heads": 0.25})
    run = foveal.pretrain(dark, tmp_path / "run", recipe=adapted, quiet=True)
    assert foveal.load(run.folder.path).describe()["inputs"] == known
    assert run.folder.recipe().adapt.mean == tuple(known[0][0]["mean"])
    anew = recipe("rotation", epochs=0.25, init=str(first))
    run = foveal.pretrain(dark, tmp_path / "anew", recipe=anew, quiet=True)
    assert foveal.load(run.folder.path).describe()["inputs"] != known


def test_who_says_how_pictures_were_normalised(first, tmp_path):
    from foveal.engine.adapt import normalised_as_before

    given = recipe("rotation", init="timm/resnet18", adapt={})
    found, why = normalised_as_before(given, 3)
    assert found.adapt.mean == (0.485, 0.456, 0.406) and "as timm/resnet18 had them" in why[0]
    assert normalised_as_before(given, 5)[0] == given, "weights of three channels know of three"
    torch.save(foveal.load(first).trunks[0].state_dict(), tmp_path / "weights.pt")
    silent = override(given, {"init": str(tmp_path / "weights.pt")})
    found, why = normalised_as_before(silent, 3)
    assert found == silent and "does not say" in why[0]
    own = override(given, {"adapt": {"mean": [0.5] * 3, "std": [0.5] * 3}})
    assert normalised_as_before(own, 3) == (own, [])
    with pytest.raises(FovealError, match="a number each for every channel"):
        override(given, {"adapt": {"mean": [0.5] * 3}})


def test_numbers_for_other_channels_are_refused(pictures, first, tmp_path):
    two = {"mean": [0.5] * 2, "std": [0.5] * 2}
    wrong = recipe("rotation", init=str(first), adapt=two)
    with pytest.raises(FovealError, match="of 2 channels, and the pictures have 3"):
        foveal.pretrain(pictures, tmp_path / "run", recipe=wrong, quiet=True)
    assert not (tmp_path / "run").exists()


def test_rates_by_depth():
    from foveal.backbones.registry import build_backbone

    trunk, head = build_backbone("small", width=0.25), nn.Linear(4, 2)
    encoder = DataInfo(samples=1, size=16).encoder(trunk)
    given = {"main": [Group([*trunk.parameters(), *head.parameters()], lr=2.0, decay=0.5)]}
    found = adapted_groups(given, encoder, Adapt(heads=3, lr=0.1, decay=0.5))["main"]
    rate = {id(p): g for g in found for p in g.parameters}
    assert len(rate) == sum(len(g.parameters) for g in found) == len(given["main"][0].parameters)
    assert all(g.decay == 0.5 for g in found)
    for p in head.parameters():
        assert rate[id(p)].lr == 2.0 and rate[id(p)].frozen_until == 0
    named = list(trunk.parameters())
    assert rate[id(named[-1])].lr == pytest.approx(0.2) and rate[id(named[-1])].frozen_until == 3
    by_depth = [rate[id(p)].lr for p in named]
    assert by_depth == sorted(by_depth)
    assert by_depth[0] == pytest.approx(0.2 * 0.5 ** (len(encoder.ends) - 1))


class Weights(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.register_buffer("w", torch.tensor(value))


def guarded(tmp_path, qualities, name="knn"):
    """A guard after looks a quarter of an epoch apart, the first at the start."""
    guard = Guard(Adapt(heads=0.25, patience=2), RunFolder(tmp_path))
    gave_up = []
    for i, quality in enumerate(qualities):
        guard.see(i / 4, {"effective_rank": quality, **({"knn": quality} if name == "knn" else {})})
        gave_up.append(guard.gave_up)
    return guard, gave_up


def test_training_ends_after_some_looks_in_a_row(tmp_path):
    # The look at a quarter of an epoch does not count: heads learn alone.
    assert guarded(tmp_path, [0.5, 0.1, 0.4, 0.5, 0.4, 0.4])[1] == [False] * 5 + [True]


@pytest.mark.parametrize(
    "best, value, words",
    [(0.6, 2.0, "kNN fell from 50.0 % to 40.0 %: the weights after step 9 (60.0 %) are kept"),
     (0.45, 1.0, "kNN fell from 50.0 % to 40.0 %: the first weights are kept"),
     (-math.inf, 1.0, "kNN fell from 50.0 % to 40.0 %: the first weights are kept")],
)  # fmt: skip
def test_the_best_that_is_not_worse_or_the_first(tmp_path, best, value, words):
    guard, _ = guarded(tmp_path, [0.5, 0.6, 0.4])
    for path, step, w in ((guard.folder.start, 0, 1.0), (guard.folder.best, 9, 2.0)):
        path.parent.mkdir(exist_ok=True)
        save_checkpoint(path, {"step": step, "method": {"w": torch.tensor(w)}})
    method = Weights(3.0)
    assert guard.put_back(method, best) == words and method.w.item() == value


def test_without_labels_half_of_the_effective_rank_may_go(tmp_path):
    guard, _ = guarded(tmp_path, [40.0, 30.0, 21.0], "rank")
    assert not guard.worse and guard.put_back(Weights(3.0), 30.0) is None
    assert guarded(tmp_path, [40.0, 30.0, 19.0], "rank")[0].worse


def test_nothing_is_guarded_unasked(tmp_path):
    guard = Guard(None, RunFolder(tmp_path))
    for epoch in range(5):
        guard.see(epoch, {"knn": 0.5 - epoch / 10, "effective_rank": 9.0})
    assert not guard.gave_up and guard.put_back(Weights(3.0), 0.4) is None
    assert guard.quality({"effective_rank": 9.0}) is None


def test_settings(pictures, tmp_path):
    with pytest.raises(FovealError, match="none were named"):
        foveal.pretrain(pictures, tmp_path / "run", recipe=recipe("rotation"), adapt=True)
    with pytest.raises(FovealError, match="init says which"):
        override(Recipe(epochs=1), {"adapt": {"heads": 2}})
    base = Recipe(epochs=1, init="x")
    assert override(base, {"adapt": {}}).adapt == Adapt()
    assert override(base, {"adapt": {"heads": 2}}).adapt == Adapt(heads=2)
    with pytest.raises(FovealError, match=r"adapt\.head") as caught:
        override(base, {"adapt": {"head": 2}})
    assert "adapt.heads" in caught.value.hint
