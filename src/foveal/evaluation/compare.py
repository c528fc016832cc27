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
    for metric in values["trained"]:
        rows = [values[which][metric] for which in WHICH]
        if len({len(r) for r in rows}) > 1:
            raise FovealError(
                f"{bench.test.root} changed while it was measured", hint="the same command again"
            )
        stacked = np.stack(rows).astype(np.float64)
        means = resampled_means(stacked, seed=bench.seed)
        value = stacked.mean(1)
        baselines = {
            which: {
                "value": float(value[i]),
                "interval": list(percentiles(means[:, i])),
                "difference": float(value[0] - value[i]),
                "difference_interval": list(percentiles(means[:, 0] - means[:, i])),
            }
            for i, which in enumerate(WHICH)
            if i
        }
        results.append(
            Result(
                protocol,
                metric,
                float(value[0]),
                percentiles(means[:, 0]),
                stacked.shape[1],
                baselines,
                {**bench.configuration(), **about},
            )
        )
    return results
