"""Instance retrieval: other pictures of the same thing, by one vector a picture.

The protocol of Oxford5k and Paris6k as DeepCluster uses it (Caron et al., ECCV 2018): R-MAC of the
last map, PCA whitening, mean over queries of the trapezoid average precision.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F

from foveal.backbones.base import End
from foveal.backbones.encoder import Encoder
from foveal.data.instances import open_instances
from foveal.data.sources import Source
from foveal.errors import FovealError
from foveal.evaluation.asked import Asked
from foveal.evaluation.bench import Bench
from foveal.evaluation.compare import WHICH, compared
from foveal.evaluation.features import Features, compute_threads, read_features
from foveal.evaluation.result import Result
from foveal.metrics.retrieval import ranking_ap
from foveal.metrics.rmac import LEVELS, Whitening, region_vectors, rmac
from foveal.views.presets import center_view

VECTORS = ("pooled", "rmac", "rmac_whitened")


class InstanceSettings(BaseModel):
    """What a picture's vector is made of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int | None = Field(
        None, gt=0, description="side of the view in pixels; None: the network's"
    )
    levels: int = Field(LEVELS, gt=0, description="grids of regions")
    end: str | None = Field(None, description="the map; None: the last")
    dims: int | None = Field(None, gt=0, description="directions whitening keeps; None: all")


def instances(asked: Asked, settings: InstanceSettings) -> list[Result]:
    """Mean average precision by the pooled vector, by R-MAC, and by R-MAC whitened.

    Whitening is learned on ``whiten/``, else on the distractors of the gallery, else on all of it.
    Of each picture of raw pixels its own mean is taken out. Every query is compared to the whole
    gallery by cosine.
    """
    query, gallery, apart = open_instances(asked.data, asked.encoder.channels)
    bench = Bench(
        asked.encoder, gallery, query, asked.store, seed=asked.seed, init_seed=asked.init_seed,
        model=asked.model,
    )  # fmt: skip
    end = _map_of(asked.encoder, settings.end)
    values: dict[str, dict[str, NDArray[np.float64]]] = {}
    on = ""
    for which, encoder in (("trained", bench.encoder), ("random_init", bench.random_encoder)):
        found, items = (_read(bench, encoder, end, settings, s) for s in (query, gallery))
        rows, on = _to_whiten(bench, encoder, end, settings, apart, items)
        with compute_threads(bench.device), torch.no_grad():
            whitening = Whitening.of(bench.tensor(rows).flatten(0, 1), settings.dims)
            by = [_vectors(bench, f, encoder.dim, end.channels, whitening) for f in (found, items)]
        values[which] = {
            f"map_trapezoid {name}": _aps(by[0][name], by[1][name], found.labels, items.labels)
            for name in VECTORS
        }
    raw = [bench.tensor(np.ascontiguousarray(f.x)) for f in (bench.pixels.test, bench.pixels.train)]
    asking, there = (F.normalize(x - x.mean(1, keepdim=True), dim=1) for x in raw)
    aps = _aps(asking, there, bench.pixels.test.labels, bench.pixels.train.labels)
    values["pixels"] = dict.fromkeys(values["trained"], aps)
    about = {
        "layer": end.name,
        "pooling": f"R-MAC, {settings.levels} levels",
        "whitened_on": on,
        "directions": settings.dims or "all",
        "similarity": "cosine",
        "ap": "trapezoid: mean of the precision before and after every right picture",
        "view": {**bench.configuration()["view"], "size": settings.size or asked.encoder.size},
        "items": "queries",
    }
    return compared(bench, "instances", {w: values[w] for w in WHICH}, about)


def _map_of(encoder: Encoder, name: str | None) -> End:
    maps = [end for end in encoder.ends if end.kind == "map"]
    if not maps:
        raise FovealError("the network has no map to pool regions of", hint="--protocol retrieval")
    if name is None:
        return maps[-1]
    for end in maps:
        if end.name == name:
            return end
    raise FovealError(f"there is no map '{name}'", hint=", ".join(end.name for end in maps))


def _read(
    bench: Bench, encoder: Encoder, end: End, settings: InstanceSettings, source: Source
) -> Features:
    """The pooled vector and those of all regions, side by side."""

    def read(images: Tensor) -> Tensor:
        outputs = encoder(images, [end.name])
        regions = region_vectors(outputs[end.name].float(), settings.levels)
        return torch.cat([outputs["pooled"].float(), regions.flatten(1)], 1)

    view = center_view(settings.size or encoder.size, encoder.fraction)
    named = {"rmac": end.name, "levels": settings.levels}
    return read_features(bench.store, encoder, source, view, read, named)


def _regions(x: NDArray[Any], dim: int, channels: int) -> NDArray[np.float32]:
    return np.ascontiguousarray(x[:, dim:]).reshape(len(x), -1, channels)


def _to_whiten(
    bench: Bench,
    encoder: Encoder,
    end: End,
    settings: InstanceSettings,
    apart: Source | None,
    gallery: Features,
) -> tuple[NDArray[np.float32], str]:
    """Regions [N, R, C] that whitening is learned on, and what they are."""
    if apart is not None:
        found = _read(bench, encoder, end, settings, apart).x
        return _regions(found, encoder.dim, end.channels), "whiten/"
    names = bench.train.classes or []
    nobody = np.array([name.startswith("_") for name in names])[gallery.labels]
    which = gallery.x[nobody] if nobody.any() else gallery.x
    words = "the distractors" if nobody.any() else "the gallery"
    return _regions(which, encoder.dim, end.channels), words


def _vectors(
    bench: Bench, found: Features, dim: int, channels: int, whitening: Whitening
) -> dict[str, Tensor]:
    regions = bench.tensor(_regions(found.x, dim, channels))
    pooled = bench.tensor(np.ascontiguousarray(found.x[:, :dim]))
    return {
        "pooled": F.normalize(pooled, dim=1),
        "rmac": rmac(regions),
        "rmac_whitened": rmac(regions, whitening),
    }


def _aps(
    query: Tensor, gallery: Tensor, asked: NDArray[np.int64], there: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Average precision of every query."""
    positive = torch.from_numpy(asked[:, None] == there)
    found: NDArray[np.float64] = ranking_ap((query @ gallery.T).cpu(), positive).numpy()
    return found
