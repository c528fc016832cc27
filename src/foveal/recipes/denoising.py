"""Recipes of the denoising autoencoder."""

from __future__ import annotations

from foveal.recipe import Recipe
from foveal.recipes._small import VIEW, small_recipe
from foveal.views.spec import Crop, View


def small() -> Recipe:
    view = View(size=VIEW, crop=Crop(scale=(0.3, 1.0)))
    options = {"view": view.model_dump(mode="json"), "amount": 0.5, "cell": 8}
    return small_recipe("denoising", options, batch=128)


def doom() -> Recipe:
    return small().model_copy(update={"epochs": 12.0})
