"""The protocol ``matching``: is a region of one picture found again in another?

Dosovitskiy et al., "Discriminative unsupervised feature learning with exemplar convolutional
neural networks", TPAMI 2016, section 5: regions are found in both pictures, brought to one shape,
described and matched by distance; a match is right if the first region, taken through the known
homography, overlaps the second by half.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.backbones.encoder import Encoder
from foveal.backbones.reading import device_of
from foveal.core import rng
from foveal.data.arrays import ArraySource
from foveal.data.sources import open_source
from foveal.errors import BadImage, FovealError
from foveal.evaluation.asked import Asked
from foveal.evaluation.baselines import BN_PICTURES, random_init
from foveal.evaluation.bench import NAMED
from foveal.evaluation.compare import beside
from foveal.evaluation.features import (
    Store,
    check_unchanged,
    compute_threads,
    digest_of,
    frozen,
    weights_digest,
)
from foveal.evaluation.maps import named_maps
from foveal.evaluation.matching.descriptors import (
    CELLS,
    PIXEL_SIDE,
    SIFT_SIDE,
    Descriptor,
    GreyValues,
    NetworkMaps,
    Sift,
)
from foveal.evaluation.matching.matcher import RIGHT, Matcher
from foveal.evaluation.matching.scenes import MadeScene, Scene, open_sequences
from foveal.evaluation.matching.settings import MatchingSettings
from foveal.evaluation.result import Result
from foveal.metrics.bootstrap import LEVEL, RESAMPLES, resampled_sums
from foveal.motion.packages import opencv
from foveal.views.spec import Crop, View

_LEAST_SIDE = 64
_VERSION = 1

Values = dict[str, NDArray[np.float64]]


def matching(asked: Asked, settings: MatchingSettings) -> list[Result]:
    """Mean average precision over pairs, of every map of the network, beside its baselines.

    Args:
        asked: Its data are sequences (``open_sequences``), or pictures that pairs are made of.
        settings: How regions are cut out and matched.

    Raises:
        FovealError: A wrong layout, a network without maps, no region that could be found again.
    """
    opencv()  # told before anything is computed
    encoder, store = asked.encoder, asked.store
    ends = named_maps(encoder, settings.end)
    side = settings.patch or max(encoder.size, _LEAST_SIDE)
    matchers, unread = _matchers(asked, settings)
    untrained = random_init(
        encoder,
        ArraySource("patches", _first_patches(matchers, encoder, side, asked.seed)),
        seed=asked.init_seed,
        store=store,
        view=View(size=side, crop=Crop(kind="whole")),
    )
    values: Values = {}
    for which, network in {"trained": encoder, "random_init": untrained}.items():
        with frozen(network) as digest, compute_threads(device_of(network)):
            maps = NetworkMaps(network, ends, side, settings)
            key = {"weights": digest, "network": network.describe(), "patch": side,
                   "device": device_of(network).type}  # fmt: skip
            values[which] = _precisions(
                store, matchers, maps, ends, key, partial(check_unchanged, network, digest)
            )
    others: dict[str, Descriptor] = {"pixels": GreyValues(settings), "sift": Sift(settings)}
    for which, describe in others.items():
        # The same for every end point.
        found = _precisions(store, matchers, describe, [which], {})
        values[which] = np.repeat(found, len(ends), axis=1)
    scenes = [m.scene for m in matchers]
    measured = ~np.isnan(values["pixels"][:, 0])
    if not measured.any():
        raise FovealError(
            f"in {len(measured)} pairs of {asked.data} no region is found again",
            hint="larger pictures with things in them, or side=1280",
        )
    about = _configuration(asked, settings, scenes, side)
    about["unreadable"] = {"train": 0, "test": len(unread), "files": unread[:NAMED]}
    about["left_out"] = int((~measured).sum())
    return [
        _result(asked, end, scenes, measured, {w: v[:, j] for w, v in values.items()}, about)
        for j, end in enumerate(ends)
    ]


def _matchers(asked: Asked, settings: MatchingSettings) -> tuple[list[Matcher], list[str]]:
    """Scenes whose first picture can be read, and the names of pictures that cannot."""
    channels, data = asked.encoder.channels, asked.data
    if channels not in (1, 3):
        raise FovealError(
            f"the network reads {channels} channels, and pairs are made of pictures of 1 or 3",
            hint="another network",
        )
    path = Path(data).expanduser() if isinstance(data, str | Path) else None
    if path is not None and path.is_dir():
        sequences = open_sequences(path)
        if sequences:
            return [Matcher(s, settings) for s in sequences], []
        if (path / "JPEGImages").is_dir():  # VOC's layout: the masks are no pictures
            data = path / "JPEGImages"
    # Regions are found in 8 bits: deeper pictures are told as unreadable, not cut.
    source = open_source(data, channels=channels, bits=8)
    found: list[Matcher] = []
    unread: list[str] = []
    key = rng.key(asked.seed, "matching pictures")
    for row in rng.permute(key, len(source), np.arange(len(source))):
        if len(found) == settings.pictures:
            break
        scene = MadeScene(source, int(row), settings.side, asked.seed)
        matcher = Matcher(scene, settings)
        try:
            _ = matcher.first
        except BadImage as bad:
            unread.append(f"{scene.name} ({bad.message})")
        else:
            found.append(matcher)
    if not found:
        raise FovealError(f"none of the pictures of {data} could be read: {unread[0]}")
    return found, unread


def _first_patches(
    matchers: list[Matcher], encoder: Encoder, side: int, seed: int
) -> NDArray[np.uint8]:
    """Patches of the first pictures, for batch norms: as many of each, 2,048 at most."""
    each = max(1, BN_PICTURES // len(matchers))
    parts = []
    for m in matchers:
        rows = rng.permute(rng.key(seed, "patches"), len(m.regions), np.arange(len(m.regions)))
        maps = NetworkMaps(encoder, [], side, m.settings)
        parts.append(maps.patches(m.first, m.regions[rows[:each]]))
    found = np.concatenate(parts)
    if not len(found):
        raise FovealError("no picture has a region to match", hint="larger pictures, or side=1280")
    return found


def _precisions(
    store: Store,
    matchers: list[Matcher],
    describe: Descriptor,
    names: list[str],
    shaped_by: dict[str, Any],
    check: Callable[[], None] | None = None,
) -> NDArray[np.float64]:
    """``Matcher.precisions`` over all scenes, [pairs, names]; each scene's kept once it is done."""
    parts = []
    for m in matchers:
        how = m.settings.model_dump(mode="json", exclude={"pictures", "side", "end", "patch"})
        key = {"descriptors": names, "version": _VERSION, "opencv": opencv().__version__,
               "scene": m.scene.identity(), "how": how, **shaped_by}  # fmt: skip

        def make(path: Path, m: Matcher = m) -> None:
            found = m.precisions(describe, names)
            if check is not None:
                check()
            np.save(path, found)

        parts.append(np.asarray(store.get(key, make)[0]))
    return np.concatenate(parts)


def _result(
    asked: Asked,
    end: str,
    scenes: list[Scene],
    measured: NDArray[np.bool_],
    values: Values,
    about: dict[str, Any],
) -> Result:
    """One end point, from the precision of every pair (nan where none is possible)."""
    own = {which: x[measured] for which, x in values.items()}
    pairs = [pair for scene in scenes for pair in scene.pairs]
    kept = [pair for pair, m in zip(pairs, measured, strict=True) if m]
    # Pairs of one scene share a picture: they are drawn together, where there are several scenes.
    scene_of = np.repeat(np.arange(len(scenes)), [len(scene.pairs) for scene in scenes])
    groups = scene_of if len(scenes) > 1 else np.arange(len(pairs))
    columns = np.stack([*own.values(), np.ones(len(kept))], 1)
    sums = np.zeros((int(groups.max()) + 1, columns.shape[1]))
    np.add.at(sums, groups[measured], columns)
    drawn = resampled_sums(sums[sums[:, -1] > 0], seed=asked.seed)
    channels = next(e.channels for e in asked.encoder.ends if e.name == end)
    return beside(
        "matching",
        f"map_raw@{end}",
        {which: float(x.mean()) for which, x in own.items()},
        {which: drawn[:, i] / drawn[:, -1] for i, which in enumerate(own)},
        len(kept),
        {
            **about,
            "layer": end,
            "dim": CELLS**2 * channels,
            "chosen": {which: {"by_kind": _by_kind(kept, x)} for which, x in own.items()},
        },
    )


def _by_kind(
    pairs: list[tuple[str, float]], values: NDArray[np.float64]
) -> dict[str, dict[str, float]]:
    """Mean of every kind of change and strength."""
    found: dict[str, dict[str, list[float]]] = {}
    for (kind, strength), x in zip(pairs, values, strict=True):
        found.setdefault(kind, {}).setdefault(f"{strength:g}", []).append(float(x))
    return {kind: {s: float(np.mean(x)) for s, x in some.items()} for kind, some in found.items()}


def _configuration(
    asked: Asked, settings: MatchingSettings, scenes: list[Scene], side: int
) -> dict[str, Any]:
    e, over = asked.encoder, "scenes, with all their pairs" if len(scenes) > 1 else "pairs"
    identity = digest_of({"scenes": [scene.identity() for scene in scenes]})
    return {
        "model": asked.model,
        "weights": weights_digest(e),
        "items": "pairs of pictures",
        "pooling": f"max, {CELLS} x {CELLS} cells",
        "mode": "frozen, eval (batch norms use their running statistics)",
        "view": {"crop": "region", "size": side, "channels": e.channels},
        "how": settings.model_dump(mode="json", exclude={"end", "patch"}),
        "regions_by": f"MSER, OpenCV {opencv().__version__}",
        "right": f"overlap of the ellipses at least {RIGHT}",
        "recall_of": "regions of the first picture that have a partner, in what both show",
        "average_precision": "raw",
        "seed": asked.seed,
        "data": {"test": {"name": str(asked.data), "n": len(scenes), "fingerprint": identity}},
        "bootstrap": {"resamples": RESAMPLES, "level": LEVEL, "kind": "percentile", "over": over},
        "random_init": {"seed": asked.init_seed, "bn_pictures": BN_PICTURES,
                        "bn_on": "patches of the first pictures"},
        "pixels": {"size": PIXEL_SIDE, "normalisation": "less the mean, length 1"},
        "sift": {"size": SIFT_SIDE},
    }  # fmt: skip
