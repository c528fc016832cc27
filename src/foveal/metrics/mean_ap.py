"""Mean average precision over classes, and its spread over resamples of the pictures.

Legend: Q pictures, C classes, R resamples, G distinct scores.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from foveal.errors import FovealError
from foveal.metrics.average_precision import average_precision
from foveal.metrics.bootstrap import RESAMPLES, resampled_counts
from foveal.metrics.weighted_ap import FORMS, weighted_aps

ClassForm: TypeAlias = Literal["raw", "envelope", "eleven_point"]
"""The forms of average precision that are used over classes (``average_precision``)."""


def class_aps(
    scores_QC: NDArray[Any], marks_QC: NDArray[np.int8], *, form: ClassForm
) -> NDArray[np.float64]:
    """Average precision of every class, [C]; nan where no picture holds it.

    Args:
        scores_QC: Higher is surer.
        marks_QC: 1 where the picture holds the class, 0 where it does not, -1 where the picture
            is left out for this class.
        form: See ``average_precision``.
    """
    found = np.full(scores_QC.shape[1], np.nan)
    for c in np.flatnonzero((marks_QC == 1).any(0)):
        counted = marks_QC[:, c] >= 0
        found[c] = average_precision(scores_QC[counted, c], marks_QC[counted, c] == 1, form=form)
    return found


def resampled_mean_ap(
    scores_QC: NDArray[Any],
    marks_QC: NDArray[np.int8],
    *,
    form: ClassForm,
    seed: int,
    resamples: int = RESAMPLES,
) -> NDArray[np.float64]:
    """Mean over classes of ``class_aps`` on resamples of the pictures, [R].

    A picture that is drawn twice stands beside itself in the ranking, which lifts the precision
    of every resample (by half a point in practice): the values are moved so that their mean is
    the figure of all pictures. The resamples are those of ``resampled_means``; a class without a
    picture in one is left out of its mean, and nan stands where no class has any.

    Raises:
        FovealError: No picture holds any class.
    """
    if not (marks_QC == 1).any():
        raise FovealError("no test picture holds any class", hint="another test part")
    ranked = []
    for c in np.flatnonzero((marks_QC == 1).any(0)):
        order = np.argsort(-scores_QC[:, c], kind="stable")
        order = order[marks_QC[order, c] >= 0]
        scores = scores_QC[order, c]
        last = np.append(scores[1:] != scores[:-1], True)  # of its rank
        ranked.append((order, marks_QC[order, c] == 1, last))
    out = np.empty(resamples)
    for some, counts in resampled_counts(len(scores_QC), seed=seed, resamples=resamples):
        per_class = np.empty((len(ranked), len(some)))
        for row, (order, positive, last) in zip(per_class, ranked, strict=True):
            total = counts[:, order[positive]].sum(1, dtype=np.int64)
            weighted_aps(order, positive, last, counts, total, FORMS.index(form), row)
        n = (~np.isnan(per_class)).sum(0)
        out[some] = np.where(n > 0, np.nansum(per_class, 0) / np.maximum(n, 1), np.nan)
    return out + (np.nanmean(class_aps(scores_QC, marks_QC, form=form)) - np.nanmean(out))
