"""Detection as PASCAL VOC and COCO measure it.

Both match what was found to the objects picture by picture; what differs is the rule
(``voc_rankings``, ``coco_rankings``) and how precision and recall become one number
(``average_precision``). Matching is kept apart from counting, so that resamples of the pictures
need no second match.

Legend: Q pictures, M objects and D detections of one, C classes, R resamples.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from foveal.data.boxes import Boxes
from foveal.errors import FovealError
from foveal.metrics.average_precision import average_precision
from foveal.metrics.bootstrap import resampled_counts
from foveal.metrics.weighted_ap import FORMS, weighted_aps

Form = Literal["eleven_point", "envelope", "coco"]
_RESAMPLES = 400  # of COCO's ten overlaps, four ranges of size and many detections
_AREAS = {"": "all", "_small": "small", "_medium": "medium", "_large": "large"}
_OVERLAPS = 10  # .50 to .95


@dataclass(frozen=True)
class Found:
    """What was found in one picture.

    Attributes:
        corners: As those of ``Boxes``, [D, 4].
        label: Number of the class, int64 [D].
        score: Higher is surer, [D].
    """

    corners: NDArray[np.float64]
    label: NDArray[np.int64]
    score: NDArray[np.float64]


@dataclass(frozen=True)
class Ranking:
    """One class at one overlap: the detections of all pictures that count, best first.

    Attributes:
        picture: Where each was found, int64 [D].
        right: Whether it is an object not found before, bool [D].
        possible: Objects to be found in every picture, int64 [Q].
    """

    picture: NDArray[np.int64]
    right: NDArray[np.bool_]
    possible: NDArray[np.int64]


def overlaps(box: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of one box [4] with others [M, 4], [M].

    Corners are continuous, so that a box over one pixel is 1 wide: VOC's "+ 1" on corners that
    count pixels, both ends inside.
    """
    low = np.maximum(boxes[:, :2], box[:2])
    high = np.minimum(boxes[:, 2:], box[2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) + np.prod(box[2:] - box[:2])
    found: NDArray[np.float64] = shared / np.maximum(area - shared, 1e-12)
    return found


def voc_rankings(
    truth: Sequence[Boxes], found: Sequence[Found], classes: int, *, overlap: float = 0.5
) -> list[Ranking]:
    """Matches as PASCAL VOC does (Everingham et al., IJCV 2010, section 4.2), one for each class.

    A detection belongs to the object of its class that it overlaps most. It is right above (not
    at) ``overlap``, for the first detection of an object; later ones are wrong. One that belongs
    to a difficult object counts neither way. Detections of equal score keep the order they are
    given in.

    Args:
        truth: Objects of every picture.
        found: Detections of every picture.
        classes: Their number.
        overlap: Intersection over union.

    Raises:
        FovealError: The two are of different pictures.
    """
    _same_pictures(truth, found)
    rankings = []
    for c in range(classes):
        objects = [t.corners[(t.label == c) & ~t.difficult] for t in truth]
        hard = [t.corners[(t.label == c) & t.difficult] for t in truth]
        taken = [np.zeros(len(some), bool) for some in objects]
        picture, boxes = _best_first(found, c)
        right, counted = np.zeros(len(picture), bool), np.ones(len(picture), bool)
        for k, (i, box) in enumerate(zip(picture, boxes, strict=True)):
            near = overlaps(box, np.concatenate([objects[i], hard[i]]))
            if not len(near) or near.max() <= overlap:
                continue
            best = int(near.argmax())
            if best >= len(objects[i]):
                counted[k] = False
            elif not taken[i][best]:
                right[k] = taken[i][best] = True
        possible = np.array([len(some) for some in objects], np.int64)
        rankings.append(Ranking(picture[counted], right[counted], possible))
    return rankings


@dataclass(frozen=True)
class CocoScores:
    """What COCO's evaluation says.

    Attributes:
        values: ``ap``, ``ap50``, ``ap75``, ``ap_small``, ``ap_medium``, ``ap_large`` and the mean
            recalls ``ar1``, ``ar10``, ``ar100``; nan where there is no such object.
        rankings: For each of the first six what it is the mean of.
    """

    values: dict[str, float]
    rankings: dict[str, list[Ranking]]


def coco_scores(truth: Sequence[Boxes], found: Sequence[Found], classes: int) -> CocoScores:
    """Average precision as COCO defines it, by its own code (pycocotools).

    Lin et al., ECCV 2014: mean over overlaps .50, .55, ..., .95 and over classes; a detection is
    right *at* the overlap, for the best object still free; 101 recalls; 100 detections a picture
    at most. Small is below 32 x 32, large above 96 x 96 pixels.

    Args:
        truth: Objects of every picture; ``difficult`` is what COCO calls a crowd.
        found: Detections of every picture.
        classes: Their number.

    Raises:
        FovealError: pycocotools is not installed, or the two are of different pictures.
    """
    _same_pictures(truth, found)
    coco_class, evaluation = _pycocotools()
    with contextlib.redirect_stdout(io.StringIO()):
        objects, detections = coco_class(), coco_class()
        shared = {
            "images": [{"id": i} for i in range(len(truth))],
            "categories": [{"id": c} for c in range(classes)],
        }
        objects.dataset = {**shared, "annotations": _annotations(truth)}
        detections.dataset = {**shared, "annotations": _annotations(found)}
        objects.createIndex()
        detections.createIndex()
        run = evaluation(objects, detections, "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    names = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100")
    values = {
        name: float(x) if x >= 0 else float("nan")
        for name, x in zip(names, run.stats[: len(names)], strict=True)
    }
    by_area = {end: _coco_rankings(run, area, classes) for end, area in _AREAS.items()}
    rankings = {f"ap{end}": some for end, some in by_area.items()}
    # Overlap by overlap, all classes each.
    rankings["ap50"], rankings["ap75"] = (
        by_area[""][row * classes : (row + 1) * classes] for row in (0, 5)
    )
    return CocoScores(values, rankings)


def mean_ap(rankings: Sequence[Ranking], form: Form) -> float:
    """Mean over classes (and overlaps) of the average precision.

    Returns:
        nan where nothing is to be found in any.
    """
    found = class_aps(rankings, form)
    return float(np.nanmean(found)) if not np.isnan(found).all() else float("nan")


def class_aps(rankings: Sequence[Ranking], form: Form) -> NDArray[np.float64]:
    """Average precision of each, nan where nothing is to be found."""
    out = np.full(len(rankings), np.nan)
    for c, ranking in enumerate(rankings):
        possible = int(ranking.possible.sum())
        if possible:
            ranks = -np.arange(len(ranking.right), dtype=np.float64)
            out[c] = average_precision(ranks, ranking.right, form=form, possible=possible)
    return out


def resampled_mean_ap(
    rankings: Sequence[Ranking], form: Form, *, seed: int, resamples: int = _RESAMPLES
) -> NDArray[np.float64]:
    """``mean_ap`` on resamples of the pictures, [R]; a class that one has not is left out of it.

    The resamples are those of ``resampled_means``, and the values are moved until their mean is
    the measured one: a picture drawn twice stands beside itself, which lifts every precision.
    """
    some_class = [r for r in rankings if r.possible.any()]
    out = np.full(resamples, np.nan)
    if not some_class:
        return out
    # Items of equal score keep their order, as both evaluations have it.
    alone = [np.ones(len(r.right), bool) for r in some_class]
    pictures = len(some_class[0].possible)
    for rows, counts in resampled_counts(pictures, seed=seed, resamples=resamples):
        each = np.empty((len(some_class), len(rows)))
        for row, ranking, last in zip(each, some_class, alone, strict=True):
            total = counts.astype(np.int64) @ ranking.possible
            weighted_aps(
                ranking.picture, ranking.right, last, counts, total, FORMS.index(form), row
            )
        n = (~np.isnan(each)).sum(0)
        out[rows] = np.where(n > 0, np.nansum(each, 0) / np.maximum(n, 1), np.nan)
    moved: NDArray[np.float64] = out + (mean_ap(rankings, form) - np.nanmean(out))
    return moved


def _same_pictures(truth: Sequence[Boxes], found: Sequence[Found]) -> None:
    if len(truth) != len(found):
        raise FovealError(f"objects of {len(truth)} pictures and detections of {len(found)}")


def _best_first(found: Sequence[Found], c: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Pictures [D] and boxes [D, 4] of the detections of one class."""
    own = [np.flatnonzero(f.label == c) for f in found]
    picture = np.repeat(np.arange(len(found)), [len(some) for some in own])
    scores = np.concatenate([np.empty(0), *(f.score[s] for f, s in zip(found, own, strict=True))])
    boxes = np.concatenate(
        [np.empty((0, 4)), *(f.corners[s] for f, s in zip(found, own, strict=True))]
    )
    order = np.argsort(-scores, kind="stable")
    return picture[order], boxes[order]


def _annotations(pictures: Sequence[Boxes | Found]) -> list[dict[str, Any]]:
    """COCO's records, of objects or of detections; ids count from 1, 0 means no match."""
    rows: list[dict[str, Any]] = []
    for i, some in enumerate(pictures):
        sides = some.corners[:, 2:] - some.corners[:, :2]
        for k, (left, top) in enumerate(some.corners[:, :2]):
            width, height = sides[k]
            own = (
                {"score": float(some.score[k]), "area": float(width * height)}
                if isinstance(some, Found)
                else {"iscrowd": int(some.difficult[k]), "area": float(some.area[k])}
            )
            rows.append({"id": len(rows) + 1, "image_id": i, "category_id": int(some.label[k]),
                         "bbox": [float(left), float(top), float(width), float(height)],
                         **own})  # fmt: skip
    return rows


def _coco_rankings(run: Any, area: str, classes: int) -> list[Ranking]:
    """What pycocotools matched, for every overlap and class of one range of sizes."""
    p = run.params
    pictures, at = len(p.imgIds), p.areaRngLbl.index(area)
    by_class = []
    for c in range(classes):
        start = (c * len(p.areaRng) + at) * pictures
        rows = [(i, e) for i, e in enumerate(run.evalImgs[start : start + pictures]) if e]
        possible = np.zeros(pictures, np.int64)
        for i, e in rows:
            possible[i] = int((np.asarray(e["gtIgnore"]) == 0).sum())
        picture = np.repeat([i for i, _ in rows], [len(e["dtScores"]) for _, e in rows])
        scores = np.concatenate([np.empty(0), *(e["dtScores"] for _, e in rows)])
        order = np.argsort(-scores, kind="mergesort")
        nothing = np.empty((_OVERLAPS, 0), bool)
        right, left_out = (
            np.concatenate([nothing, *(np.asarray(e[key], bool) for _, e in rows)], 1)[:, order]
            for key in ("dtMatches", "dtIgnore")
        )
        by_class.append((picture.astype(np.int64)[order], right, ~left_out, possible))
    return [
        Ranking(picture[counted[t]], right[t][counted[t]], possible)
        for t in range(_OVERLAPS)
        for picture, right, counted, possible in by_class
    ]


def _pycocotools() -> tuple[Any, Any]:
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise FovealError(
            f"COCO's figures need pycocotools, which is not installed ({error})",
            hint="pip install 'foveal[scenes]'",
        ) from None
    return COCO, COCOeval
