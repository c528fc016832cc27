"""Average precision where every picture counts a number of times: what the bootstrap needs.

Legend: Q pictures, D ranked items, R resamples.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

FORMS = ("raw", "envelope", "eleven_point", "coco")
"""The forms of ``average_precision`` that are computed here; the kernel takes their number."""


@njit(nogil=True, cache=True)
def weighted_aps(
    order_D: NDArray[np.int64],
    positive_D: NDArray[np.bool_],
    last_D: NDArray[np.bool_],
    counts_RQ: NDArray[np.uint16],
    total_R: NDArray[np.int64],
    form: int,
    out_R: NDArray[np.float64],
) -> None:
    """Average precision of one class on every resample.

    One pass from the lowest score to the highest, so that the best precision at a recall or above
    is known when it is needed.

    Args:
        order_D: The picture of each item, best score first.
        positive_D: Whether it is right.
        last_D: Whether it is the last of its rank: items of one score may be one rank.
        counts_RQ: How often each picture is in each resample.
        total_R: What may be found in each resample.
        form: Number in ``FORMS``.
        out_R: Filled; nan where nothing may be found.
    """
    steps = 10 if form == 2 else 100
    for r in range(len(counts_RQ)):
        counts, total = counts_RQ[r], total_R[r]
        if total == 0:
            out_R[r] = np.nan
            continue
        right = taken = 0
        for i in range(len(order_D)):
            n = counts[order_D[i]]
            taken += n
            right += n if positive_D[i] else 0
        best = area = 0.0
        i = len(order_D) - 1
        while i >= 0:
            # All items of one score are one rank: its precision, then how much it recalled.
            right_here, taken_here = right, taken
            while True:
                n = counts[order_D[i]]
                taken -= n
                right -= n if positive_D[i] else 0
                i -= 1
                if i < 0 or last_D[i]:
                    break
            if right == right_here:
                continue
            precision = right_here / taken_here
            best = max(best, precision)
            if form == 0:
                area += (right_here - right) * precision
            elif form == 1:
                area += (right_here - right) * best
            else:
                area += (steps * right_here // total - steps * right // total) * best
        if form <= 1:
            out_R[r] = area / total
        else:
            out_R[r] = (area + best) / (steps + 1)  # and recall 0
