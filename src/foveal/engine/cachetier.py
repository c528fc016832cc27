"""The cache tier of a run: chosen once, written into its recipe, opened at every start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from foveal.core import ranks
from foveal.core.files import cache_home
from foveal.data.sources import Source
from foveal.data.tiers import choose_kind, read_through
from foveal.errors import FovealError
from foveal.recipe import Recipe, override

_LARGEST = 256  # px: what the field keeps for views of 224
# No crop of 8 % of the area (SimCLR's smallest) of a picture this many times the view is enlarged.
_PER_VIEW = 4


def cache_folder(recipe: Recipe) -> Path:
    """Where copies are kept."""
    if recipe.machine.cache_folder is not None:
        return Path(recipe.machine.cache_folder).expanduser()
    return cache_home()


def decided(recipe: Recipe, source: Source) -> tuple[Recipe, list[str]]:
    """The recipe with nothing left open about the cache, and why it is so."""
    cache = recipe.cache
    if cache.tier == "none" and not cache.scaled:
        return recipe, []
    short = cache.short or min(_LARGEST, _PER_VIEW * recipe.evaluation.size)
    tier, reasons = cache.tier, []
    if tier == "auto":
        tier, why = choose_kind(source, short, cache_folder(recipe))
        reasons.append(f"cache tier {tier}: {why}")
    return override(recipe, {"cache": {"tier": tier, "short": short}}), reasons


def as_recorded(recipe: Recipe, recorded: Recipe) -> Recipe:
    """``auto``, asked for again when a run is continued, is what was chosen at its start."""
    if recipe.cache.tier != "auto":
        return recipe
    return override(recipe, {"cache": {"tier": recorded.cache.tier}})


def check_ranks_agree(recipe: Recipe) -> None:
    """Refuses a run whose ranks, each looking at its own memory and disk, chose differently."""
    chosen = {repr(cache): cache.tier for cache in ranks.gather_objects(recipe.cache)}
    if len(chosen) > 1:
        raise FovealError(
            f"the ranks chose different cache tiers: {', '.join(sorted(chosen.values()))}",
            hint="name one: cache.tier=jpeg",
        )


def pixels_of(recipe: Recipe, source: Source, say: Callable[[str], None]) -> Source:
    """The source a run of this recipe reads."""
    cache = recipe.cache
    if cache.tier == "none" and not cache.scaled:
        return source
    assert cache.tier != "auto" and cache.short is not None
    return read_through(
        source,
        kind=cache.tier,
        short=cache.short,
        quality=cache.quality,
        scaled=cache.scaled,
        folder=cache_folder(recipe),
        say=say,
    )
