"""Recipes of counting."""

from __future__ import annotations

from foveal.recipe import Recipe
from foveal.recipes._small import small_recipe
from foveal.views.spec import Crop, View


def small() -> Recipe:
    view = View(size=64, crop=Crop(scale=(0.3, 1.0)), grey=0.67)
    options = {"view": view.model_dump(mode="json")}
    return small_recipe("counting", options, batch=128)


def doom() -> Recipe:
    return small().model_copy(update={"epochs": 12.0})
