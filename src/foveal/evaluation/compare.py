"""Values of single items (pictures, episodes) as results beside both baselines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.errors import FovealError
from foveal.evaluation.bench import Bench
from foveal.evaluation.result import Result
from foveal.metrics.bootstrap import percentiles, resampled_means

WHICH = ("trained", "random_init", "pixels")


def compared(
    bench: Bench,
    protocol: str,
    values: Mapping[str, Mapping[str, NDArray[np.float64]]],
    about: Mapping[str, Any],
) -> list[Result]:
    """Means over items with paired bootstrap intervals.

    Args:
        bench: What was measured.
        protocol: Its name.
        values: By which features (``WHICH``), then by metric, the value of every item [N]; the
            same items in the same order for all three.
        about: Joins the configuration.

    Raises:
        FovealError: The three saw different items.
    """
    results = []
    for metric in values[WHICH[0]]:
        rows = [values[which][metric] for which in WHICH]
        if len({len(r) for r in rows}) > 1:
            raise FovealError(
                f"{bench.test.root} changed while it was measured", hint="the same command again"
            )
        stacked = np.stack(rows).astype(np.float64)
        means = resampled_means(stacked, seed=bench.seed)
        value = stacked.mean(1)
        results.append(beside(bench, protocol, metric, value, means, stacked.shape[1], about))
    return results


def beside(
    bench: Bench,
    protocol: str,
    metric: str,
    value_W: NDArray[np.float64],
    resampled_RW: NDArray[np.float64],
    n: int,
    about: Mapping[str, Any],
) -> Result:
    """A figure of the trained features beside that of both baselines.

    Args:
        bench: What was measured.
        protocol: Its name.
        metric: What the figure is.
        value_W: The figure of each of ``WHICH``.
        resampled_RW: The same on resamples of the items, the same items for all three.
        n: Items.
        about: Joins the configuration.
    """
    baselines = {
        which: {
            "value": float(value_W[i]),
            "interval": list(percentiles(resampled_RW[:, i])),
            "difference": float(value_W[0] - value_W[i]),
            "difference_interval": list(percentiles(resampled_RW[:, 0] - resampled_RW[:, i])),
        }
        for i, which in enumerate(WHICH)
        if i
    }
    interval = percentiles(resampled_RW[:, 0])
    configuration = {**bench.configuration(), **about}
    return Result(protocol, metric, float(value_W[0]), interval, n, baselines, configuration)
