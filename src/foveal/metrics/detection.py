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

from foveal.core.packages import package
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


def overlaps(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of boxes [..., 4], broadcast.

    Corners are continuous, so that a box over one pixel is 1 wide: VOC's "+ 1" on corners that
    count pixels, both ends inside.
    """
    low = np.maximum(one[..., :2], other[..., :2])
    high = np.minimum(one[..., 2:], other[..., 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=-1)
    area = sum(np.prod(x[..., 2:] - x[..., :2], axis=-1) for x in (one, other))
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
    nearest = [_nearest(t, f) for t, f in zip(truth, found, strict=True)]
    best = np.concatenate([np.empty(0, np.int64), *(b for b, _ in nearest)])
    near = np.concatenate([np.empty(0), *(x for _, x in nearest)]) > overlap
    picture = np.repeat(np.arange(len(found)), [len(f.label) for f in found])
    label = np.concatenate([np.empty(0, np.int64), *(f.label for f in found)])
    score = np.concatenate([np.empty(0), *(f.score for f in found)])
    difficult = [t.difficult for t in truth]
    taken = [np.zeros(len(t.label), bool) for t in truth]
    rankings = []
    for c in range(classes):
        own = np.flatnonzero(label == c)
        own = own[np.argsort(-score[own], kind="stable")]
        right, counted = np.zeros(len(own), bool), np.ones(len(own), bool)
        for k in np.flatnonzero(near[own]):
            i, at = picture[own[k]], best[own[k]]
            counted[k] = not difficult[i][at]
            right[k] = counted[k] and not taken[i][at]
            taken[i][at] = True
        possible = [np.count_nonzero((t.label == c) & ~t.difficult) for t in truth]
        rankings.append(Ranking(picture[own][counted], right[counted], np.array(possible)))
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
    coco_class, evaluation = pycocotools()
    _same_pictures(truth, found)
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
    None leaves 0 to 1.
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
    return np.clip(moved, 0.0, 1.0)


def _same_pictures(truth: Sequence[Boxes], found: Sequence[Found]) -> None:
    if len(truth) != len(found):
        raise FovealError(f"objects of {len(truth)} pictures and detections of {len(found)}")


def _nearest(truth: Boxes, found: Found) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For every detection the object of its class it overlaps most, and how much, both [D]."""
    if not len(truth.label) or not len(found.label):
        return np.zeros(len(found.label), np.int64), np.zeros(len(found.label))
    over = overlaps(found.corners[:, None], truth.corners)
    over[found.label[:, None] != truth.label] = 0
    return over.argmax(1), over.max(1)


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


def pycocotools() -> tuple[Any, Any]:
    """Its two classes.

    Raises:
        FovealError: It is not installed.
    """
    why = "COCO's figures need pycocotools"
    coco = package("pycocotools.coco", extra="scenes", why=why)
    evaluation = package("pycocotools.cocoeval", extra="scenes", why=why)
    return coco.COCO, evaluation.COCOeval
