"""A map of the features: pictures of the data, those that look alike to the network side by side.

Everything is HTML and CSS over one sheet of thumbnails: no script, nothing from the net.

Legend: N pictures, D features.
"""

from __future__ import annotations

import base64
import warnings
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from foveal.core.files import atomic_path, read_json, write_json
from foveal.data.loader import Table
from foveal.report.pictures import Gallery

_PICTURES = 300
_ASPECT = 1.5  # the map's width by its height
_SIDE = 0.034  # of a thumbnail, as a share of the map's width
_ROUNDS = 100
_LEAST = 50
_PERPLEXITY = 20.0
_DIRECTIONS = 50  # of the features that t-SNE sees, as its paper does it (section 4.1)
_NEAR = 10
_CLASSES = 60  # a longer list of classes is no legend

STYLE = """
.map{position:relative;aspect-ratio:1.5;border:1px solid #e4e7ea;background:#fafbfc;
margin:.6rem 0}
.map i{position:absolute;width:3.4%;aspect-ratio:1;transform:translate(-50%,-50%);cursor:pointer;
outline:1px solid #fff;font-style:normal}
.map i:hover,.map i:focus{width:13%;z-index:3;outline:2px solid #1d2329;
box-shadow:0 3px 14px #0006}
.map i:focus{z-index:2}
.map i:hover::after,.map i:focus::after{content:attr(aria-label);position:absolute;top:100%;
left:-2px;right:-2px;padding:.1rem .3rem;background:#1d2329;color:#fff;font-size:.75rem;
line-height:1.3;
overflow-wrap:anywhere}
.classes{display:flex;flex-wrap:wrap;gap:.15rem .25rem;font-size:.8rem;line-height:1.5}
.classes span{padding:0 .45rem;border:1px solid #e4e7ea;border-radius:.7rem;cursor:default}
.classes span:hover,.classes span:focus{background:#1d2329;color:#fff}
"""


def write_map(gallery: Gallery, table: Table, sheet: Path, about: Path, *, seed: int) -> None:
    """Lays a few hundred pictures of the gallery out in the plane by t-SNE.

    Args:
        gallery: Features and thumbnails; fewer than 50 are seen at a glance without.
        table: Where the gallery's names and labels are.
        sheet: The JPEG of thumbnails, a square grid, row by row.
        about: The JSON beside it: places in [0, 1], names, classes, how far to trust the map.
        seed: Of t-SNE.
    """
    if len(gallery.rows) < _LEAST:
        return
    chosen = np.linspace(0, len(gallery.rows) - 1, min(_PICTURES, len(gallery.rows))).astype(int)
    z_ND = gallery.z_ND[chosen].numpy()
    places = lay_out(z_ND, seed)
    if places is None:
        return
    with atomic_path(sheet) as temporary:
        _sheet(gallery.thumbnails[chosen]).save(temporary, quality=80)
    rows = gallery.rows[chosen]
    write_json(
        about,
        {
            "x": [round(float(x), 4) for x in places[:, 0]],
            "y": [round(float(y), 4) for y in places[:, 1]],
            "names": [table.source.name(int(i)) for i in table.image[rows]],
            "labels": [int(label) for label in table.label[rows]],
            "classes": list(table.source.classes or []),
            "kept": neighbours_kept(z_ND, places),
            "near": min(_NEAR, len(rows) - 1),
        },
    )


def lay_out(z_ND: NDArray[np.float32], seed: int) -> NDArray[np.float64] | None:
    """Places in the unit square, [N, 2]; None where all features are the same, or not finite.

    t-SNE (van der Maaten and Hinton, JMLR 2008) on the first principal components, started from
    the first two. The same features, seed and machine give the same map.
    """
    from sklearn.manifold import TSNE

    if not np.isfinite(z_ND).all():
        return None
    z_ND = z_ND.astype(np.float64) - z_ND.mean(axis=0, dtype=np.float64)
    # One decomposition for both: components of the largest spread, largest first.
    u, spread, _ = np.linalg.svd(z_ND, full_matrices=False)
    if spread[0] < 1e-6:
        return None
    components = (u * spread)[:, :_DIRECTIONS]
    start = np.zeros((len(z_ND), 2))
    start[:, : min(2, components.shape[1])] = components[:, :2]
    # The sign of a component is arbitrary: fixed, so that the map is not mirrored.
    start *= np.sign(start[np.abs(start).argmax(axis=0), [0, 1]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        places = TSNE(
            perplexity=min(_PERPLEXITY, (len(z_ND) - 1) / 3),
            init=(start / start[:, 0].std() * 1e-4).astype(np.float32),
            random_state=seed % 2**32,
            max_iter=500,
            n_jobs=1,
        ).fit_transform(components.astype(np.float32))
    low, high = places.min(axis=0), places.max(axis=0)
    return spread_out((places - low) / np.maximum(high - low, 1e-12))


def spread_out(places_N2: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Moves pictures that cover each other apart, along the shorter way, until few still do.

    Args:
        places_N2: In the unit square; stays as it is.

    Returns:
        Places in the unit square, float64.
    """
    places = places_N2.astype(np.float64)
    side = np.array([_SIDE, _SIDE * _ASPECT])  # in shares of width and height
    # Two at one place have no way apart: a little order of their own decides.
    turn = np.arange(len(places))
    places += 1e-6 * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    for _ in range(_ROUNDS):
        apart_x = (places[:, 0, None] - places[:, 0]) / side[0]
        apart_y = (places[:, 1, None] - places[:, 1]) / side[1]
        over_x, over_y = 1 - np.abs(apart_x), 1 - np.abs(apart_y)
        covered = (over_x > 0) & (over_y > 0)
        np.fill_diagonal(covered, False)
        if not covered.any():
            break
        along_x = over_x < over_y
        push_x = (np.sign(apart_x) * over_x * (covered & along_x)).sum(axis=1)
        push_y = (np.sign(apart_y) * over_y * (covered & ~along_x)).sum(axis=1)
        # In a heap every picture is pushed by many: none further than half its side at once.
        push = np.clip(0.3 * np.stack([push_x, push_y], axis=1), -0.5, 0.5)
        places = np.clip(places + push * side, 0, 1)
    return places


def neighbours_kept(z_ND: NDArray[np.float32], places: NDArray[np.float64]) -> float:
    """Share of the pictures nearest on the map that are among the nearest by the features.

    Of the 10 nearest each (or all others, where there are fewer); by chance it is 10 / (N - 1).
    """
    k = min(_NEAR, len(z_ND) - 1)
    found = []
    for values in (places, z_ND.astype(np.float64)):
        square = (values**2).sum(axis=1)
        distance = square[:, None] + square[None] - 2 * values @ values.T
        np.fill_diagonal(distance, np.inf)
        found.append(np.argsort(distance, axis=1, kind="stable")[:, :k])
    return float(np.mean([len(np.intersect1d(a, b)) / k for a, b in zip(*found, strict=True)]))


def _columns(count: int) -> int:
    return int(np.ceil(np.sqrt(count)))


def _sheet(thumbnails: NDArray[np.uint8]) -> Image.Image:
    """All thumbnails in a square, row by row."""
    side, columns = thumbnails.shape[1], _columns(len(thumbnails))
    sheet = np.full((columns * side, columns * side, 3), 255, np.uint8)
    for i, picture in enumerate(thumbnails):
        y, x = divmod(i, columns)
        sheet[y * side : (y + 1) * side, x * side : (x + 1) * side] = picture
    return Image.fromarray(sheet)


def map_section(sheet: Path, about: Path) -> str:
    """The map as a part of a page; empty where none was made."""
    if not about.is_file():
        return ""
    values: dict[str, Any] = read_json(about)
    names: list[str] = values["names"]
    labels: list[int] = values["labels"]
    classes: list[str] = values["classes"]
    columns = _columns(len(names))
    last = max(columns - 1, 1)
    marks = []
    for i, (x, y, name, label) in enumerate(
        zip(values["x"], values["y"], names, labels, strict=True)
    ):
        row, column = divmod(i, columns)
        title, mark = name, ""
        if 0 <= label < len(classes):
            mark = f' class="c{label}"'
            if classes[label] not in Path(name).parts:
                title = f"{name} ({classes[label]})"
        style = (
            f"left:{2.5 + 95 * x:.2f}%;top:{3.5 + 93 * y:.2f}%;"
            f"background-position:{100 * column / last:.3f}% {100 * row / last:.3f}%"
        )
        marks.append(
            f'<i tabindex="0" role="img"{mark} aria-label="{escape(title)}" style="{style}"></i>'
        )
    shown = sorted({label for label in labels if 0 <= label < len(classes)})
    shown = shown if len(shown) <= _CLASSES else []
    data = base64.b64encode(sheet.read_bytes()).decode()
    style = (
        f".map i{{background:url(data:image/jpeg;base64,{data}) 0 0/{100 * columns}% auto}}"
        f"{''.join(_highlight(c) for c in shown)}"
    )
    near, others = values["near"], len(names) - 1
    at_class = "Point at a class to see where it lies. " if shown else ""
    note = (
        f"{len(names)} pictures of the data; what the network finds alike lies together (t-SNE). "
        f"Point at a picture to see it large. {at_class}"
        f"Of the {near} nearest on the map, {100 * values['kept']:.0f}\u00a0% are among the {near} "
        f"nearest by the features (by chance {100 * near / others:.1f}\u00a0%); distances across "
        "the map mean nothing."
    )
    return (
        f"<h2>Map of the features</h2><style>{style}</style>"
        f'<div class="mapped"><div class="map">{"".join(marks)}</div>{_legend(shown, classes)}'
        f'</div><p class="note">{note}</p>'
    )


def _highlight(label: int) -> str:
    """The class a reader points at stands out; the others fade."""
    return f".mapped:has(.k{label}:hover,.k{label}:focus) .map i:not(.c{label}){{opacity:.12}}"


def _legend(shown: Sequence[int], classes: Sequence[str]) -> str:
    if not shown:
        return ""
    chips = "".join(f'<span tabindex="0" class="k{c}">{escape(classes[c])}</span>' for c in shown)
    return f'<div class="classes">{chips}</div>'
