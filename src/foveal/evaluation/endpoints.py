"""A probe on every end point: which layer knows most?

Zhang et al., "Colorful image colorization", ECCV 2016, and after it most papers of the field; the
poolings of each are in ``pooling.py``.

Legend: N pictures, D values of an end point, K directions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.backbones.base import End
from foveal.backbones.encoder import Encoder
from foveal.backbones.reading import device_of
from foveal.data.sources import Source
from foveal.errors import FovealError
from foveal.evaluation.bench import Bench, Split
from foveal.evaluation.compare import WHICH
from foveal.evaluation.features import Features, compute_threads, frozen, read_features
from foveal.evaluation.linear import linear
from foveal.evaluation.mlp import mlp, mlp_rotnet
from foveal.evaluation.pooling import SOURCES, pooled_together, pooler
from foveal.evaluation.probe import Probe, leading_directions
from foveal.evaluation.ranked import Answers, answers, figures
from foveal.evaluation.result import Result
from foveal.evaluation.ridge import ridge
from foveal.evaluation.settings import PoolRule
from foveal.evaluation.sgd import sgd
from foveal.recipe import nearest

PROBES: dict[str, Probe] = {
    "linear": linear, "ridge": ridge, "sgd": sgd, "mlp": mlp, "mlp_rotnet": mlp_rotnet,
}  # fmt: skip
_SAMPLE = 4096  # training pictures that directions are found on
_CHUNK = 2048
_FLAT = 1e-6


def endpoints(bench: Bench) -> list[Result]:
    """The linear probe (or another: ``probe``) on every end point, and the best of them.

    All end points come from one pass over the pictures. Their values are brought to mean 0 and
    deviation 1 and, where there are more, cut to 512 principal directions: thousands of values of
    neighbouring cells say much the same, and the fits take minutes instead of hours.

    ``best`` is the end point with the best figure on the held-out part of training, of each
    network its own; with ``select="oracle"`` the best on the test pictures, as papers report it,
    and the metric says so.
    """
    ends = chosen_ends(bench.encoder, bench.settings.ends)
    name = bench.settings.probe
    if bench.several and name != "linear":
        raise FovealError(
            f"probe={name} needs one class a picture, and those of {bench.train.root} may hold "
            "several",
            hint="probe=linear",
        )
    pixels = answers(bench, name, PROBES[name], bench.pixels, pixels=True)
    found: dict[str, dict[str, Answers]] = {end.name: {"pixels": pixels} for end in ends}
    for which, encoder in (("trained", bench.encoder), ("random_init", bench.random_encoder)):
        for end, split, about in _splits(bench, encoder, ends):
            got = answers(bench, name, PROBES[name], split, prepared=about["normalisation"])
            found[end.name][which] = replace(got, about={**got.about, "pooled_dim": about["dim"]})
    results = []
    for end in ends:
        about = {"layer": end.name, **_configuration(bench)}
        results += figures(bench, "endpoints", found[end.name], suffix=f" {end.name}", about=about)
    oracle = bench.select == "oracle"
    best = {which: _best(bench, found, which, results if oracle else None) for which in WHICH}
    about = {
        "layer": "best",
        "layer_chosen_on": "the test pictures" if oracle else "the held-out part of training",
        **_configuration(bench),
    }
    suffix = " best oracle" if oracle else " best"
    return results + figures(bench, "endpoints", best, suffix=suffix, about=about)


def chosen_ends(encoder: Encoder, names: str | None) -> list[End]:
    """End points by name (``stage2+stage3``), or all, in the network's order.

    Raises:
        FovealError: There is no end point, or none of that name.
    """
    known = {end.name: end for end in encoder.ends}
    if not known:
        raise FovealError("the network has no end points", hint="--protocol linear")
    asked = list(known) if names is None else [name.strip() for name in names.split("+")]
    for name in asked:
        if name not in known:
            raise FovealError(f"there is no end point '{name}'", hint=nearest(name, list(known)))
    return [end for name, end in known.items() if name in asked]


def misfit(encoder: Encoder, rule: PoolRule) -> str | None:
    """Why a rule cannot pool the maps of a network; None: it can."""
    try:
        _pooled_picture(encoder, list(encoder.ends), pooler(rule))
    except FovealError as error:
        return error.message
    return None


def _configuration(bench: Bench) -> dict[str, Any]:
    s = bench.settings
    return {
        "probe": s.probe,
        "pooling": f"{SOURCES[s.pool]}; about {s.features} values",
        "dtype": "float16, then float32",
        "directions": s.directions or "all",
    }


def _best(
    bench: Bench,
    found: dict[str, dict[str, Answers]],
    which: str,
    by_test: list[Result] | None,
) -> Answers:
    """The answers of the end point that is best for one set of features."""

    def held_out(name: str) -> float:
        about = found[name][which].about
        return float(about["held_out_map" if "held_out_map" in about else "held_out_accuracy"])

    def on_test(name: str) -> float:
        r = next(r for r in by_test or [] if r.metric == f"{bench.metric} {name}")
        return r.value if which == "trained" else float(r.baselines[which]["value"])

    # The first of equally good ones.
    name = max(found, key=on_test if by_test else held_out)
    got = found[name][which]
    return got if which == "pixels" else replace(got, about={**got.about, "layer": name})


def end_features(bench: Bench, encoder: Encoder, ends: list[End], source: Source) -> Features:
    """All end points of every picture, pooled, side by side: float16, kept."""
    pool = pooler(bench.settings.pool, bench.settings.features)
    names = [end.name for end in ends]
    named = {"ends": names, "pool": bench.settings.pool, "features": bench.settings.features}
    return read_features(
        bench.store, encoder, source, bench.view(encoder.size),
        lambda images: pooled_together(encoder(images, names), ends, pool), named, dtype="float16",
    )  # fmt: skip


def _widths(bench: Bench, encoder: Encoder, ends: list[End]) -> list[int]:
    """Values of every end point after pooling."""
    pool = pooler(bench.settings.pool, bench.settings.features)
    return [values.shape[1] for values in _pooled_picture(encoder, ends, pool)]


def _pooled_picture(
    encoder: Encoder, ends: list[End], pool: Callable[[Tensor, End], Tensor]
) -> list[Tensor]:
    """Every end point of an empty picture after pooling, [1, values]."""
    device = device_of(encoder)
    with frozen(encoder), compute_threads(device):
        picture = torch.zeros(1, encoder.channels, encoder.size, encoder.size, device=device)
        outputs = encoder(picture, [end.name for end in ends])
        return [pool(outputs[end.name], end) for end in ends]


def _splits(
    bench: Bench, encoder: Encoder, ends: list[End]
) -> Iterator[tuple[End, Split, dict[str, Any]]]:
    """Every end point as the probe takes it, standardised and cut to directions, kept."""
    train, test = (
        bench.labelled(end_features(bench, encoder, ends, source))
        for source in (bench.train, bench.test)
    )
    start = 0
    for end, width in zip(ends, _widths(bench, encoder, ends), strict=True):
        split, about = _reduced(bench, Split(train, test), slice(start, start + width))
        yield end, split, {**about, "dim": width}
        start += width


def _reduced(bench: Bench, whole: Split, columns: slice) -> tuple[Split, dict[str, Any]]:
    train, test = whole.train, whole.test

    def make(path: Path) -> dict[str, Any]:
        with compute_threads(bench.device), torch.no_grad():
            z, about = prepare(bench, train.x, test.x, columns)
        np.save(path, z)
        return about

    shaped_by = {"directions of": train.key, "test": test.key, "version": 1,
                 "columns": [columns.start, columns.stop],
                 "directions": bench.settings.directions}  # fmt: skip
    z, about, key = bench.store.get(shaped_by, make)
    n = len(train.x)
    split = Split(
        replace(train, x=z[:n], key=f"{key} train"), replace(test, x=z[n:], key=f"{key} test")
    )
    return split, about


def prepare(
    bench: Bench, train_x: NDArray[Any], test_x: NDArray[Any], columns: slice
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Training and test features one after the other, [N, min(D, K)], and what was done to them.

    Mean, deviation and directions are those of the training pictures. Works through the pictures
    in parts: all of them at once may not fit into memory.
    """
    n, count = len(train_x), bench.settings.directions
    total: Any = 0.0
    square: Any = 0.0
    for part in _parts(train_x, columns):
        total = total + part.sum(0, dtype=np.float64)
        square = square + np.square(part, dtype=np.float64).sum(0)
    mean = total / n
    deviation = np.sqrt(np.maximum(square / n - mean**2, 0))
    deviation[deviation <= _FLAT] = 1.0
    mean_D, scale_D = (bench.tensor(v.astype(np.float32)) for v in (mean, 1 / deviation))
    about = "per feature to mean 0 and deviation 1 on the training features"
    axes_DK: Tensor | None = None
    # Of fewer pictures than directions, all that they span: nothing is lost.
    if count > 0 and min(count, n) < len(mean):
        rows = np.unique(np.linspace(0, n - 1, min(n, max(_SAMPLE, 4 * count))).astype(np.int64))
        sample = bench.tensor(np.asarray(train_x[rows, columns], np.float32))
        axes_DK = leading_directions((sample - mean_D) * scale_D, count)
        about += f", then the first {axes_DK.shape[1]} principal directions of {len(rows)} of them"
    parts = []
    for source in (train_x, test_x):
        for part in _parts(source, columns):
            z = (bench.tensor(part) - mean_D) * scale_D
            parts.append((z if axes_DK is None else z @ axes_DK).cpu().numpy())
    return np.concatenate(parts), {"normalisation": about}


def _parts(x: NDArray[Any], columns: slice) -> Iterator[NDArray[np.float32]]:
    """Some pictures at a time."""
    for start in range(0, len(x), _CHUNK):
        yield np.asarray(x[start : start + _CHUNK, columns], np.float32)
