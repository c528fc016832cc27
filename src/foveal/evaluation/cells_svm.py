"""Exemplar-CNN's classification: every map pooled to a few cells, linear SVMs, several draws.

Dosovitskiy et al., "Discriminative unsupervised feature learning with exemplar convolutional
neural networks", TPAMI 2016, section 4: the maps of all layers, max-pooled to four quadrants
(STL-10, CIFAR-10) or to a pyramid of 21 cells (Caltech), joined; one-vs-all linear SVMs whose cost
is chosen by cross-validation.

Legend: N training pictures of a draw, Q test pictures, D features, C classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from foveal.backbones.encoder import Encoder
from foveal.core import rng
from foveal.data.labels import draw_few, only_labels_of
from foveal.data.stl10 import StlSource
from foveal.errors import FovealError
from foveal.evaluation.bench import Bench, Split
from foveal.evaluation.compare import WHICH, compared
from foveal.evaluation.features import compute_threads, read_features
from foveal.evaluation.finetune import labels_name
from foveal.evaluation.result import Result
from foveal.evaluation.squared_hinge import SquaredHinge
from foveal.evaluation.svm import folds_of
from foveal.recipe import Labels

DRAWS = 10
FOLDS = 3
COSTS = tuple(10.0**e for e in range(-3, 3))
QUADRANTS, PYRAMID = (2,), (1, 2, 4)  # cells along a side
_TINY = 1e-5


def svm_quadrants(bench: Bench) -> list[Result]:
    """Four cells a map; top-1, the mean over the official folds of STL-10 or ten draws."""
    return _cells(bench, "svm_quadrants", QUADRANTS, "top1")


def svm_pyramid(bench: Bench) -> list[Result]:
    """21 cells a map; the mean over classes, since Caltech's classes differ in size."""
    return _cells(bench, "svm_pyramid", PYRAMID, "mean_per_class")


def cells_of(encoder: Encoder, images: Tensor, sides: tuple[int, ...]) -> Tensor:
    """Every map max-pooled to ``side`` x ``side`` cells for every side, joined, [B, D]."""
    names = [end.name for end in encoder.ends if end.kind == "map"]
    found = encoder(images, names)
    return torch.cat(
        [F.adaptive_max_pool2d(found[n], side).flatten(1) for n in names for side in sides], 1
    )


def _cells(bench: Bench, name: str, sides: tuple[int, ...], metric: str) -> list[Result]:
    if not any(end.kind == "map" for end in bench.encoder.ends):
        raise FovealError(f"{name} pools maps, and the network has none",
                          hint="--protocol svm")  # fmt: skip
    labels = bench.trained.test.labels
    # Weights make the mean over pictures the mean over classes.
    counts = np.bincount(labels, minlength=bench.classes)[labels]
    present = len(np.unique(labels))
    weight = (
        len(labels) / (present * counts) if metric == "mean_per_class" else np.ones(len(labels))
    )
    splits = {
        "trained": _split(bench, bench.encoder, sides),
        "random_init": _split(bench, bench.random_encoder, sides),
        "pixels": bench.pixels,
    }
    results = []
    for words, draws in _draws(bench):
        values, chosen = {}, {}
        for which in WHICH:
            right = []
            costs = []
            for rows in draws:
                found, about = _right(bench, splits[which], rows)
                right.append(found)
                costs.append(about["cost"])
            figures = [float((r * weight).mean()) for r in right]
            values[which] = {f"{metric} {words}": np.mean(right, axis=0) * weight}
            chosen[which] = {"draws": figures, "std": float(np.std(figures)),
                             "cost_per_draw": costs}  # fmt: skip
        results += compared(bench, name, values, {
            "layer": "all maps",
            "pooling": f"max, {sum(side**2 for side in sides)} cells a map",
            "dim": splits["trained"].train.x.shape[1],
            "labels": words,
            "draws": len(draws),
            "per_draw": len(draws[0]),
            "costs": list(COSTS),
            "loss": "0.5 * (||w||^2 + b^2) + cost * sum of squared hinges, one against all",
            "normalisation": f"x / (||x|| + {_TINY:g})",
            "chosen_on": f"{FOLDS}-fold cross-validation of every draw; the middle cost where a "
            "class has one picture",
            "chosen": chosen,
        })  # fmt: skip
    return results


def _draws(bench: Bench) -> list[tuple[str, list[NDArray[np.int64]]]]:
    """By name, the rows of the training source of every draw."""
    usable = bench.trained.train.rows
    folds = bench.train.folds if isinstance(bench.train, StlSource) else []
    if folds:
        return [("folds", [np.intersect1d(fold, usable) for fold in folds])]
    known = only_labels_of(bench.train, usable)

    def some(labels: Labels, draw: int) -> NDArray[np.int64]:
        seed = rng.seed64(labels.seed, "draw", draw)
        return draw_few(known, per_class=labels.per_class, share=labels.share, seed=seed)

    found = []
    for labels in bench.labels:
        if labels.file is not None:
            raise FovealError(
                f"{labels.file} is one list of pictures, and {DRAWS} are drawn here",
                hint="--labels 400 (a class)",
            )
        found.append((labels_name(labels), [some(labels, draw) for draw in range(DRAWS)]))
    return found


def _split(bench: Bench, encoder: Encoder, sides: tuple[int, ...]) -> Split:
    view = bench.view(encoder.size)
    train, test = (
        read_features(
            bench.store, encoder, source, view, lambda x: cells_of(encoder, x, sides),
            {"layer": "all maps", "cells": list(sides)}, dtype="float16",
        )
        for source in (bench.train, bench.test)
    )  # fmt: skip
    return Split(bench.labelled(train), bench.labelled(test))


def _right(
    bench: Bench, split: Split, rows: NDArray[np.int64]
) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """1 for every test picture that the SVMs of one draw know, [Q], kept with the features."""

    def make(path: Path) -> dict[str, Any]:
        at = np.searchsorted(split.train.rows, rows)
        with compute_threads(bench.device), torch.no_grad():
            train_x, test_x = (
                _unit(bench.tensor(np.asarray(x, np.float32)))
                for x in (split.train.x[at], split.test.x)
            )
            labels = split.train.labels[at]
            cost = _best_cost(train_x, labels, bench.classes, bench.seed)
            predicted = _fit(train_x, labels, bench.classes, [cost], test_x)[0]
        np.save(path, (predicted == split.test.labels).astype(np.float64))
        return {"cost": cost}

    shaped_by = {
        "probe": "svm of cells",
        "version": 1,
        "train": split.train.key,
        "test": split.test.key,
        "rows": rows.tolist(),
        "seed": bench.seed,
    }
    found, about, _ = bench.store.get(shaped_by, make)
    return np.asarray(found), about


def _unit(x: Tensor) -> Tensor:
    found: Tensor = x / (x.norm(dim=1, keepdim=True) + _TINY)
    return found


def _fit(
    x_ND: Tensor, labels_N: NDArray[np.int64], classes: int, costs: list[float], test_QD: Tensor
) -> list[NDArray[np.int64]]:
    """Predicted classes [Q] for every cost."""
    sign = np.where(labels_N[:, None] == np.arange(classes), 1, -1).astype(np.int8)
    problem = SquaredHinge(x_ND, torch.from_numpy(sign), positive=1.0)
    return [p.scores(test_QD).argmax(1).cpu().numpy() for p in problem.path(costs)]


def _best_cost(x_ND: Tensor, labels_N: NDArray[np.int64], classes: int, seed: int) -> float:
    """The smallest of the costs with the best cross-validated accuracy."""
    if np.bincount(labels_N).max() < 2:
        return COSTS[len(COSTS) // 2]
    one_hot = (labels_N[:, None] == np.arange(classes)).astype(np.int8)
    fold_N = folds_of(one_hot, seed=seed)[:, 0]
    right = np.zeros(len(COSTS))
    for k in range(FOLDS):
        kept, held = np.flatnonzero(fold_N != k), np.flatnonzero(fold_N == k)
        if not len(held) or not len(kept):
            continue
        predicted = _fit(x_ND[kept], labels_N[kept], classes, list(COSTS), x_ND[held])
        right += [int((p == labels_N[held]).sum()) for p in predicted]
    return COSTS[int(right.argmax())]
