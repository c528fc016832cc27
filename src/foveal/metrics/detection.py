"""Detection as PASCAL VOC measures it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from foveal.metrics.average_precision import average_precision

Boxes = NDArray[np.float64]


@dataclass(frozen=True)
class Truth:
    """The objects of one class in one picture.

    Attributes:
        boxes: [M, 4] as (left, top, right, bottom), in pixels, the last ones inclusive.
        difficult: Not to be counted, [M].
    """

    boxes: Boxes
    difficult: NDArray[np.bool_]


@dataclass(frozen=True)
class Detection:
    """One box found in a picture."""

    picture: str
    score: float
    box: tuple[float, float, float, float]


def box_iou_inclusive(box: Boxes, boxes: Boxes) -> NDArray[np.float64]:
    """Intersection over union of one box [4] with others [M, 4]; widths count pixels (+ 1)."""
    low = np.maximum(boxes[:, :2], box[:2])
    high = np.minimum(boxes[:, 2:], box[2:])
    shared = np.prod(np.maximum(high - low + 1, 0), axis=1)
    area = np.prod(boxes[:, 2:] - boxes[:, :2] + 1, axis=1) + np.prod(box[2:] - box[:2] + 1)
    found: NDArray[np.float64] = shared / (area - shared)
    return found


def voc_average_precision(
    truth: Mapping[str, Truth],
    detections: Sequence[Detection],
    *,
    form: Literal["eleven_point", "envelope"],
    iou: float = 0.5,
) -> float:
    """Average precision of one class over all pictures.

    A detection is matched to the object it overlaps most. It is right above (not at) ``iou``, for
    the first detection of an object; matches to difficult objects are left out. Detections of
    equal score keep the order they are given in.

    Args:
        truth: By picture; pictures without the class may be missing.
        detections: In any order.
        form: ``eleven_point`` for VOC07, ``envelope`` from VOC10 on.
        iou: Overlap.

    Returns:
        nan where no object counts.
    """
    possible = sum(int((~t.difficult).sum()) for t in truth.values())
    if not possible:
        return float("nan")
    taken = {picture: np.zeros(len(t.boxes), bool) for picture, t in truth.items()}
    right: list[bool] = []
    for found in sorted(detections, key=lambda d: -d.score):
        t = truth.get(found.picture)
        if t is None or not len(t.boxes):
            right.append(False)
            continue
        overlap = box_iou_inclusive(np.array(found.box, np.float64), t.boxes)
        best = int(overlap.argmax())
        if overlap[best] <= iou:
            right.append(False)
        elif not t.difficult[best]:
            right.append(not taken[found.picture][best])
            taken[found.picture][best] = True
    ranks = -np.arange(len(right), dtype=np.float64)
    return average_precision(ranks, np.array(right, bool), form=form, possible=possible)
