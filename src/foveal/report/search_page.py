"""A page of pictures: each query and what was found for it."""

from __future__ import annotations

from html import escape
from pathlib import Path

from PIL import Image

from foveal.core.files import write_text
from foveal.data.badfiles import BadFile
from foveal.data.sources import Source
from foveal.evaluation.search import Match, Search
from foveal.report.page import document
from foveal.report.pictures import inline, picture_of

_SIDE = 144


def write_search_page(search: Search, out: str | Path) -> Path:
    """Writes one self-contained HTML file and returns its path."""
    rows = []
    for found, query in zip(search.found, _read_queries(search), strict=True):
        cells = [_figure(query, found.query, "query")]
        cells += [
            _figure(_thumbnail(search.gallery, m.row), m.name, _caption(m)) for m in found.matches
        ]
        rows.append(f'<div class="found">{"".join(cells)}</div>')
    note = (
        "Cosine of the features, the mean of the pile taken out. In brackets: the share of random "
        "pairs of the pile that are at least as similar."
    )
    body = f'<h1>Nearest pictures</h1><p class="note">{note}</p>{"".join(rows)}{_bad(search.bad)}'
    write_text(Path(out), document("foveal: search", body))
    return Path(out)


def _read_queries(search: Search) -> list[Image.Image]:
    by_name = {search.queries.name(i): i for i in range(len(search.queries))}
    return [_thumbnail(search.queries, by_name[f.query]) for f in search.found]


def _thumbnail(source: Source, row: int) -> Image.Image:
    picture = picture_of(source.read(row))
    picture.thumbnail((_SIDE, _SIDE))
    return picture


def _caption(match: Match) -> str:
    chance = f"{100 * match.chance:.2g} %" if match.chance else "none"
    return f"{match.similarity:.2f} ({chance})"


def _figure(picture: Image.Image, name: str, caption: str) -> str:
    title = escape(name, quote=True)
    image = inline(picture, title)
    return f'<figure title="{title}">{image}<figcaption>{escape(caption)}</figcaption></figure>'


def _bad(bad: list[BadFile]) -> str:
    if not bad:
        return ""
    items = "".join(f"<li>{escape(b.name)}: {escape(b.reason)}</li>" for b in bad)
    return f"<h2>Could not be read</h2><ul>{items}</ul>"
