"""Recipes of combinations, made of those of their parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from foveal.recipe import Recipe


def combined(recipes: Sequence[Recipe], method: str | None = None) -> Recipe:
    """One recipe of several: as many steps as they have together, each part with its batch.

    Network, optimiser and everything else is the first one's. An epoch counts the pictures of all
    parts, at the first one's batch.

    Args:
        recipes: Of the parts, in the order of their turns.
        method: The name of the combination; None: the parts' joined by ``+``.
    """
    first = recipes[0]
    options = {r.method.rpartition(":")[2]: r.options for r in recipes}
    sizes = {r.method.rpartition(":")[2]: r.batch / first.batch for r in recipes[1:]}
    return first.model_copy(
        update={
            "method": method or "+".join(r.method for r in recipes),
            "options": {**options, "sizes": {k: v for k, v in sizes.items() if v != 1}},
            "epochs": sum((r.epochs or 1.0) * first.batch / r.batch for r in recipes),
        }
    )


def combination(name: str, get: Callable[[str], Recipe]) -> Callable[[], Recipe]:
    """What ``rotation+jigsaw/doom`` stands for: the ``doom`` recipes of its parts as one."""
    methods, _, variant = name.partition("/")

    def recipe() -> Recipe:
        return combined([get(f"{method}/{variant}") for method in methods.split("+")])

    recipe.__doc__ = f"""The recipes {variant} of {methods.replace("+", ", ")} as one.

    Command: foveal pretrain DATA --out RUN --recipe {name}
    Minutes: not timed
    Machine: any
    Expected: not measured
    """
    return recipe
