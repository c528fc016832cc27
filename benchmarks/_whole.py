"""Runs that scripts measure: whole ones only, and those of the recipe that is asked for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import foveal
from foveal.engine.runfolder import RunFolder
from foveal.recipe import Recipe, override
from foveal.recipes import get_recipe

_SHAPES = ("method", "options", "network", "batch", "epochs", "optimiser", "schedule")


def pretrain(
    data: Any, out: Path, *, recipe: Recipe | str, changes: dict[str, Any] | None = None
) -> None:
    """``foveal.pretrain``; a signal that stops the run ends the script, too.

    Otherwise the script would measure half a run, keep that, and go on with the next. So does a
    finished run of another recipe, which ``foveal.pretrain`` would leave as it is.
    """
    changes = changes or {}
    outcome = foveal.pretrain(data, out, recipe=recipe, changes=changes).outcome
    if outcome is not None and not outcome.finished:
        sys.exit(f"stopped by {outcome.stopped_by} in {out}; the same command goes on from there")
    asked = override(get_recipe(recipe) if isinstance(recipe, str) else recipe, changes)
    made = RunFolder(out).recipe()
    if other := [name for name in _SHAPES if getattr(made, name) != getattr(asked, name)]:
        sys.exit(f"{out} is a run with other {', '.join(other)}; another --runs, or delete it")
