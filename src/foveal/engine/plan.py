"""Method, trunk, view size, batch and length for a pile of pictures, with the reason for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from foveal.core.cores import available_cores
from foveal.data.scan import ScanReport
from foveal.errors import FovealError
from foveal.methods import get_method
from foveal.methods.base import Method, MethodOptions
from foveal.recipe import Evaluation, Network, Recipe, override, validated
from foveal.recipes import get_recipe
from foveal.views.domains import get_domain
from foveal.views.spec import View

_CPU_VIEWS, _CUDA_VIEWS = 400_000, 40_000_000


@dataclass(frozen=True)
class Plan:
    """A recipe and why it looks as it does, one sentence a choice."""

    recipe: Recipe
    reasons: list[str]


def make_plan(
    report: ScanReport,
    *,
    method: str | None = None,
    backbone: str | None = None,
    budget: dict[str, Any] | None = None,
    labelled: int | None = None,
) -> Plan:
    """Chooses what the user left open, starting from the method's small recipe.

    Args:
        report: What the pile holds.
        method: The user's method, if any.
        backbone: The user's trunk, if any.
        budget: ``{"epochs": E}`` or ``{"minutes": M}``; None: chosen here.
        labelled: For a method that learns from labels, the pictures that have one: its epochs are
            passes over them.
    """
    count = len(report.good) if labelled is None else labelled
    if count < 2:
        raise FovealError(
            f"{count} {'readable' if labelled is None else 'labelled'} "
            f"picture{'s' if count != 1 else ''}: there is nothing to compare",
            hint="point at a folder with at least a few hundred pictures",
        )
    short = report.short_side
    cuda = torch.cuda.is_available()
    where = torch.cuda.get_device_name() if cuda else f"{available_cores()} CPU cores"
    reasons = []
    if method is None:
        method = "simclr"
        reasons.append("method simclr: it learns most per view on short runs of those here")
    if backbone is None:
        backbone = ("resnet18" if count < 100_000 else "resnet50") if cuda else "small"
        reasons.append(f"backbone {backbone}: {count:,} pictures on {where}")
    size, why = view_size(short, cuda), f"the median short side is {short} px, on {where}"
    if (least := get_method(method).least_view) > size:
        size, why = least, f"{method} cuts them into tiles"
    reasons.append(f"views of {size} px: {why}")
    base = _starting_point(method)
    batch = _batch(count, base.batch, cuda)
    reasons.append(f"batch {batch}: {count:,} pictures")
    if not budget:
        views = _CUDA_VIEWS if cuda else _CPU_VIEWS
        epochs = int(np.clip(round(views / count), 1, 800))
        budget = {"epochs": float(epochs)}
        reasons.append(
            f"{epochs} epochs, {epochs * count:,} pictures seen: what {where} can do; "
            "--minutes M sets a time instead"
        )
    options = resized_options(method, base.options, size)
    small_stem = backbone.startswith("resnet") and size <= 64
    recipe = override(
        base,
        {
            "network": Network(name=backbone, stem="small" if small_stem else None).model_dump(),
            "batch": batch,
            "evaluation": Evaluation(
                size=size, fraction=1.0 if short <= 96 else 0.875
            ).model_dump(),
            **budget,
        },
    )
    recipe = override(recipe, {"schedule": {"warmup": _warmup(recipe.epochs, count, batch)}})
    # Options are replaced whole: merging would mix the views of two sizes.
    return Plan(recipe.model_copy(update={"options": options}), reasons)


def _starting_point(method: str) -> Recipe:
    """The method's small recipe; the bare defaults for a method of the user's own."""
    if ":" in method:
        return Recipe(method=method, epochs=1)
    return get_recipe(f"{method}/small")


def resized_options(method: str, options: dict[str, Any], size: int) -> dict[str, Any]:
    """A method's options with every view brought to another output side.

    Parts of a combination keep the side below which they cannot go.
    """
    cls = get_method(method)
    if cls.parts:
        return _map_views(cls, options, lambda v, part: v.resized(max(size, part.least_view)))
    return _map_views(cls, options, lambda view, _: view.resized(size))


def options_without_colour(
    method: str, options: dict[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Options whose views need no colour, and the names of the operations switched off."""
    off: list[str] = []

    def strip(view: View, _: type[Method]) -> View:
        off.extend(x for x in view.needs_colour() if x not in off)
        return view.without_colour()

    return _map_views(get_method(method), options, strip), off


def options_for_domain(method: str, options: dict[str, Any], name: str) -> dict[str, Any]:
    """Options whose views are as the pictures of a field need them.

    Raises:
        FovealError: There is no such domain, or the method learns what its pictures do not have.
    """
    domain = get_domain(name)
    if not domain.upright and _tells_turns(get_method(method), options):
        raise FovealError(
            f"{method} learns which side of a picture is up, and in {name} none is",
            hint="another --method, for example simclr",
        )
    return _map_views(get_method(method), options, lambda view, _: domain.change(view))


def _tells_turns(cls: type[Method], options: dict[str, Any]) -> bool:
    if cls.parts:
        return any(_tells_turns(p, options.get(n, {})) for n, p in cls.parts.items())
    return cls.tells_turns(validated(cls.Options, options, f"options of {cls.title}"))


def _map_views(
    cls: type[Method], options: dict[str, Any], change: Callable[[View, type[Method]], View]
) -> dict[str, Any]:
    """Options with every view changed, given the view and whose it is."""
    if cls.parts:
        changed = {n: _map_views(p, options.get(n, {}), change) for n, p in cls.parts.items()}
        return {**options, **changed}
    model: MethodOptions = validated(cls.Options, options, f"options of {cls.title}")
    views = {
        name: change(value, cls).model_dump(mode="json")
        for name, value in model
        if isinstance(value, View)
    }
    return {**options, **views}


def view_size(short: int, cuda: bool) -> int:
    """View side: all there is on an accelerator, what a CPU can do otherwise."""
    for limit, size in ((36, 32), (80, 40), (160, 96 if cuda else 64)):
        if short <= limit:
            return size
    return 224 if cuda else 64


def _batch(count: int, base: int, cuda: bool) -> int:
    """The recipe's (doubled on an accelerator), less for a small pile."""
    batch = 2 * base if cuda else base
    while batch > 2 and batch * 4 > count:
        batch //= 2
    return batch


def _warmup(epochs: float | None, count: int, batch: int) -> float:
    """In epochs: a twentieth of a stated run; under a time budget about 50 steps."""
    if epochs is not None:
        return round(0.05 * epochs, 3)
    return round(50 * batch / count, 3)
