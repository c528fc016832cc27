"""Corrupted test pictures: how many more errors, and whether the classifier knows of them.

Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and
perturbations", ICLR 2019 (mCE); Guo et al., "On calibration of modern neural networks", ICML 2017
(ECE, 15 bins).

Legend: Q test pictures, S sets (the clean one first), C corruptions, L severities, R resamples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from foveal.backbones.encoder import Encoder
from foveal.core.files import read_json
from foveal.data.corrupted import check_corrupted, open_corrupted
from foveal.data.sources import Source
from foveal.data.splits import load_splits
from foveal.errors import FovealError
from foveal.evaluation.asked import Asked
from foveal.evaluation.baselines import pixels_of_view
from foveal.evaluation.bench import Bench
from foveal.evaluation.compare import WHICH, beside
from foveal.evaluation.features import Features, compute_threads, encoder_features, view_features
from foveal.evaluation.linear import linear
from foveal.evaluation.probe import Problem
from foveal.evaluation.result import Result
from foveal.metrics.bootstrap import resampled_sums
from foveal.metrics.robustness import calibration_gaps, corruption_errors

_EXAMPLE = '{"clean": 0.43, "gaussian_noise": [0.6, 0.7, 0.8, 0.9, 0.95], ...}'


class CorruptionSettings(BaseModel):
    """What errors are put in relation to, and how confidence is binned."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: str | None = Field(
        None,
        description="a JSON file of the reference's errors by corruption and severity, and "
        "'clean' (ImageNet-C: AlexNet's); None: the untrained network's",
    )
    bins: int = Field(15, gt=0, description="of confidence, for ECE")


def corruptions(asked: Asked, settings: CorruptionSettings) -> list[Result]:
    """Errors and calibration of the linear probe on clean pictures and corrupted copies.

    The probe is that of ``linear``, learned on clean training pictures; nothing is fitted to
    corrupted ones. A picture that cannot be read in some set is left out of all.
    """
    check_corrupted(asked.data)
    train, clean = load_splits(asked.data, seed=asked.seed, channels=asked.encoder.channels)
    kinds = open_corrupted(asked.data, clean)
    bench = Bench(
        asked.encoder, train, clean, asked.store, seed=asked.seed, init_seed=asked.init_seed,
        model=asked.model,
    )  # fmt: skip
    levels = len(next(iter(kinds.values())))
    reference = None if settings.reference is None else _reference(settings, kinds, levels)
    sets = [clean, *(source for sources in kinds.values() for source in sources)]
    answers, chosen = {}, {}
    for which, encoder in zip(WHICH, (bench.encoder, bench.random_encoder, None), strict=True):
        answers[which], chosen[which] = _answers(bench, which, encoder, sets)
    about = {
        **bench.configuration(),
        "corruptions": list(kinds),
        "severities": levels,
        "reference": settings.reference or "the untrained network",
        "ece_bins": settings.bins,
        "chosen": chosen,
    }
    shape = (len(kinds), levels)
    return list(_figures(answers, shape, reference, settings.bins, about, asked.seed))


def _figures(
    answers: Mapping[str, NDArray[np.float32]],
    shape: tuple[int, int],
    reference: tuple[NDArray[np.float64], float] | None,
    bins: int,
    about: dict[str, Any],
    seed: int,
) -> Iterator[Result]:
    """Results from right (1 or 0) and confidence of every set and picture, [2, S, Q] a network.

    The first row of everything is the figure of all pictures, the others those of the resamples.
    """
    n = answers["trained"].shape[2]
    errors, ece = {}, {}
    for which, (right_SQ, confidence_SQ) in answers.items():
        errors[which] = _with_all(1 - right_SQ.T.astype(np.float64), seed) / n
        gaps = [calibration_gaps(c, r, bins) for c, r in zip(confidence_SQ, right_SQ, strict=True)]
        corrupted = np.sum(gaps[1:], axis=0) / (len(gaps) - 1)
        ece[which] = {
            name: _around(np.abs(_with_all(g, seed) / n).sum(1))
            for name, g in (("clean", gaps[0]), ("corrupted", corrupted))
        }

    def result(metric: str, by: Mapping[str, NDArray[np.float64]], unit: str = "share") -> Result:
        value = {which: float(v[0]) for which, v in by.items()}
        resampled = {which: v[1:] for which, v in by.items()}
        more = {**about, "better": "lower", "unit": unit}
        return beside("corruptions", metric, value, resampled, n, more)

    table = {
        which: e[:, 1:].reshape(len(e), *shape) for which, e in errors.items()
    }  # [1 + R, C, L]
    beneath = table["random_init"] if reference is None else np.broadcast_to(
        reference[0], table["trained"].shape
    )  # fmt: skip
    yield result("mce", {w: corruption_errors(t, beneath).mean(1) for w, t in table.items()}, "")
    if reference is not None:
        yield result(
            "relative_mce",
            {
                w: corruption_errors(t - errors[w][:, :1, None], beneath - reference[1]).mean(1)
                for w, t in table.items()
            },
            "",
        )
    yield result("error clean", {w: e[:, 0] for w, e in errors.items()})
    yield result("error corrupted", {w: e[:, 1:].mean(1) for w, e in errors.items()})
    for i, name in enumerate(about["corruptions"]):
        yield result(f"error {name}", {w: t[:, i].mean(1) for w, t in table.items()})
    for name in ("clean", "corrupted"):
        yield result(f"ece {name}", {w: e[name] for w, e in ece.items()})


def _around(figures_R: NDArray[np.float64]) -> NDArray[np.float64]:
    """Resamples moved until their mean is the figure of all pictures, the first.

    A bin's gap cannot be negative, so that every resample's noise lifts it.
    """
    moved: NDArray[np.float64] = figures_R + (figures_R[0] - figures_R[1:].mean())
    moved[0] = figures_R[0]
    return moved


def _with_all(values_NF: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Sums over all pictures and over the resamples, [1 + R, F]."""
    return np.concatenate([values_NF.sum(0)[None], resampled_sums(values_NF, seed=seed)])


def _answers(
    bench: Bench, which: str, encoder: Encoder | None, sets: list[Source]
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Right (1 or 0) and confidence of every set and picture, [2, S, Q], kept; None: raw pixels."""
    train = bench.labelled(_features(bench, encoder, bench.train))
    found = [bench.labelled(_features(bench, encoder, source)) for source in sets]
    rows = found[0].rows
    for f in found[1:]:
        rows = np.intersect1d(rows, f.rows)
    found = [_only(f, rows) for f in found]
    labels = found[0].labels

    def make(path: Path) -> dict[str, Any]:
        problem = Problem(
            bench.tensor(train.x), bench.tensor(train.labels),
            bench.tensor(np.concatenate([f.x for f in found])), bench.classes, seed=bench.seed,
            pixels=encoder is None,
        )  # fmt: skip
        with compute_threads(bench.device), torch.no_grad():
            scores, about = linear(problem)
            confidence, answer = scores.softmax(1).max(1)
        right = answer.cpu().numpy().reshape(len(sets), -1) == labels
        kept = confidence.cpu().numpy().reshape(right.shape)
        np.save(path, np.stack([right, np.minimum(kept, 1)]).astype(np.float32))
        return about

    shaped_by = {"corruptions": 1, "which": which, "train": train.key, "seed": bench.seed,
                 "sets": [f.key for f in found]}  # fmt: skip
    answers, about, _ = bench.store.get(shaped_by, make)
    return np.asarray(answers), about


def _features(bench: Bench, encoder: Encoder | None, source: Source) -> Features:
    if encoder is not None:
        return encoder_features(bench.store, encoder, source, bench.view(encoder.size))
    with compute_threads(torch.device("cpu")) as threads:
        return view_features(
            bench.store, pixels_of_view, source, bench.view(bench.pixel_size), {"pixels": 1},
            threads=threads,
        )  # fmt: skip


def _only(found: Features, rows: NDArray[np.int64]) -> Features:
    """Some rows of the source, all of them there."""
    at = np.searchsorted(found.rows, rows)
    return replace(found, x=np.asarray(found.x)[at], labels=found.labels[at], rows=rows)


def _reference(
    settings: CorruptionSettings, kinds: Mapping[str, Any], levels: int
) -> tuple[NDArray[np.float64], float]:
    """The reference's errors [C, L] and its error on clean pictures."""
    path = Path(str(settings.reference))
    if not path.is_file():
        raise FovealError(f"there is no {path}", hint=f"a JSON file such as {_EXAMPLE}")
    values = read_json(path)
    lacking = [name for name in (*kinds, "clean") if name not in values]
    if lacking:
        raise FovealError(f"{path} says nothing of {', '.join(lacking)}", hint=_EXAMPLE)
    wrong = [name for name in kinds if np.shape(values[name]) != (levels,)]
    if wrong:
        raise FovealError(
            f"{path}: {wrong[0]} needs {levels} errors, one a severity", hint=_EXAMPLE
        )
    return np.array([values[name] for name in kinds], np.float64), float(values["clean"])
