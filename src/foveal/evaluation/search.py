"""The verb ``search``: the pictures of a pile that look most like a given one."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.backbones.encoder import Encoder
from foveal.core import rng
from foveal.data.badfiles import BadFile
from foveal.data.sources import Source, open_source
from foveal.errors import FovealError
from foveal.evaluation.features import Features, Store, encoder_features
from foveal.evaluation.run import encoder_of, run_of, store_of
from foveal.views.presets import center_view

_PAIRS = 100_000


@dataclass(frozen=True)
class Match:
    """A picture that was found.

    Attributes:
        name: Its name in the pile.
        row: Its row there.
        similarity: Cosine of the features, the pile's mean taken out.
        chance: Share of random pairs of the pile that are at least as similar: what makes a
            similarity mean something.
    """

    name: str
    row: int
    similarity: float
    chance: float


@dataclass(frozen=True)
class Found:
    """One query and what it found, most similar first."""

    query: str
    matches: list[Match]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Search:
    """What ``search`` did.

    Attributes:
        found: One entry for each query, in order.
        bad: Pictures that could not be read, queries among them.
        gallery: The pile that was searched.
        queries: The queries.
    """

    found: list[Found]
    bad: list[BadFile]
    gallery: Source
    queries: Source


def search(
    run_or_file: str | Path | Encoder,
    data: Any,
    query: Any,
    *,
    top: int = 8,
    layer: str = "pooled",
) -> Search:
    """Finds the pictures of ``data`` that are most similar to each of ``query``.

    Features have the mean of the pile taken out (all pictures share it, it says nothing) and are
    compared by cosine, exactly, without an index: a million pictures take seconds. A query that
    lies in the pile does not find itself. Features of the pile are kept in ``RUN/features``.

    Args:
        run_or_file: A run folder, an exported file, or an Encoder.
        data: The pile: anything ``open_source`` reads.
        query: A picture, or anything else ``open_source`` reads.
        top: How many to find for each.
        layer: ``pooled``, or ``embedding``: what the run's method compared pictures by.

    Raises:
        FovealError: Fewer than two pictures can be read, or no query.
    """
    if top < 1:
        raise FovealError(f"top={top} finds nothing", hint="--top 8")
    encoder = encoder_of(run_or_file, layer)
    gallery = open_source(data, channels=encoder.channels)
    queries = open_source(query, channels=encoder.channels)
    view = center_view(encoder.size, encoder.fraction)
    with store_of(run_of(run_or_file)) as store, tempfile.TemporaryDirectory() as once:
        pile = encoder_features(store, encoder, gallery, view)
        if len(pile.x) < 2:
            raise FovealError(f"{gallery.root} holds only one readable picture")
        asked = encoder_features(Store(Path(once)), encoder, queries, view)
        mean = pile.x.mean(0)
        pile_ND, asked_QD = _unit(pile.x - mean), _unit(asked.x - mean)
        chance = _similarities_of_random_pairs(pile_ND)
        found = [
            Found(
                queries.name(int(row)),
                _nearest(
                    asked_QD[q], pile_ND, pile, gallery, chance, top, _path(queries, int(row))
                ),
            )
            for q, row in enumerate(asked.rows)
        ]
    return Search(found, [*asked.bad, *pile.bad], gallery, queries)


def _nearest(
    query_D: NDArray[np.float32],
    pile_ND: NDArray[np.float32],
    pile: Features,
    gallery: Source,
    chance: NDArray[np.float32],
    top: int,
    itself: Path | None,
) -> list[Match]:
    similarity = pile_ND @ query_D
    matches: list[Match] = []
    # One more than asked for, since the query itself may be among them.
    some = np.argpartition(-similarity, min(top, len(similarity) - 1))[: top + 1]
    for i in some[np.argsort(-similarity[some], kind="stable")]:
        row = int(pile.rows[i])
        if itself is not None and _path(gallery, row) == itself:
            continue
        rarer = len(chance) - np.searchsorted(chance, similarity[i], side="left")
        share = float(rarer / len(chance))
        matches.append(Match(gallery.name(row), row, float(similarity[i]), share))
    return matches[:top]


def _path(source: Source, row: int) -> Path | None:
    """Where a picture's file lies, if it has one of its own."""
    paths: Sequence[Path] | None = getattr(source, "paths", None)
    return None if paths is None else Path(paths[row]).resolve()


def _unit(x: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.linalg.norm(x, axis=1, keepdims=True)
    unit: NDArray[np.float32] = (x / np.maximum(length, 1e-12)).astype(np.float32)
    return unit


def _similarities_of_random_pairs(pile_ND: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sorted; of pairs of different pictures, drawn by counter."""
    n = len(pile_ND)
    draws = rng.uniform(rng.key(0, "search", "pairs"), np.arange(_PAIRS), 2)
    first = (draws[:, 0] * n).astype(np.int64)
    second = (first + 1 + (draws[:, 1] * (n - 1)).astype(np.int64)) % n
    found = np.concatenate(
        [
            np.einsum("nd,nd->n", pile_ND[first[part]], pile_ND[second[part]])
            for part in np.array_split(np.arange(_PAIRS), 10)
        ]
    )
    return np.sort(found)
