"""What lies above a class: a dog is an animal. Lines ``child,parent`` by name.

Sun, Shrivastava, Singh, Gupta, "Revisiting unreasonable effectiveness of data in deep learning
era", ICCV 2017: a picture's labels are closed upwards before a network learns from them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foveal.errors import FovealError
from foveal.recipe import nearest


@dataclass(frozen=True)
class Hierarchy:
    """Classes and what lies above them.

    Attributes:
        names: The classes in their own order, then everything else above them by name: [C].
        positives: Of each of the K classes, itself and all its ancestors: bool [K, C].
    """

    names: tuple[str, ...]
    positives: NDArray[np.bool_]


def read_hierarchy(text: str, classes: Sequence[str], where: str = "the hierarchy") -> Hierarchy:
    """The ancestors of every class.

    A class may have several parents, or none. ``#`` starts a comment.

    Args:
        text: Lines ``child,parent``.
        classes: Of the data.
        where: The file, for errors.

    Raises:
        FovealError: A line that is no pair, a class above itself, a leaf that is no class.
    """
    parents: dict[str, list[str]] = {}
    for number, row in enumerate(csv.reader(io.StringIO(text)), 1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or cells[0].startswith("#"):
            continue
        if len(cells) != 2 or not all(cells):
            raise FovealError(
                f"line {number} of {where} is not child,parent: {','.join(row)}",
                hint="one pair of names a line, e.g. corgi,dog",
            )
        parents.setdefault(cells[0], []).append(cells[1])
    above = {name: _ancestors(name, parents, where) for name in {*parents, *classes}}
    used = set().union(*(above[name] for name in classes))
    if stray := sorted(set(parents) - set(classes) - used):
        raise FovealError(
            f"{where} has '{stray[0]}', which is neither a class of the data nor above one",
            hint=nearest(stray[0], list(classes)),
        )
    names = (*classes, *sorted(used - set(classes)))
    column = {name: i for i, name in enumerate(names)}
    positives = np.zeros((len(classes), len(names)), bool)
    for k, name in enumerate(classes):
        positives[k, [column[n] for n in (name, *above[name])]] = True
    return Hierarchy(names, positives)


def _ancestors(name: str, parents: dict[str, list[str]], where: str) -> set[str]:
    found: set[str] = set()
    waiting = list(parents.get(name, ()))
    while waiting:
        one = waiting.pop()
        if one == name:
            raise FovealError(f"{where} puts '{name}' above itself", hint="take one line of it out")
        if one not in found:
            found.add(one)
            waiting += parents.get(one, ())
    return found
