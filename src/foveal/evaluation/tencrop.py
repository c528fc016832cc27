"""The linear probe tested on ten crops: the corners and the centre, and their mirror images.

Krizhevsky et al., NIPS 2012; for linear probes DeepCluster (mean of softmax) and SeLa (mean of
logits).

Legend: Q test pictures, D features, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from foveal.backbones.encoder import Encoder
from foveal.core.batch import as_images
from foveal.evaluation.bench import Bench, Split
from foveal.evaluation.compare import WHICH
from foveal.evaluation.features import (
    Features,
    compute_threads,
    read_features,
    view_features,
)
from foveal.evaluation.linear import linear
from foveal.evaluation.predict import five_crops
from foveal.evaluation.probe import Problem
from foveal.evaluation.ranked import answers, figures
from foveal.evaluation.result import Result
from foveal.evaluation.settings import Average
from foveal.views.presets import center_view

CROPS = 10
_FRACTION = 0.875  # of the square that is cropped, for encoders that look at all of it


def tencrop(bench: Bench) -> list[Result]:
    """The classifier of ``linear``, its softmax (``average=logits``: its scores) averaged.

    Crops are as large as the centre view, of the same magnification, from the central square of
    the picture. Training features are those of ``linear``.
    """
    average = bench.settings.average
    probe = partial(on_crops, average=average)
    by = {}
    for which, split, crops in (
        ("trained", bench.trained, _crops(bench, bench.encoder)),
        ("random_init", bench.untrained, _crops(bench, bench.random_encoder)),
        ("pixels", bench.pixels, _crops(bench, None)),
    ):
        name = f"linear, ten crops, {average}"
        on = Split(split.train, crops)
        by[which] = answers(bench, name, probe, on, pixels=which == "pixels")
    view = {**bench.configuration()["view"], "crop": "corners, centre, mirrored"}
    about = {"augmented_passes": CROPS, "average": average, "view": view}
    return figures(bench, "tencrop", {which: by[which] for which in WHICH}, about=about)


def on_crops(problem: Problem, *, average: Average) -> tuple[Tensor, dict[str, Any]]:
    """The linear probe where a test picture has ten rows of features side by side, [Q, 10 D]."""
    dim = problem.train_x.shape[1]
    scores, about = linear(replace(problem, test_x=problem.test_x.reshape(-1, dim)))
    per_crop = scores if average == "logits" else scores.softmax(1)
    return per_crop.reshape(len(problem.test_x), CROPS, -1).mean(1), about


def _crops(bench: Bench, encoder: Encoder | None) -> Features:
    """Features of ten crops of every test picture, side by side; None: raw pixels."""
    own = bench.encoder.fraction
    fraction = own if own < 1 else _FRACTION
    side = bench.pixel_size if encoder is None else encoder.size
    view = center_view(round(side / fraction), 1.0)
    if encoder is None:
        with compute_threads(torch.device("cpu")) as threads:
            found = view_features(
                bench.store, lambda pixels: _ten(as_images(pixels), side, nn.Flatten()),
                bench.test, view, {"pixels": 1, "crops": CROPS}, threads=threads,
            )  # fmt: skip
        return bench.labelled(found)

    def read(images: Tensor) -> Tensor:
        return _ten(images, side, lambda crop: encoder(crop)["pooled"])

    named = {"layer": "pooled", "crops": CROPS}
    return bench.labelled(read_features(bench.store, encoder, bench.test, view, read, named))


def _ten(images: Tensor, side: int, network: Callable[[Tensor], Tensor]) -> Tensor:
    """What a network makes of ten crops of squares, [B, 10 D]."""
    both = (turned for crop in five_crops(images, side) for turned in (crop, crop.flip(-1)))
    channels_last = torch.channels_last
    return torch.cat([network(c.contiguous(memory_format=channels_last)) for c in both], 1)
