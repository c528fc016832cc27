"""Which labels may be seen: a few drawn ones, those a list names, and predictions for the rest.

Few-label studies compare runs that see the labels of the same pictures. So a subset is a function
of (labels, seed, count), and a file of names hands it on.
"""

from __future__ import annotations

import copy
import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from foveal.core import rng
from foveal.core.files import read_text
from foveal.data.sources import Source
from foveal.errors import FovealError

S = TypeVar("S", bound=Source)

_COLUMNS = ("name", "label", "probability")
_SHOWN = 3


def draw_few(
    labels_N: NDArray[np.int64],
    *,
    per_class: int | None = None,
    share: float | None = None,
    seed: int = 0,
) -> NDArray[np.int64]:
    """Some labelled samples of every class; fewer are part of more, by the same seed.

    Args:
        labels_N: Classes, -1 unknown.
        per_class: So many of every class.
        share: Or this share of every class, at least one sample of each.
        seed: Of the choice.

    Returns:
        Rows, int64, ascending.

    Raises:
        FovealError: A class has fewer samples than asked for; or both were given, or neither.
    """
    if (per_class is None) == (share is None):
        raise FovealError("give a number of labels per class or a share of them, one of the two")
    rows = []
    for c in np.unique(labels_N[labels_N >= 0]):
        members = np.flatnonzero(labels_N == c)
        count = per_class or max(1, round((share or 0) * len(members)))
        if count > len(members):
            raise FovealError(
                f"class {c} has {len(members)} labelled pictures, and {count} are asked for",
                hint=f"{len(members)} per class or fewer",
            )
        key = rng.key(seed, "few labels", int(c))
        rows.append(members[rng.permute(key, len(members), np.arange(count))])
    if not rows:
        raise FovealError("no picture has a label to draw from", hint="class folders")
    return np.sort(np.concatenate(rows))


def with_labels(source: S, labels: NDArray[np.int64]) -> S:
    """The same pictures with other labels; the source itself keeps its own."""
    other = copy.copy(source)
    other.labels = labels
    return other


def only_labels_of(source: Source, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The labels of some rows; all others are -1, unknown."""
    if source.labels is None:
        raise FovealError(f"{source.root} holds no labels", hint="class folders")
    seen = np.full(len(source), -1, np.int64)
    seen[rows] = source.labels[rows]
    return seen


def names_text(source: Source, rows: NDArray[np.int64]) -> str:
    """One name a line: what ``rows_of_names`` reads."""
    return "".join(f"{source.name(int(i))}\n" for i in rows)


def rows_of_names(source: Source, path: str | Path) -> NDArray[np.int64]:
    """The rows that a file names, one a line, ascending.

    A name is the source's own (a path below its root) or the last part of it where that is
    unique, as published lists of ImageNet have it. ``#`` starts a comment.

    Raises:
        FovealError: No such file, an empty one, names the source does not have or has twice.
    """
    lines = (line.strip() for line in read_text(path).splitlines())
    names = [line for line in lines if line and not line.startswith("#")]
    if not names:
        raise FovealError(f"{path} names no pictures", hint="one name a line")
    return np.sort(_find(source, names, path))


def predictions_text(
    names: Sequence[str], labels: Sequence[str], probabilities: Iterable[float]
) -> str:
    """A table of predicted classes: what ``read_predictions`` reads."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    rows = zip(names, labels, probabilities, strict=True)
    writer.writerows((name, label, f"{p:.6f}") for name, label, p in rows)
    return out.getvalue()


def read_predictions(
    source: Source, path: str | Path, *, confidence: float = 0.0
) -> NDArray[np.int64]:
    """The class that a table predicts for each picture, int64 [N], -1 where it says nothing.

    Args:
        source: Whose pictures and classes the table names.
        path: Of the table.
        confidence: Rows with a lower probability say nothing.

    Raises:
        FovealError: No such file, no such columns, a class or a picture the source does not have,
            no row with this confidence.
    """
    rows = list(csv.DictReader(io.StringIO(read_text(path))))
    if not rows or not {"name", "label"} <= rows[0].keys():
        raise FovealError(
            f"{path} is no table of predictions (columns {', '.join(_COLUMNS)})",
            hint="foveal predict RUN --data DATA --out FILE writes one",
        )
    if confidence > 0:
        rows = _sure(rows, confidence, path)
    number = {name: i for i, name in enumerate(source.classes or [])}
    unknown = sorted({r["label"] for r in rows} - number.keys())
    if unknown:
        raise FovealError(
            f"{path} predicts {_some(unknown)}, which {source.root} has no class for",
            hint="predictions and data of the same classes",
        )
    labels = np.full(len(source), -1, np.int64)
    found = _find(source, [r["name"] for r in rows], path)
    labels[found] = [number[r["label"]] for r in rows]
    return labels


def _sure(rows: list[dict[str, str]], confidence: float, path: str | Path) -> list[dict[str, str]]:
    """The rows of a table that are predicted with this probability or more."""
    try:
        probability = np.array([float(r["probability"]) for r in rows])
    except (KeyError, TypeError, ValueError) as error:
        raise FovealError(
            f"{path} does not say how probable each prediction is",
            hint="a number in the column probability, or no labels.confidence",
        ) from error
    found = [r for r, p in zip(rows, probability, strict=True) if p >= confidence]
    if not found:
        raise FovealError(
            f"no prediction of {path} has a probability of {confidence:g} or more",
            hint=f"labels.confidence={np.floor(100 * probability.max()) / 100:g} or less",
        )
    return found


def noisy(
    labels_N: NDArray[np.int64], classes: int, *, flip: float = 0.0, drop: float = 0.0, seed: int
) -> NDArray[np.int64]:
    """Labels with mistakes made on purpose; those of a smaller share are part of a larger one's.

    Args:
        labels_N: True classes, -1 unknown.
        classes: How many there are.
        flip: Probability of another class, drawn evenly.
        drop: Probability of no label.
        seed: Of the mistakes, which depend on it and on the row alone.
    """
    draws_N3 = rng.uniform(rng.key(seed, "label noise"), np.arange(len(labels_N)), 3)
    other_N = (labels_N + 1 + (draws_N3[:, 1] * (classes - 1)).astype(np.int64)) % classes
    found_N = np.where(draws_N3[:, 0] < flip, other_N, labels_N)
    found_N[(draws_N3[:, 2] < drop) | (labels_N < 0)] = -1
    return found_N


def filled(true_N: NDArray[np.int64], predicted_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """Predictions where the true label is unknown, and only there."""
    return np.where(true_N >= 0, true_N, predicted_N)


def _find(source: Source, names: Sequence[str], path: str | Path) -> NDArray[np.int64]:
    """The row of each name."""
    known = {source.name(i): i for i in range(len(source))}
    if not all(name in known for name in names):
        last = Counter(PurePosixPath(name).name for name in known)
        alone = {PurePosixPath(n).name: i for n, i in known.items()}
        known |= {n: i for n, i in alone.items() if last[n] == 1}
    missing = [name for name in names if name not in known]
    if missing:
        raise FovealError(
            f"{path} names {len(missing)} pictures that {source.root} does not have (or has in "
            f"several folders): {_some(missing)}",
            hint=f"names like {source.name(0)}",
        )
    rows = np.array([known[name] for name in names], np.int64)
    if len(np.unique(rows)) < len(rows):
        twice = next(source.name(i) for i, n in Counter(rows.tolist()).items() if n > 1)
        raise FovealError(f"{path} names {twice} more than once", hint="name each picture once")
    return rows


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
