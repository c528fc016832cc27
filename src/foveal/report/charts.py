"""Line charts as inline SVG: a page that needs nothing from anywhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 560, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 28, 12, 36
_MAX_POINTS = 400


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: For the legend; empty shows none.
        x, y: Points.
        colour: Any CSS colour.
        dashed: For reference levels.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str = "#2563a8"
    dashed: bool = False


def line_chart(lines: Sequence[Line], *, x_label: str, y_label: str, title: str) -> str:
    """An SVG with axes, ticks and a legend; an empty string where there is nothing to draw."""
    points = [
        (x, y)
        for line in lines
        for x, y in zip(line.x, line.y, strict=True)
        if math.isfinite(x) and math.isfinite(y)
    ]
    if not points:
        return ""
    x_ticks = ticks(min(p[0] for p in points), max(p[0] for p in points))
    y_ticks = ticks(min(p[1] for p in points), max(p[1] for p in points))
    x0, x1, y0, y1 = x_ticks[0], x_ticks[-1], y_ticks[0], y_ticks[-1]

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            _LEFT + (x - x0) / (x1 - x0) * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - (y - y0) / (y1 - y0) * (_HEIGHT - _TOP - _BOTTOM),
        )

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>",
    ]
    for y in y_ticks:
        _, py = at(x0, y)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{py:.1f}" y2="{py:.1f}"/>'
        )
        parts.append(f'<text x="{_LEFT - 6}" y="{py + 4:.1f}" text-anchor="end">{label(y)}</text>')
    for x in x_ticks:
        px, _ = at(x, y0)
        parts.append(
            f'<text x="{px:.1f}" y="{_HEIGHT - _BOTTOM + 15}" text-anchor="middle">'
            f"{label(x)}</text>"
        )
    parts.append(
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 4}" text-anchor="middle">'
        f"{escape(x_label)}</text>"
    )
    parts.append(
        f'<text transform="translate(11 {(_TOP + _HEIGHT - _BOTTOM) / 2}) rotate(-90)" '
        f'text-anchor="middle">{escape(y_label)}</text>'
    )
    for i, line in enumerate(lines):
        path = " ".join(
            f"{px:.1f},{py:.1f}" for px, py in (at(x, y) for x, y in thinned(line.x, line.y))
        )
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        parts.append(f'<polyline points="{path}" stroke="{line.colour}"{dash}/>')
        if line.name:
            y = _TOP + 12 + 15 * i
            parts.append(
                f'<text x="{_WIDTH - _RIGHT - 4}" y="{y}" text-anchor="end" '
                f'fill="{line.colour}" class="legend">{escape(line.name)}</text>'
            )
    parts.append("</svg>")
    return "".join(parts)


def thinned(x: Sequence[float], y: Sequence[float]) -> list[tuple[float, float]]:
    """At most a few hundred points: means of equal stretches, so noise stays readable."""
    points = [(a, b) for a, b in zip(x, y, strict=True) if math.isfinite(a) and math.isfinite(b)]
    size = math.ceil(len(points) / _MAX_POINTS) or 1
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return [(sum(p[0] for p in g) / len(g), sum(p[1] for p in g) / len(g)) for g in groups]


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from at or below ``low`` to at or above ``high``."""
    if high - low < 1e-12:
        pad = max(abs(low) * 0.1, 0.5)
        low, high = low - pad, high + pad
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw - 1e-15)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def label(value: float) -> str:
    """A tick's text: 12,000 and 0.25, not 12000.000000001."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.6g}" if abs(value) >= 0.01 else f"{value:.2e}"
