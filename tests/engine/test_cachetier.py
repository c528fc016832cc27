"""A run and its cache tier: chosen once, recorded, the same when continued."""

import json

import numpy as np
import pytest
import torch
import zoo

import foveal
from foveal.core import ranks
from foveal.data.sources import open_source
from foveal.engine import cachetier
from foveal.engine.cachetier import as_recorded, check_ranks_agree, decided
from foveal.errors import FovealError
from foveal.recipe import Recipe, override

TINY = ["network.name=small", "network.width=0.25", "batch=16", "machine.cores=1"]


@pytest.fixture(scope="module")
def pile(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pile")
    for i in range(40):
        zoo.drawn(np.random.default_rng(i)).save(folder / f"{i:02d}.png")
    (folder / "empty.png").write_bytes(b"")
    return folder


def pretrain(pile, out, *changes):
    changes = [*TINY, f"machine.cache_folder={out.parent / 'copies'}", "max_bad=0.1", *changes]
    return foveal.pretrain(pile, out, method="rotation", epochs=2, changes=changes, quiet=True)


def weights(run):
    return torch.load(run / "checkpoints" / "last.pt", weights_only=True)["method"]


def test_a_lossless_copy_changes_no_weight(pile, tmp_path):
    """Pictures of up to 72 pixels are kept as they are, so the run is the same, bit for bit."""
    pretrain(pile, tmp_path / "plain")
    pretrain(pile, tmp_path / "raw", "cache.tier=raw")
    one, other = weights(tmp_path / "plain"), weights(tmp_path / "raw")
    assert all(torch.equal(one[k], other[k]) for k in one)
    recipe = json.loads((tmp_path / "raw" / "recipe.json").read_text())
    assert recipe["cache"] == {"tier": "raw", "short": 160, "quality": 90, "scaled": False}
    data = [json.loads((tmp_path / r / "data.json").read_text()) for r in ("plain", "raw")]
    assert data[0]["fingerprint"] == data[1]["fingerprint"] == open_source(pile).fingerprint()
    assert len(list((tmp_path / "copies").glob("*/about.json"))) == 1
    bad = [(tmp_path / r / "bad_files.csv").read_text() for r in ("plain", "raw")]
    assert bad[0] == bad[1] and "empty.png" in bad[0]


def test_a_smaller_copy_is_another_run(pile, tmp_path):
    pretrain(pile, tmp_path / "run", "cache.tier=jpeg", "cache.short=40")
    assert (tmp_path / "run" / "finished.json").is_file()
    with pytest.raises(FovealError, match=r"cache\.short: 40 -> 48"):
        pretrain(pile, tmp_path / "run", "cache.tier=jpeg", "cache.short=48")


def test_auto_is_decided_once(pile, tmp_path, monkeypatch):
    pretrain(pile, tmp_path / "run", "cache.tier=auto")
    recipe = Recipe(**json.loads((tmp_path / "run" / "recipe.json").read_text()))
    assert recipe.cache.tier == "raw"
    reasons = json.loads((tmp_path / "run" / "data.json").read_text())["reasons"]
    assert any("cache tier raw" in reason for reason in reasons)
    # Asked for again it is what it was, whatever the machine looks like now.
    monkeypatch.setattr(cachetier, "choose_kind", lambda *_: ("jpeg", "another day"))
    asked = override(recipe, {"cache": {"tier": "auto"}})
    assert as_recorded(asked, recipe) == recipe
    assert pretrain(pile, tmp_path / "run", "cache.tier=auto").outcome is None


def test_nothing_is_decided_without_a_cache(pile):
    recipe = Recipe(epochs=1)
    assert decided(recipe, open_source(pile)) == (recipe, [])
    scaled = override(recipe, {"cache": {"scaled": True}})
    assert decided(scaled, open_source(pile))[0].cache.short == 256


def test_a_wrong_option_is_told_before_pictures_are_copied(pile, tmp_path):
    with pytest.raises(FovealError, match="options of rotation has no 'foo'"):
        pretrain(pile, tmp_path / "run", "cache.tier=raw", "options.foo=1")
    assert not (tmp_path / "copies").exists() and not (tmp_path / "run").exists()


def test_ranks_that_chose_differently_are_refused(monkeypatch):
    recipe = Recipe(epochs=1)
    check_ranks_agree(recipe)
    other = override(recipe, {"cache": {"tier": "jpeg", "short": 256}}).cache
    monkeypatch.setattr(ranks, "gather_objects", lambda x: [x, other])
    with pytest.raises(FovealError, match="different cache tiers: jpeg, none"):
        check_ranks_agree(recipe)
