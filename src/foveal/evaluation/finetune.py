"""Full fine-tuning, few labels, and transfer after some frozen layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.core.files import write_text
from foveal.data.labels import draw_few, names_text, only_labels_of, rows_of_names
from foveal.errors import FovealError
from foveal.evaluation.arms import labels_of, linear_ranks, rows_digest, tuned
from foveal.evaluation.bench import Bench
from foveal.evaluation.compare import compared
from foveal.evaluation.ranked import accuracies
from foveal.evaluation.result import Result
from foveal.recipe import Labels, nearest


def finetune(bench: Bench) -> list[Result]:
    """All layers (or those a recipe names) on all labels of the training split.

    Recipes are in ``foveal.evaluation.tuning``. Baselines: the same network from its random
    initialisation with the same schedule, where every layer has the full learning rate (a lower
    one for early layers makes sense only for layers that know something); and a linear probe of
    raw pixels, since pixels have no layers to tune. Pictures that may hold several classes get a
    logistic loss a class and mean average precision.

    Source: Caron et al., DeeperCluster, ICCV 2019 (fine-tuning on ImageNet from the pretext's
    weights); Krähenbühl et al., ICLR 2016, and Caron et al., DeepCluster, ECCV 2018 (VOC).
    """
    return tuned(bench, "finetune", bench.trained.train.rows, bench.tuning, {"labels": "all"})


def retrain_after(bench: Bench) -> list[Result]:
    """Layers up to an end point frozen, all after it anew, for one end point after another.

    Source: Noroozi and Favaro, Jigsaw, ECCV 2016, section 4.1 (ImageNet with locked layers).
    """
    return _after(bench, "retrain", anew=True)


def finetune_after(bench: Bench) -> list[Result]:
    """Layers up to an end point frozen, all after it trained on, for one end point after another.

    Source: Pathak et al., "Learning features by watching objects move", CVPR 2017, who do it for
    detection.
    """
    return _after(bench, "finetune", anew=False)


def _after(bench: Bench, what: str, *, anew: bool) -> list[Result]:
    ends = [end.name for end in bench.encoder.ends]
    chosen = list(bench.tuning.after) or ends
    unknown = [name for name in chosen if name not in ends]
    if unknown:
        raise FovealError(
            f"the network has no end point '{unknown[0]}'", hint=nearest(unknown[0], ends)
        )
    results = []
    for name in chosen:
        how = bench.tuning.model_copy(update={"freeze": name, "fresh": name if anew else None})
        about = {"labels": "all", "frozen_up_to": name, "the_rest": "anew" if anew else "kept"}
        results += tuned(bench, f"{what}-after-{name}", bench.trained.train.rows, how, about)
    return results


def fewlabels(bench: Bench) -> list[Result]:
    """A linear probe of frozen features, and fine-tuning, on some of the labels.

    Every subset is drawn of each class by the seed, smaller ones part of larger ones, and its
    names are kept in ``RUN/results``; or it is the list of names the user gives (SimCLR's 1 %
    and 10 % of ImageNet, PIRL's lists). The whole test split is measured on.

    Source: Zhai et al., S4L, ICCV 2019 (13 and 128 a class); Chen et al., SimCLR, ICML 2020,
    section 6; Misra and van der Maaten, PIRL, CVPR 2020; Gidaris et al., RotNet, ICLR 2018.
    """
    results = []
    for labels in bench.labels:
        name, rows = labels_name(labels), _subset(bench, labels)
        digest = rows_digest(rows)
        counts = np.bincount(labels_of(bench.train)[rows], minlength=bench.classes)
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
        results += tuned(bench, f"fewlabels-{name}-finetune", rows, bench.tuning, about)
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
        ranks, chosen[which] = linear_ranks(bench, split, rows, which == "pixels")
        values[which] = accuracies(ranks, bench.classes)
    return compared(bench, name, values, {**about, "chosen": chosen})
