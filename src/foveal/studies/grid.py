"""Which runs a study is made of.

Axes are recipe keys (``method``, ``network.name``, ``options.permutations``, ``labels.flip``, ...);
a cell is one value of each.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

from foveal.errors import FovealError
from foveal.recipe import Recipe, merge, nearest, override, parse_overrides
from foveal.recipes import get_recipe

Kind = Literal["data-scaling", "architectures", "hardness"]
Equal = Literal["steps", "epochs"]
METHOD, NETWORK, WIDTH, PICTURES, SEED = (
    "method", "network.name", "network.width", "pictures", "seed",
)  # fmt: skip
# What makes a pretext task harder (Goyal et al., ICCV 2019, section 4.3), where it has such a knob.
HARDNESS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "jigsaw": ("options.permutations", (20, 100, 500, 2000)),
    "colorization": ("options.neighbours", (1, 5, 10, 20)),
}
_SHARES = (8, 4, 2, 1)  # of the pictures, where no sizes are given
_SHORT = {METHOD: "", NETWORK: "", WIDTH: "w", PICTURES: "n", SEED: "s"}


@dataclass(frozen=True)
class Cell:
    """One run.

    Attributes:
        values: Its value on every axis.
        recipe: What it runs.
    """

    values: dict[str, Any]
    recipe: Recipe

    @property
    def name(self) -> str:
        """A folder's name."""
        words = [f"{_SHORT.get(k, k.split('.')[-1])}{_plain(v)}" for k, v in self.values.items()]
        return re.sub(r"[^\w.+=-]+", "-", "_".join(words))

    def group(self, *without: str) -> str:
        """What it is but for some axes, in words; seeds never count."""
        words = [
            _plain(v) if _SHORT.get(k) == "" else f"{k.split('.')[-1]} {_plain(v)}"
            for k, v in self.values.items()
            if k not in (*without, SEED)
        ]
        return ", ".join(words)

    @property
    def pictures_seen(self) -> float:
        """Pictures drawn, where the number of pictures is an axis; else passes over all of them."""
        return float(self.recipe.epochs or 0) * (self.recipe.pictures or 1)


@dataclass(frozen=True)
class Grid:
    """All runs of a study.

    Attributes:
        kind: The question.
        axes: Values by recipe key.
        recipe: Variant every method's recipe is taken from: ``small``, ``doom``, ...
        epochs: Passes, at the largest number of pictures; None: the recipes'.
        equal: Whether smaller data are seen for as many ``steps`` or as many ``epochs``.
        changes: Recipe values of all runs, nested.
    """

    kind: Kind
    axes: dict[str, tuple[Any, ...]]
    recipe: str = "small"
    epochs: float | None = None
    equal: Equal = "steps"
    changes: dict[str, Any] = field(default_factory=dict)

    def cells(self) -> list[Cell]:
        """In the order they are run: a whole grid of one seed before the next, few pictures first.

        Raises:
            FovealError: A recipe that does not exist, or a value it refuses.
        """
        found = [
            Cell(values := dict(zip(self.axes, drawn, strict=True)), self._recipe(values))
            for drawn in itertools.product(*self.axes.values())
        ]
        return sorted(found, key=lambda c: (c.values[SEED], c.values.get(PICTURES, 0)))

    def _recipe(self, values: Mapping[str, Any]) -> Recipe:
        base = get_recipe(f"{values[METHOD]}/{self.recipe}")
        rest = {k: v for k, v in values.items() if k not in (METHOD, PICTURES)}
        changes = merge(self.changes, _nested(rest))
        epochs = self.epochs or base.epochs
        if epochs is None:
            raise FovealError(
                f"the recipe {values[METHOD]}/{self.recipe} has a time budget",
                hint="--epochs 10: runs of one study must be equally long",
            )
        pictures = values.get(PICTURES)
        if pictures is not None:
            changes["pictures"] = pictures
            if self.equal == "steps":
                epochs = epochs * max(self.axes[PICTURES]) / pictures
        return override(base, {**changes, "epochs": epochs})


def make_grid(
    kind: str,
    *,
    methods: Sequence[str] = (),
    backbones: Sequence[str] = (),
    widths: Sequence[float] = (),
    sizes: Sequence[int] = (),
    seeds: int = 3,
    axes: Mapping[str, Sequence[Any]] | None = None,
    recipe: str = "small",
    epochs: float | None = None,
    equal: str = "steps",
    changes: Mapping[str, Any] | None = None,
    pictures: int | None = None,
) -> Grid:
    """The grid of a study, with what the question needs filled in.

    Args:
        kind: ``data-scaling``, ``architectures`` or ``hardness``.
        methods: Values of ``method``.
        backbones: Values of ``network.name``.
        widths: Values of ``network.width``.
        sizes: Values of ``pictures``.
        seeds: How many, from 0.
        axes: Values of any other recipe key.
        recipe: See ``Grid``.
        epochs: See ``Grid``.
        equal: See ``Grid``.
        changes: See ``Grid``.
        pictures: How many there are, for the sizes that are not given.

    Raises:
        FovealError: Too little to answer the question.
    """
    if kind not in get_args(Kind):
        raise FovealError(f"there is no study '{kind}'", hint=nearest(kind, get_args(Kind)))
    if equal not in get_args(Equal):
        raise FovealError(f"equal={equal!r}: what runs have in common", hint="steps or epochs")
    if seeds < 1:
        raise FovealError(f"{seeds} seeds", hint="--seeds 3: without spread nothing can be told")
    more = {name: tuple(values) for name, values in (axes or {}).items()}
    methods = tuple(methods) or (("jigsaw",) if kind == "hardness" else ("rotation",))
    if kind == "data-scaling" and not sizes:
        sizes = sorted({max(1, (pictures or 0) // share) for share in _SHARES})
    if kind == "hardness" and not more:
        if len(methods) > 1 or methods[0] not in HARDNESS:
            raise FovealError(
                f"what makes {', '.join(methods)} harder?",
                hint="--axis options.KEY=1,2,3; known by itself: " + ", ".join(HARDNESS),
            )
        name, values = HARDNESS[methods[0]]
        more[name] = values
    found: dict[str, tuple[Any, ...]] = {METHOD: methods}
    for name, given in ((NETWORK, backbones), (WIDTH, widths)):
        if given:
            found[name] = tuple(given)
    found |= more
    if sizes:
        found[PICTURES] = tuple(sorted(set(sizes)))
    found[SEED] = tuple(range(seeds))
    for name, some in found.items():
        if len(set(map(str, some))) < len(some):
            raise FovealError(f"a value of {name} is given twice: {some}")
    _answerable(kind, found)
    return Grid(cast(Kind, kind), found, recipe, epochs, cast(Equal, equal), dict(changes or {}))


def parse_axes(given: Sequence[str]) -> dict[str, list[Any]]:
    """``["options.permutations=20,100"]`` -> values by key."""
    found = {}
    for text in given:
        name, equals, values = text.partition("=")
        if not equals or not values:
            raise FovealError(
                f"'{text}' is no axis", hint="for example options.permutations=20,100,500"
            )
        found[name] = [_value(word) for word in values.split(",")]
    return found


def _answerable(kind: str, axes: Mapping[str, Sequence[Any]]) -> None:
    if kind == "data-scaling" and len(axes[PICTURES]) < 2:
        raise FovealError(
            f"no line through one size ({axes[PICTURES][0]})", hint="--sizes 500,1000,2000,4000"
        )
    networks = len(axes.get(NETWORK, (1,))) * len(axes.get(WIDTH, (1,)))
    if kind == "architectures" and (len(axes[METHOD]) < 2 or networks < 2):
        raise FovealError(
            "ranks of architectures can change where there are two methods and two networks",
            hint="--method rotation,jigsaw --backbone resnet18,vgg11 or --width 0.5,1",
        )


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        nested = merge(nested, parse_overrides([f"{name}={json.dumps(value)}"]))
    return nested


def _value(word: str) -> Any:
    return parse_overrides([f"x={word.strip()}"])["x"]


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
