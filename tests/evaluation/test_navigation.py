"""Agents on frozen features, in a world of 16 x 16 pixels."""

import io
import json
import random

import numpy as np
import pytest
import torch
from rich.console import Console

from foveal.backbones.encoder import Encoder
from foveal.backbones.registry import build_backbone
from foveal.engine.runfolder import RunFolder
from foveal.errors import FovealError
from foveal.evaluation.features import weights_digest
from foveal.evaluation.navigation import school
from foveal.evaluation.navigation.agent import Returns, act_at_random
from foveal.evaluation.navigation.eyes import Eyes
from foveal.evaluation.navigation.protocol import late_return, mean_return
from foveal.evaluation.navigation.worlds import name_of, open_worlds, skip_of
from foveal.evaluation.result import table
from foveal.evaluation.run import evaluate
from foveal.evaluation.side_by_side import compare
from foveal.exporting.weights import save_encoder
from foveal.recipe import Network, Recipe
from foveal.report.compare_text import render

DOTS = "pixel_world:Dots-v0"
SMALL = {"frames": 640, "seeds": 2, "worlds": 4, "horizon": 20, "size": 16, "lr": 3e-3}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(school, "_IDLE_FRAMES", 200)
    monkeypatch.setattr(school, "_TYPICAL", 64)


def make_encoder(seed=0, channels=3):
    torch.manual_seed(seed)
    return Encoder(
        [build_backbone("small", in_chans=channels, width=0.25)], [[]], channels=channels, size=16
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(school, "_IDLE_FRAMES", 200)
        patch.setattr(school, "_TYPICAL", 64)
        root, found = tmp_path_factory.mktemp("runs"), []
        for seed, name in enumerate("ab"):
            run = RunFolder(root / name)
            recipe = Recipe(method="simclr", network=Network(name="small"), epochs=1, seed=seed)
            run.create(recipe, {"data": "pile", "fingerprint": "", "scan": {}})
            save_encoder(make_encoder(seed), run.backbone_file, {"recipe": recipe.to_json()})
            results = evaluate(run.path, DOTS, protocols=["navigation"], changes=SMALL)
            found.append((run.path, results))
    return found


def test_an_agent_learns_what_the_features_show(runs):
    late, mean = runs[0][1]
    assert (late.metric, mean.metric) == ("late_return", "mean_return")
    # Of ten rounds at random five pay.
    assert late.value > 8 and mean.value > 5.5 and late.value > mean.value
    assert late.n == 2 and set(late.baselines) == {"random_init", "random_actions"}
    idle = late.baselines["random_actions"]
    assert 4 < idle["value"] < 6 and idle["difference_interval"][1] > 0
    low, high = late.interval
    assert low < late.value < high
    chosen = late.configuration["chosen"]["trained"]
    assert np.mean(chosen["returns"]) == pytest.approx(late.value)
    curve = np.array(chosen["curves"][0])
    assert curve[-1, 0] == 640 and curve[-1, 1] > curve[0, 1]
    json.dumps(late.to_json(), allow_nan=False)


def test_two_runs_stand_in_one_table(runs):
    side = compare([path for path, _ in runs])
    assert side.warnings == () and [len(t.rows) for t in side.tables] == [2, 2]
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(render(side))
    console.print(table(runs[0][1]))
    text = console.export_text()
    for words in (
        "random actions",
        "2 seeds; [95 % interval over seeds]",
        "navigation late_return",
    ):
        assert words in text
    assert "shares in % of" not in text and "training pictures" not in text


def test_what_happened_is_read_again(runs, monkeypatch):
    path, results = runs[0]
    monkeypatch.setattr(school, "learn", None)
    monkeypatch.setattr(school, "act_at_random", None)
    again = evaluate(path, DOTS, protocols=["navigation"], changes=SMALL)
    assert [r.to_json() for r in again] == [r.to_json() for r in results]


def test_the_same_seed_gives_the_same_agents_and_touches_no_other_randomness():
    encoder = make_encoder()
    before = weights_digest(encoder)
    changes = {**SMALL, "frames": 160, "end": "stage2", "channels": 2}
    states = torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    one, two = (
        evaluate(encoder, DOTS, protocols=["navigation"], changes=changes) for _ in range(2)
    )
    assert [r.to_json() for r in one] == [r.to_json() for r in two]
    assert torch.equal(states[0], torch.random.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1]) and states[2] == random.getstate()
    other = evaluate(encoder, DOTS, protocols=["navigation"], changes=changes, seed=1)
    assert other[0].configuration["chosen"] != one[0].configuration["chosen"]
    assert weights_digest(encoder) == before and one[0].configuration["layer"] == "stage2"


def test_worlds_begin_alike_and_actions_repeat():
    seen = []
    for _ in range(2):
        with open_worlds(DOTS, count=3, skip=4, seed=5) as worlds:
            first = worlds.reset()
            _, rewards, _, _ = worlds.step([0, 0, 0])
            seen.append((first, rewards))
    assert np.array_equal(seen[0][0], seen[1][0]) and np.array_equal(seen[0][1], seen[1][1])
    assert seen[0][0].shape == (3, 16, 16, 3) and seen[0][1].max() > 1
    assert name_of("doom") == "VizdoomHealthGathering-v1" and skip_of(name_of("doom"), None) == 10
    assert skip_of(DOTS, None) == 1 and skip_of(DOTS, 3) == 3


def test_dooms_world_is_seen_and_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open_worlds(name_of("doom"), count=1, skip=4, seed=0) as worlds:
        assert worlds.reset().shape == (1, 240, 320, 3)
        pictures, rewards, _, _ = worlds.step([3])
        assert pictures.std() > 5 and rewards[0] == 4
    assert not list(tmp_path.iterdir())


def test_typical_pictures_give_features_of_mean_0_and_deviation_1():
    with open_worlds(DOTS, count=2, skip=1, seed=0) as worlds:
        episodes, pictures = act_at_random(worlds, 100, 0, 50)
    assert pictures.shape == (50, 16, 16, 3) and len(episodes) == 10
    for channels in (1, 3):
        encoder = make_encoder(channels=channels).eval()
        eyes = Eyes(encoder, "stage1", channels=3, size=16, seed=0, typical=pictures)
        seen = eyes(pictures)
        assert seen.shape == (50, eyes.dim) and eyes.dim % 3 == 0
        assert np.allclose(seen.mean(0), 0, atol=1e-3)
        assert ((np.abs(seen.std(0) - 1) < 1e-3) | (seen.std(0) < 1)).all()
        other = Eyes(encoder, "stage1", channels=3, size=16, seed=1, typical=pictures)
        assert not np.allclose(seen, other(pictures))


def test_returns_are_added_up_episode_by_episode():
    returns = Returns(2)
    returns.add(np.array([1.0, 2.0]), np.array([False, True]))
    returns.add(np.array([1.0, 5.0]), np.array([True, False]))
    returns.add(np.array([1.0, 5.0]), np.array([False, True]))
    assert returns.ended == [(2, 2.0), (4, 2.0), (6, 10.0)]
    episodes = np.array(returns.ended)
    assert mean_return(episodes) == pytest.approx(14 / 3) and late_return(episodes, 6) == 10
    with pytest.raises(FovealError, match="last fifth") as caught:
        late_return(episodes, 100)
    assert "frames=400" in caught.value.hint
    with pytest.raises(FovealError, match="no episode ended"):
        mean_return(np.empty((0, 2)))


@pytest.mark.parametrize(
    ("data", "changes", "words"),
    [
        ("Nowhere-v0", {}, "gymnasium cannot make 'Nowhere-v0'"),
        ("no_such_module:Dots-v0", {}, "gymnasium cannot make"),
        ("pixel_world:Blind-v0", {}, "shows no pictures"),
        (DOTS, {"end": "stage9"}, "no map 'stage9'"),
        (DOTS, {"seeds": 1}, "seeds"),
        (DOTS, {"frame": 1}, "frame"),
    ],
)
def test_what_is_wrong_is_named(data, changes, words):
    with pytest.raises(FovealError, match=words):
        evaluate(make_encoder(), data, protocols=["navigation"], changes=changes)
