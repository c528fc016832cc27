"""Health of the features: figures that need no labels and no probe.

They are looked at beside an untrained network's; they select nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from foveal.backbones.encoder import Encoder
from foveal.core import rng
from foveal.evaluation.bench import Bench, Split
from foveal.evaluation.result import HEALTH, Result
from foveal.metrics import health as metrics
from foveal.views.presets import simclr_view

RANK_PICTURES = 25_600  # RankMe, section 4: more change nothing
VIEW_PICTURES, VIEWS = 512, 8
_DELTA = 1e-4
_ALPHA_RANGE = (11, 100)

MEANING = {
    "feature_std": "spread; 1 even, 0 collapsed",
    "rankme": "effective directions",
    "alpha_req": "spectral decay; about 1 is good",
    "lidar": "directions that tell pictures apart",
    "alignment": "squared distance of two views; 0 best",
    "uniformity": "lower is more even on the sphere",
}


def health(bench: Bench) -> list[Result]:
    """All figures, for the encoder and for the random initialisation.

    ``alpha_req`` is left out where the features have no spectrum to fit: fewer directions than its
    first index, as after a collapse, which ``rankme`` and ``feature_std`` then show.
    """
    rows = _rows(bench, "pictures", RANK_PICTURES, len(bench.trained.train.x))
    figures = _figures(bench, bench.encoder, bench.trained, rows)
    untrained = _figures(bench, bench.random_encoder, bench.untrained, rows)
    about = bench.configuration()
    return [
        Result(
            protocol=HEALTH,
            metric=name,
            value=value,
            interval=None,
            n=n,
            configuration={
                **about,
                **how,
                "meaning": MEANING[name],
                "items": "pictures looked at",
                "random_init_value": untrained[name][0] if name in untrained else None,
            },
        )
        for name, (value, n, how) in figures.items()
    ]


def _figures(
    bench: Bench, encoder: Encoder, split: Split, rows: Any
) -> dict[str, tuple[float, int, dict[str, Any]]]:
    """(value, pictures, how) by metric."""
    z_ND = bench.tensor(np.ascontiguousarray(split.train.x[rows]))
    n, d = z_ND.shape
    # Below 32 dimensions there is no spectrum past index 10 to fit.
    first, last = _ALPHA_RANGE if d >= 32 else (1, d)
    view = simclr_view(encoder.size, strength=0.5, blur=False)
    if encoder.channels != 3:
        view = view.without_colour()
    some = np.sort(_rows(bench, "views", VIEW_PICTURES, len(bench.train)))
    keys = [(view, rng.key(bench.seed, "health", v)) for v in range(VIEWS)]
    z_NVD = bench.views(encoder, some, keys).to(z_ND.device)
    x_ND, y_ND = z_NVD[:, 0], z_NVD[:, 1]
    centre = {"pictures": "training split, centre view"}
    views, two = (
        {
            "pictures": "training split",
            "augmented_passes": count,
            "views": "SimCLR, strength 0.5, no blur",
        }
        for count in (VIEWS, 2)
    )
    spectrum = metrics.covariance_spectrum(z_ND)
    fitted = int((spectrum > 0).sum()) > first
    alpha = {"index_range": [first, min(last, d)], "weighting": "1/i", **centre}
    found: list[tuple[str, Callable[[], float], int, dict[str, Any]]] = [
        ("feature_std", lambda: metrics.feature_std(z_ND), n, centre),
        ("rankme", lambda: metrics.rankme(z_ND), n, centre),
        ("alpha_req", lambda: metrics.power_law_exponent(
            spectrum, first=first, last=last, weighted=True), n, alpha),
        ("lidar", lambda: metrics.lidar(z_NVD, delta=_DELTA), len(z_NVD),
         {"delta": _DELTA, **views}),
        ("alignment", lambda: metrics.alignment(x_ND, y_ND), len(z_NVD), two),
        ("uniformity", lambda: _uniformity(x_ND, y_ND), len(z_NVD), two),
    ]  # fmt: skip
    return {
        name: (figure(), count, how)
        for name, figure, count, how in found
        if fitted or name != "alpha_req"
    }


def _uniformity(x_ND: Tensor, y_ND: Tensor) -> float:
    """The mean of both views' (Wang and Isola's own use of it)."""
    return (metrics.uniformity(x_ND) + metrics.uniformity(y_ND)) / 2


def _rows(bench: Bench, name: str, most: int, n: int) -> Any:
    mixed = rng.permute(rng.key(bench.seed, "health", name), n, np.arange(n))
    return np.sort(mixed[:most])
