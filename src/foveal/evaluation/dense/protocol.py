"""The protocols ``segmentation``, ``depth``, ``normals``: scores, baselines and intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.evaluation.baselines import BN_PICTURES
from foveal.evaluation.bench import NAMED
from foveal.evaluation.compare import beside
from foveal.evaluation.dense.bench import DenseBench
from foveal.evaluation.features import check_unchanged, weights_digest
from foveal.evaluation.result import Result
from foveal.metrics.bootstrap import LEVEL, RESAMPLES, resampled_sums

TASKS = ("segmentation", "depth", "normals")


def dense(bench: DenseBench, *, model: str) -> list[Result]:
    """A task on the trained network, on random initialisation and by the trivial prediction.

    The same head from the same start, the same schedule and the same test pictures for all.
    """
    before = weights_digest(bench.encoder)
    task = bench.task
    (trained, unread), (untrained, _) = bench.sums(bench.encoder), bench.sums(bench.random_encoder)
    check_unchanged(bench.encoder, before)
    every = {
        "trained": trained,
        "random_init": untrained,
        task.constant_name: bench.constant_sums(),
    }
    read = ~(np.isnan(trained) | np.isnan(untrained)).any(1)
    sums = {which: found[read] for which, found in every.items()}
    drawn = {
        which: task.scores(resampled_sums(found, seed=bench.seed)) for which, found in sums.items()
    }
    whole = {which: task.scores(found.sum(0)) for which, found in sums.items()}
    about = {**_configuration(bench, model), "unreadable": _unreadable(unread)}
    if "iou" in whole["trained"]:
        about["chosen"] = {
            which: {"iou": _by_class(bench, found["iou"])} for which, found in whole.items()
        }
    return [
        beside(
            name_of(bench.kind, bench.settings.finetune),
            metric.name,
            {which: float(found[metric.name]) for which, found in whole.items()},
            {which: found[metric.name] for which, found in drawn.items()},
            int(read.sum()),
            {**about, "unit": metric.unit, "better": "higher" if metric.higher else "lower"},
        )
        for metric in task.metrics
    ]


def name_of(kind: str, finetune: bool) -> str:
    """What results and their file are called."""
    return f"{kind}-finetune" if finetune else kind


def _unreadable(unread: dict[str, list[str]]) -> dict[str, Any]:
    files = [*unread["train"], *unread["test"]]
    return {"train": len(unread["train"]), "test": len(unread["test"]), "files": files[:NAMED]}


def _by_class(bench: DenseBench, iou: NDArray[np.float64]) -> dict[str, float | None]:
    names = ["background", *bench.train.things]
    return {name: None if np.isnan(x) else float(x) for name, x in zip(names, iou, strict=True)}


def _configuration(bench: DenseBench, model: str) -> dict[str, Any]:
    e, s = bench.encoder, bench.settings
    return {
        "model": model,
        "weights": weights_digest(e),
        "layer": bench.end.name,
        "pooling": "none",
        "dim": bench.end.channels,
        "cells": bench.cells,
        "mode": "trained; batch norms keep their statistics" if s.finetune
        else "frozen, eval (batch norms use their running statistics)",
        "view": {"crop": "whole", "size": bench.size, "interpolation": "bicubic",
                 "channels": e.channels},
        "augmented_passes": "every second epoch mirrored",
        "measured_at": "the picture's own size, all valid pixels of all pictures together",
        "head": f"two dilated 3x3 convolutions x {s.width}, 1x1, bilinear",
        "training": s.model_dump(mode="json"),
        **bench.task.about,
        "seed": bench.seed,
        "data": {
            name: {"name": source.root, "n": len(source), "fingerprint": source.fingerprint()}
            for name, source in (("train", bench.train), ("test", bench.test))
        },
        "bootstrap": {"resamples": RESAMPLES, "level": LEVEL, "kind": "percentile",
                      "over": "pictures; each figure from the resample's sums"},
        "random_init": {"seed": bench.init_seed, "bn_pictures": min(BN_PICTURES, len(bench.train))},
    }  # fmt: skip
