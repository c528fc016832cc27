"""Full fine-tuning: all layers trained with labels, beside the same schedule from a random start.

Few labels are the same with some of them; ``fewlabels`` adds a linear probe of frozen features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.backbones.encoder import Encoder
from foveal.core.files import write_text
from foveal.data.labels import draw_few, names_text, only_labels_of, rows_of_names
from foveal.data.loader import Table
from foveal.data.sources import Source
from foveal.errors import FovealError
from foveal.evaluation.bench import Bench, Split
from foveal.evaluation.compare import compared
from foveal.evaluation.features import Features, check_unchanged, weights_digest
from foveal.evaluation.linear import linear, linear_unchosen
from foveal.evaluation.ranked import accuracies, kept_ranks
from foveal.evaluation.result import Result
from foveal.evaluation.training import new_classifier, ranks_of, train_classifier
from foveal.evaluation.tuning import Tuning
from foveal.recipe import Labels

PIXELS = "linear probe (L-BFGS) on raw pixels with the same labels"


def finetune(bench: Bench) -> list[Result]:
    """All layers on all labels of the training split.

    Recipes are in ``foveal.evaluation.tuning``. Baselines: the same network from its random
    initialisation with the same schedule, where every layer has the full learning rate (a lower
    one for early layers makes sense only for layers that know something); and a linear probe of
    raw pixels, since pixels have no layers to tune.

    Source: Caron et al., DeeperCluster, ICCV 2019 (fine-tuning on ImageNet from the pretext's
    weights); Goyal et al., ICCV 2019, who call it a legacy task: it measures more than features.
    """
    return _tuned(bench, "finetune", bench.trained.train.rows, {"labels": "all"})


def fewlabels(bench: Bench) -> list[Result]:
    """A linear probe of frozen features, and all layers fine-tuned, on some of the labels.

    Every subset is drawn of each class by the seed, smaller ones part of larger ones, and its
    names are kept in ``RUN/results``; or it is the list of names the user gives (SimCLR's 1 %
    and 10 % of ImageNet, PIRL's lists). The whole test split is measured on.

    Source: Zhai et al., S4L, ICCV 2019 (13 and 128 a class); Chen et al., SimCLR, ICML 2020,
    section 6; Misra and van der Maaten, PIRL, CVPR 2020.
    """
    results = []
    for labels in bench.labels:
        name, rows = labels_name(labels), _subset(bench, labels)
        digest = _digest(rows)
        counts = np.bincount(_labels(bench.train)[rows], minlength=bench.classes)
        about = {
            "labels": name,
            "subset": {
                "n": len(rows),
                "per_class": [int(counts.min()), int(counts.max())],
                "digest": digest,
                "file": _write_names(bench, name, rows, digest),  # below the results' folder
            },
        }
        results += _frozen(bench, f"fewlabels-{name}-linear", rows, about)
        results += _tuned(bench, f"fewlabels-{name}-finetune", rows, about)
    return results


def labels_name(labels: Labels) -> str:
    """``1%``, ``13-a-class`` or a file's name."""
    if labels.share is not None:
        return f"{100 * labels.share:g}%"
    if labels.per_class is not None:
        return f"{labels.per_class}-a-class"
    return Path(labels.file or "").name


def parse_labels(texts: Sequence[str], seed: int) -> tuple[Labels, ...]:
    """``["0.01", "13", "1percent.txt"]``: a share, a number a class, a file of names.

    Raises:
        FovealError: A share above 1, a number below 1, or a file that is not there.
    """
    found = []
    for text in texts:
        try:
            value = float(text)
        except ValueError:
            if not Path(text).is_file():
                raise FovealError(
                    f"'{text}' is no number of labels and no file of names",
                    hint="--labels 0.01,0.1 (shares), 13 (a class) or names.txt",
                ) from None
            found.append(Labels(file=text))
            continue
        count = "." not in text and "e" not in text.lower()
        if not (value >= 1 if count else 0 < value <= 1):
            raise FovealError(
                f"{text} is neither a share of the labels nor a number of them a class",
                hint="--labels 0.01,0.1 (shares, with a point) or 13,128 (a class)",
            )
        found.append(
            Labels(per_class=int(text), seed=seed) if count else Labels(share=value, seed=seed)
        )
    return tuple(found)


def _subset(bench: Bench, labels: Labels) -> NDArray[np.int64]:
    """Rows of the training source: readable and labelled."""
    usable = bench.trained.train.rows
    if labels.file is None:
        known = only_labels_of(bench.train, usable)
        return draw_few(known, per_class=labels.per_class, share=labels.share, seed=labels.seed)
    rows = rows_of_names(bench.train, labels.file)
    lost = np.setdiff1d(rows, usable)
    if len(lost):
        raise FovealError(
            f"{labels.file} names {len(lost)} pictures that cannot be read or have no label, e.g. "
            f"{bench.train.name(int(lost[0]))}",
            hint="foveal scan names what is broken",
        )
    return rows


def _write_names(bench: Bench, name: str, rows: NDArray[np.int64], digest: str) -> str | None:
    """Keeps the names of a subset with the results."""
    if bench.results is None:
        return None
    path = bench.results / "labels" / f"{name}-{digest[:8]}.txt"
    write_text(path, names_text(bench.train, rows))
    return f"labels/{path.name}"


def _frozen(
    bench: Bench, name: str, rows: NDArray[np.int64], about: dict[str, Any]
) -> list[Result]:
    """The linear probe with only these labels."""
    values, chosen = {}, {}
    for which, split in (
        ("trained", bench.trained), ("random_init", bench.untrained), ("pixels", bench.pixels),
    ):  # fmt: skip
        ranks, chosen[which] = _linear(bench, split, rows, which == "pixels")
        values[which] = accuracies(ranks, bench.classes)
    return compared(bench, name, values, {**about, "chosen": chosen})


def _linear(
    bench: Bench, split: Split, rows: NDArray[np.int64], pixels: bool
) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Ranks of the linear probe that learns from some rows."""
    alone = np.bincount(_labels(bench.train)[rows]).max() < 2
    name, probe = ("linear, l2 1", linear_unchosen) if alone else ("linear", linear)
    return kept_ranks(bench, name, probe, _part(split, rows), pixels)


def _tuned(bench: Bench, name: str, rows: NDArray[np.int64], about: dict[str, Any]) -> list[Result]:
    """Fine-tuning with these labels, from the weights and from a random start."""
    tuning = bench.tuning
    start = tuning.model_copy(update={"layer_decay": 1.0})
    values, chosen = {}, {}
    for which, words, encoder, how in (
        ("trained", "the trained weights", bench.encoder, tuning),
        ("random_init", "a random start", bench.random_encoder, start),
    ):
        ranks, found = _arm(bench, encoder, rows, how, f"{name}: from {words}")
        chosen[which] = {**how.model_dump(mode="json"), **found}
        values[which] = accuracies(ranks, bench.classes)
    ranks, found = _linear(bench, bench.pixels, rows, True)
    chosen["pixels"] = {"probe": PIXELS, **found}
    values["pixels"] = accuracies(ranks, bench.classes)
    return compared(
        bench,
        name,
        values,
        {**about, "layer": "all", "mode": "trained: all layers, a copy", "chosen": chosen},
    )


def _arm(
    bench: Bench, encoder: Encoder, rows: NDArray[np.int64], tuning: Tuning, words: str
) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Ranks of one training, kept: an interrupted evaluation goes on with the next arm."""
    test = bench.trained.test
    digest = weights_digest(encoder)
    shaped_by = {
        "finetune": 2,
        "network": encoder.describe(),
        "weights": digest,
        "tuning": tuning.model_dump(mode="json"),
        "train": bench.train.fingerprint(),
        "test": bench.test.fingerprint(),
        "channels": bench.train.channels,
        "rows": [_digest(rows), _digest(test.rows)],
        "seed": bench.seed,
        "device": bench.device.type,
    }

    def make(path: Path) -> dict[str, Any]:
        with bench.screen() as screen:
            screen.say(f"{words}, {len(rows):,} pictures")
            net = new_classifier(encoder, bench.train.classes or [])
            about = train_classifier(
                net, _table(bench.train, rows), tuning, seed=bench.seed, screen=screen
            )
        np.save(path, ranks_of(net, _table(bench.test, test.rows)))
        check_unchanged(encoder, digest)
        return about

    found, about, _ = bench.store.get(shaped_by, make)
    return np.asarray(found), about


def _table(source: Source, rows: NDArray[np.int64]) -> Table:
    return Table(source, rows, _labels(source)[rows])


def _labels(source: Source) -> NDArray[np.int64]:
    if source.labels is None:
        raise FovealError(f"{source.root} holds no labels", hint="class folders: DATA/CLASS/*.jpg")
    return source.labels


def _part(split: Split, rows: NDArray[np.int64]) -> Split:
    """The same features, only some rows of the source to learn from."""
    train = split.train
    if len(rows) == len(train.rows):
        return split
    at = np.searchsorted(train.rows, rows)
    key = f"{train.key} of {_digest(rows)}"
    part = Features(np.asarray(train.x)[at], train.labels[at], train.rows[at], train.bad, key)
    return Split(part, split.test)


def _digest(rows: NDArray[np.int64]) -> str:
    return hashlib.blake2b(np.ascontiguousarray(rows).tobytes(), digest_size=16).hexdigest()
