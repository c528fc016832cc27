"""One protocol of fine-tuning: the network, its rival from a random start, and raw pixels.

Every training is kept by all that shapes it, so an interrupted evaluation goes on with the next.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.backbones.encoder import Encoder
from foveal.backbones.sobel_fold import has_sobel
from foveal.data.boxes import MarkedSource
from foveal.data.loader import Table
from foveal.data.sources import Source
from foveal.errors import FovealError
from foveal.evaluation.bench import Bench, Split
from foveal.evaluation.compare import beside, compared
from foveal.evaluation.features import Features, check_unchanged, weights_digest
from foveal.evaluation.linear import linear, linear_unchosen
from foveal.evaluation.ranked import accuracies, kept_ranks, ranks_of
from foveal.evaluation.result import Result
from foveal.evaluation.svm import svm_scores
from foveal.evaluation.training import MARKS, scores_of, train
from foveal.evaluation.tuned import tuned_copy
from foveal.evaluation.tuning import Tuning
from foveal.metrics.mean_ap import ClassForm, class_aps, resampled_mean_ap

_FORMS: tuple[ClassForm, ...] = ("raw", "eleven_point")
_AP = {
    "raw": "raw: sum of precision times step of recall (Krähenbühl et al., DeepCluster)",
    "eleven_point": "largest precision at recalls of 0, 0.1, ..., 1 (VOC 2007)",
}


def tuned(
    bench: Bench, name: str, rows: NDArray[np.int64], tuning: Tuning, about: dict[str, Any]
) -> list[Result]:
    """Fine-tuning with some labelled pictures, from the weights and from a random start.

    Args:
        bench: What is measured.
        name: Of the protocol.
        rows: Rows of the training source.
        tuning: How. The random start does without ``layer_decay``, and with ``rival="all"`` it
            trains every layer it has, for the same steps.
        about: Joins the configuration.
    """
    start = tuning.model_copy(update={"layer_decay": 1.0})
    if tuning.rival == "all":
        start = start.model_copy(
            update={"freeze": None, "reads": None, "on_top": "linear", "fresh": None,
                    "batchnorm": "train"}
        )  # fmt: skip
    scores, chosen = {}, {}
    for which, words, encoder, drawn, how in (
        ("trained", "the trained weights", bench.encoder, bench.random_encoder, tuning),
        ("random_init", "a random start", bench.random_encoder, None, start),
    ):
        scores[which], found = _arm(bench, encoder, drawn, rows, how, f"{name}: from {words}")
        chosen[which] = {**how.model_dump(mode="json"), **found}
    about = {
        **about,
        "layer": "all",
        "mode": "trained: a copy of the network",
        "test_views": f"{tuning.crops} training views, logits summed" if tuning.crops else "one",
    }
    if bench.several:
        return _several(bench, name, rows, scores, {**about, "chosen": chosen})
    values = {
        which: accuracies(ranks_of(s, bench.trained.test.labels), bench.classes)
        for which, s in scores.items()
    }
    ranks, found = linear_ranks(bench, bench.pixels, rows, True)
    chosen["pixels"] = {"probe": "linear (L-BFGS) on raw pixels with the same labels", **found}
    values["pixels"] = accuracies(ranks, bench.classes)
    return compared(bench, name, values, {**about, "chosen": chosen})


def _several(
    bench: Bench,
    name: str,
    rows: NDArray[np.int64],
    scores: dict[str, NDArray[np.float32]],
    about: dict[str, Any],
) -> list[Result]:
    """Mean average precision of pictures that may hold several classes."""
    scores["pixels"], found = svm_scores(bench, part_of(bench.pixels, rows), True)
    about["chosen"]["pixels"] = {"probe": "SVMs on raw pixels with the same labels", **found}
    marks = bench.marks(bench.test, bench.trained.test)
    results = []
    for form in _FORMS:
        value = {w: float(np.nanmean(class_aps(s, marks, form=form))) for w, s in scores.items()}
        drawn = {
            w: resampled_mean_ap(s, marks, form=form, seed=bench.seed) for w, s in scores.items()
        }
        configuration = {**bench.configuration(), **about, "ap": _AP[form],
                         "class_names": bench.train.classes}  # fmt: skip
        results.append(beside(name, f"map_{form}", value, drawn, len(marks), configuration))
    return results


def linear_ranks(
    bench: Bench, split: Split, rows: NDArray[np.int64], pixels: bool
) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Ranks of the linear probe that learns from some rows."""
    alone = np.bincount(labels_of(bench.train)[rows]).max() < 2
    name, probe = ("linear, l2 1", linear_unchosen) if alone else ("linear", linear)
    return kept_ranks(bench, name, probe, part_of(split, rows), pixels)


def labels_of(source: Source) -> NDArray[np.int64]:
    """The labels of a source that has them."""
    if source.labels is None:
        raise FovealError(f"{source.root} holds no labels", hint="class folders: DATA/CLASS/*.jpg")
    return source.labels


def rows_digest(rows: NDArray[np.int64]) -> str:
    """A hash of rows."""
    return hashlib.blake2b(np.ascontiguousarray(rows).tobytes(), digest_size=16).hexdigest()


def part_of(split: Split, rows: NDArray[np.int64]) -> Split:
    """The same features, only some rows of the source to learn from."""
    known = split.train
    if len(rows) == len(known.rows):
        return split
    at = np.searchsorted(known.rows, rows)
    key = f"{known.key} of {rows_digest(rows)}"
    part = Features(np.asarray(known.x)[at], known.labels[at], known.rows[at], known.bad, key)
    return Split(part, split.test)


def _arm(
    bench: Bench,
    encoder: Encoder,
    drawn: Encoder | None,
    rows: NDArray[np.int64],
    tuning: Tuning,
    words: str,
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Logits of the test pictures [Q, K] after one training."""
    test = bench.trained.test
    digest = weights_digest(encoder)
    view = bench.view(encoder.size)
    shaped_by = {
        "finetune": 3,
        "network": encoder.describe(),
        "weights": digest,
        "drawn": None if tuning.fresh is None or drawn is None else weights_digest(drawn),
        "tuning": tuning.model_dump(mode="json"),
        "view": view.model_dump(mode="json"),
        "train": bench.train.fingerprint(),
        "test": bench.test.fingerprint(),
        "channels": bench.train.channels,
        "rows": [rows_digest(rows), rows_digest(test.rows)],
        "seed": bench.seed,
        "device": bench.device.type,
    }

    def make(path: Path) -> dict[str, Any]:
        with bench.screen() as screen:
            screen.say(f"{words}, {len(rows):,} pictures")
            net, groups = tuned_copy(
                encoder, bench.classes, tuning, drawn=drawn, seed=bench.seed
            )  # fmt: skip
            table = _table(bench.train, rows)
            about = train(net, groups, table, tuning, seed=bench.seed, screen=screen)
        scores = scores_of(net, _table(bench.test, test.rows), tuning, view, seed=bench.seed)
        np.save(path, scores)
        check_unchanged(encoder, digest)
        return {**about, "folded": tuning.fold_sobel and has_sobel(encoder)}

    found, about, _ = bench.store.get(shaped_by, make)
    return np.asarray(found), about


def _table(source: Source, rows: NDArray[np.int64]) -> Table:
    if isinstance(source, MarkedSource):
        nothing = np.full(len(rows), -1, np.int64)
        return Table(source, rows, nothing, targets={MARKS: source.marks[rows]})
    return Table(source, rows, labels_of(source)[rows])
