"""Figures, and values of single items (pictures, episodes), as results beside baselines."""

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
        value = dict(zip(WHICH, stacked.mean(1), strict=True))
        resampled = dict(zip(WHICH, resampled_means(stacked, seed=bench.seed).T, strict=True))
        configuration = {**bench.configuration(), **about}
        results.append(beside(protocol, metric, value, resampled, stacked.shape[1], configuration))
    return results


def beside(
    protocol: str,
    metric: str,
    value: Mapping[str, float],
    resampled: Mapping[str, NDArray[np.float64]],
    n: int,
    configuration: dict[str, Any],
) -> Result:
    """A figure of the trained network beside that of every baseline.

    Args:
        protocol: Its name.
        metric: What the figure is.
        value: The figure by name: ``trained``, and the baselines.
        resampled: The same on resamples of the items [R], the same items for all.
        n: Items.
        configuration: Everything else that shapes the number.
    """
    own, drawn = float(value["trained"]), resampled["trained"]
    baselines = {
        which: {
            "value": float(value[which]),
            "interval": list(percentiles(resampled[which])),
            "difference": own - float(value[which]),
            "difference_interval": list(percentiles(drawn - resampled[which])),
        }
        for which in value
        if which != "trained"
    }
    return Result(protocol, metric, own, percentiles(drawn), n, baselines, configuration)
