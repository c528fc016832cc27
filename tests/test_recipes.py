"""Recipes: each builds, says what it costs, and survives its own JSON."""

import re

import pytest

from foveal.engine.plan import resized_options
from foveal.errors import FovealError
from foveal.methods import get_method, list_methods
from foveal.methods.base import FAMILIES
from foveal.recipe import Recipe, differences, override, parse_overrides, validated
from foveal.recipes import describe, get_recipe, list_recipes

every_recipe = pytest.mark.parametrize("name", list_recipes())


def test_every_method_has_a_small_recipe_and_one_at_the_papers_scale():
    for method in list_methods():
        names = {n for n in list_recipes() if n.startswith(f"{method}/")}
        for_a_small_machine = {f"{method}/small", f"{method}/doom"}
        assert for_a_small_machine < names


def test_every_method_has_its_place_in_the_table():
    for method in list_methods():
        assert get_method(method).family in FAMILIES and get_method(method).title


@every_recipe
def test_docstrings_hold_what_reproduce_needs(name):
    about = describe(name)
    assert about.about.endswith(".")
    assert f"--recipe {name}" in about.command and about.command.startswith("foveal pretrain ")
    assert about.minutes and about.machine and "to be measured" not in about.minutes
    assert re.search(r"\d", about.expected), "a metric with its number"


@every_recipe
def test_options_are_the_methods_own(name):
    recipe = get_recipe(name)
    method = get_method(recipe.method)
    validated(method.Options, recipe.options, name)
    assert Recipe.model_validate(recipe.to_json()) == recipe
    assert name.split("/")[0] == recipe.method or (method.parts and name.startswith("multitask/"))


@pytest.mark.parametrize("method", list_methods())
def test_views_follow_the_planned_size(method):
    options = resized_options(method, get_recipe(f"{method}/doom").options, 96)
    parts = [options[part] for part in get_method(method).parts] or [options]
    sizes = {v["size"] for part in parts for k, v in part.items() if "view" in k}
    assert sizes == {96}


def test_paper_scale_numbers():
    byol = get_recipe("byol/imagenet")
    assert (byol.batch, byol.epochs, byol.optimiser.lr) == (4096, 1000, 0.2)
    assert byol.optimiser.weight_decay == 1.5e-6 and byol.optimiser.lars_order == "byol"
    rotation = get_recipe("rotation/imagenet")
    assert (rotation.batch, rotation.optimiser.lr) == (192, 0.01) and rotation.optimiser.nesterov
    deep = get_recipe("deepcluster/imagenet")
    assert deep.options["clusters"] == 10_000 and deep.optimiser.weight_decay == 1e-5


def test_overrides():
    changes = parse_overrides(["optimiser.lr=0.5", "options.clusters=7", "minutes=3", "seed=2"])
    recipe = override(get_recipe("deepcluster/doom"), changes)
    assert recipe.optimiser.lr == 0.5 and recipe.options["clusters"] == 7
    assert recipe.minutes == 3 and recipe.epochs is None
    with pytest.raises(FovealError, match=r"recipe has no 'optimiser.lrr'") as caught:
        override(recipe, {"optimiser": {"lrr": 1}})
    assert "optimiser.lr" in caught.value.hint
    with pytest.raises(FovealError, match="already a value"):
        parse_overrides(["a=1", "a.b=2"])


def test_identity_leaves_the_machine_out():
    a = get_recipe("byol/doom")
    b = override(a, {"machine": {"cores": 3}})
    assert a.identity() == b.identity() and a.digest() == b.digest()
    c = override(a, {"seed": 1})
    assert differences(a.identity(), c.identity()) == ["seed: 0 -> 1"]
