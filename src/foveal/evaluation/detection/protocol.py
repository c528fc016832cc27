"""The protocol ``detection``: average precision beside random initialisation, with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.data.boxes import Boxes, CocoSource
from foveal.errors import FovealError
from foveal.evaluation.baselines import BN_PICTURES
from foveal.evaluation.bench import NAMED
from foveal.evaluation.compare import beside
from foveal.evaluation.dense.protocol import name_of
from foveal.evaluation.detection.bench import DetectionBench
from foveal.evaluation.detection.detector import maps_of
from foveal.evaluation.features import check_unchanged, weights_digest
from foveal.evaluation.result import Result
from foveal.metrics.bootstrap import LEVEL, RESAMPLES
from foveal.metrics.detection import (
    Form,
    Found,
    Ranking,
    class_aps,
    coco_scores,
    mean_ap,
    pycocotools,
    resampled_mean_ap,
    voc_rankings,
)

_VOC: dict[str, Form] = {"ap50_envelope": "envelope", "ap50_eleven_point": "eleven_point"}
_MEANING = {
    "ap50_envelope": "VOC from 2010: area under the precision envelope, overlap above .5",
    "ap50_eleven_point": "VOC07: mean precision at 11 recalls, overlap above .5",
    "ap": "COCO: 101 recalls, mean over overlaps .50 to .95 (pycocotools)",
    "ap50": "COCO: 101 recalls, overlap .50 or more (pycocotools)",
    "ap75": "COCO: 101 recalls, overlap .75 or more (pycocotools)",
    "ap_small": "as ap, objects below 32 x 32 pixels",
    "ap_medium": "as ap, objects of 32 x 32 to 96 x 96 pixels",
    "ap_large": "as ap, objects above 96 x 96 pixels",
}
_EXAMPLES, _BOXES = 6, 5  # pictures, and boxes of each
_COCO_RESAMPLES = 400  # ten overlaps, four ranges of size and many detections each


@dataclass(frozen=True)
class _Scored:
    """What one network reached: by metric the value, on resamples, and of every class."""

    value: dict[str, float]
    drawn: dict[str, NDArray[np.float64]]
    classes: NDArray[np.float64]


def detection(bench: DetectionBench, *, model: str) -> list[Result]:
    """A detector on the trained network and one on random initialisation.

    What is new in both is drawn alike, trained on the same pictures in the same order and tested on
    the same pictures.

    Raises:
        FovealError: No object to learn from or to find, no test picture that can be read, or the
            package that COCO's layout needs is missing.
    """
    before = weights_digest(bench.encoder)
    networks = {"trained": bench.encoder, "random_init": bench.random_encoder}
    truth = bench.truth  # before anything is computed: it may be empty
    if isinstance(bench.test, CocoSource):
        pycocotools()  # so may the package be missing
    found, notes = {}, {}
    for which, network in networks.items():
        found[which], notes[which] = bench.found(network)
    check_unchanged(bench.encoder, before)
    read = [i for i in range(len(truth)) if all(some[i] is not None for some in found.values())]
    if not read:
        raise FovealError(f"none of the pictures of {bench.test.root} could be read")
    objects = [truth[i] for i in read]
    scored = {
        which: _scored(bench, objects, [f for f in (some[i] for i in read) if f is not None])
        for which, some in found.items()
    }
    about = _configuration(bench, model, notes)
    about["chosen"] = {
        which: {
            "last_loss": notes[which]["last_loss"],
            "ap_per_class": [None if np.isnan(x) else float(x) for x in s.classes],
            "examples": _examples(bench, read, found[which]) if which == "trained" else [],
        }
        for which, s in scored.items()
    }
    name = name_of("detection", bench.settings.finetune)
    return [
        beside(
            name,
            metric,
            {which: s.value[metric] for which, s in scored.items()},
            {which: s.drawn[metric] for which, s in scored.items()},
            len(read),
            {**about, "average_precision": _MEANING[metric]},
        )
        for metric in scored["trained"].value
    ]


def _scored(bench: DetectionBench, truth: list[Boxes], found: list[Found]) -> _Scored:
    classes = len(bench.train.things)
    if isinstance(bench.test, CocoSource):
        scores = coco_scores(truth, found, classes)
        # There may be no small, medium or large object.
        value = {m: x for m, x in scores.values.items() if m in _MEANING and not np.isnan(x)}
        drawn = {m: _drawn(bench, scores.rankings[m], "coco", _COCO_RESAMPLES) for m in value}
        overlaps = class_aps(scores.rankings["ap"], "coco").reshape(-1, classes)
        return _Scored(value, drawn, overlaps.mean(0))
    rankings = voc_rankings(truth, found, classes)
    value = {metric: mean_ap(rankings, form) for metric, form in _VOC.items()}
    drawn = {metric: _drawn(bench, rankings, form, RESAMPLES) for metric, form in _VOC.items()}
    return _Scored(value, drawn, class_aps(rankings, "envelope"))


def _examples(
    bench: DetectionBench, read: list[int], found: list[Found | None]
) -> list[dict[str, Any]]:
    """The surest boxes of some test pictures, spread evenly over them, for the report to draw."""
    rows = [read[k] for k in np.unique(np.linspace(0, len(read) - 1, _EXAMPLES).astype(int))]
    examples = []
    for i in rows:
        some = found[i]
        assert some is not None
        best = np.argsort(-some.score, kind="stable")[:_BOXES]
        boxes = [
            [*(round(float(x), 1) for x in some.corners[k]), round(float(some.score[k]), 3),
             bench.train.things[some.label[k]]]
            for k in best
        ]  # fmt: skip
        examples.append({"file": str(bench.test.paths[i]), "boxes": boxes})
    return examples


def _drawn(
    bench: DetectionBench, rankings: list[Ranking], form: Form, resamples: int
) -> NDArray[np.float64]:
    return resampled_mean_ap(rankings, form, seed=bench.seed, resamples=resamples)


def _configuration(bench: DetectionBench, model: str, notes: dict[str, Any]) -> dict[str, Any]:
    e, s = bench.encoder, bench.settings
    ends = maps_of(e, s)
    head = notes["trained"]["head"]
    unread = {part: notes["trained"][part] for part in ("train", "test")}
    frozen = "frozen, eval (batch norms use their running statistics)"
    if s.form == "c4" and head == "the last stage":
        frozen += f" up to {ends[0].name}; what follows is trained"
    norms = "keep statistics and scales" if s.norm == "frozen" else "are trained"
    return {
        "model": model,
        "weights": weights_digest(e),
        "layer": ", ".join(end.name for end in ends),
        "pooling": f"regions of {s.cells} x {s.cells} cells, bilinear",
        "dim": ends[-1].channels,
        "mode": f"trained; batch norms {norms}" if s.finetune else frozen,
        "view": {"crop": "none", "size": bench.size, "sizes": list(s.train_sizes),
                 "interpolation": "bilinear", "channels": e.channels},
        "augmented_passes": "mirrored at random",
        "detector": f"Faster R-CNN, {s.form}; head: {head}",
        "matching": "difficult objects and crowds count neither way",
        "training": s.model_dump(mode="json"),
        "steps": bench.steps,
        "classes": len(bench.train.things),
        "class_names": bench.train.things,
        "seed": bench.seed,
        "data": {
            name: {"name": source.root, "n": n, "fingerprint": source.fingerprint()}
            for name, source, n in (("train", bench.train, len(bench.rows)),
                                    ("test", bench.test, len(bench.test)))
        },
        "unreadable": {**{part: len(names) for part, names in unread.items()},
                       "files": [n for names in unread.values() for n in names][:NAMED]},
        "bootstrap": {"resamples": _COCO_RESAMPLES if isinstance(bench.test, CocoSource)
                      else RESAMPLES, "level": LEVEL, "kind": "percentile",
                      "over": "pictures, moved so that the mean is the value"},
        "random_init": {"seed": bench.init_seed, "bn_pictures": min(BN_PICTURES, len(bench.train))},
    }  # fmt: skip
