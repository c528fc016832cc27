"""Recipes: short functions that return a ``Recipe``, one file per method.

Each states only what differs from the defaults. Its docstring starts with a sentence, then holds
lines ``Command:``, ``Minutes:``, ``Machine:`` and ``Expected:``, which ``describe`` reads and a
test checks.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

from foveal.errors import FovealError
from foveal.recipe import Recipe, nearest
from foveal.recipes._combine import combination

_FIELDS = ("Command", "Minutes", "Machine", "Expected")


@dataclass(frozen=True)
class Description:
    """What a recipe's docstring says.

    Attributes:
        name: ``method/variant``.
        about: The first sentence.
        command: What to type.
        minutes: How long it takes.
        machine: On what.
        expected: The metric to expect, or why there is none yet.
    """

    name: str
    about: str
    command: str
    minutes: str
    machine: str
    expected: str


def list_recipes() -> list[str]:
    """All names, ``method/variant``."""
    return [f"{method}/{name}" for method in _methods() for name in _functions(method)]


def get_recipe(name: str) -> Recipe:
    """A recipe by name, e.g. ``byol/doom``."""
    return _find(name)()


def describe(name: str) -> Description:
    """What the docstring of a recipe says."""
    text = inspect.getdoc(_find(name)) or ""
    about, *rest = text.split("\n\n", 1)
    fields = dict.fromkeys(_FIELDS, "")
    current = None
    for line in (rest[0] if rest else "").splitlines():
        head, colon, tail = line.partition(":")
        if colon and head in fields:
            current, fields[head] = head, tail.strip()
        elif current and line.strip():
            fields[current] += " " + line.strip()
    return Description(
        name,
        " ".join(about.split()),
        fields["Command"],
        fields["Minutes"],
        fields["Machine"],
        fields["Expected"],
    )


def _find(name: str) -> Callable[[], Recipe]:
    method, _, variant = name.partition("/")
    if "+" in method:
        return combination(name, get_recipe)
    if method in _methods():
        functions = _functions(method)
        if variant in functions:
            return functions[variant]
    raise FovealError(f"there is no recipe '{name}'", hint=nearest(name, list_recipes()))


def _methods() -> list[str]:
    return [m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")]


def _functions(method: str) -> dict[str, Callable[[], Recipe]]:
    module = importlib.import_module(f"{__name__}.{method}")
    return {
        name: f
        for name, f in vars(module).items()
        if inspect.isfunction(f) and f.__module__ == module.__name__ and not name.startswith("_")
    }
