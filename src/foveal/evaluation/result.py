"""One number with everything it must be read beside, and the table of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

WORDS = {"top1": "top-1", "top5": "top-5", "map_envelope": "mAP (envelope)"}
HEALTH = "health"


@dataclass(frozen=True)
class Result:
    """A measurement. ``docs/evaluation.md`` documents the JSON keys, which stay as they are.

    Attributes:
        protocol: ``knn``, ``linear``, ...
        metric: ``top1``, ``top5``, or a health figure.
        value: Accuracies are shares, 0 to 1.
        interval: 95 % bootstrap interval over test pictures; None for health figures.
        n: Test pictures (health: pictures looked at).
        baselines: ``random_init`` and ``pixels``, each with ``value``, ``interval``,
            ``difference`` (this value minus the baseline's) and ``difference_interval`` (paired).
            Empty for health figures.
        configuration: Everything else that shapes the number.
    """

    protocol: str
    metric: str
    value: float
    interval: tuple[float, float] | None
    n: int
    baselines: dict[str, dict[str, Any]] = field(default_factory=dict)
    configuration: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values under the documented keys."""
        return {
            "protocol": self.protocol,
            "metric": self.metric,
            "value": self.value,
            "interval": None if self.interval is None else list(self.interval),
            "n": self.n,
            "baselines": self.baselines,
            "configuration": self.configuration,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Result:
        """The result ``to_json`` was called on."""
        interval = value["interval"]
        return cls(**{**value, "interval": None if interval is None else tuple(interval)})


def table(results: Sequence[Result]) -> RenderableType:
    """Trained, random initialisation and raw pixels side by side; health figures below."""
    accuracies = [r for r in results if r.baselines]
    figures = [r for r in results if not r.baselines]
    parts: list[RenderableType] = []
    if accuracies:
        parts += [_accuracy_table(accuracies), _notes(accuracies[0])]
    if figures:
        parts += [Text(""), _health_table(figures)]
    unreadable = _unreadable(results)
    if unreadable:
        parts.append(Text(unreadable, style="yellow"))
    return Group(*parts)


def _accuracy_table(results: Sequence[Result]) -> Table:
    shown = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    shown.add_column("protocol", no_wrap=True)
    for name in ("trained", "random init", "raw pixels", "over random init"):
        shown.add_column(name, justify="right")
    for r in results:
        base = r.baselines
        shown.add_row(
            f"{r.protocol} {WORDS.get(r.metric, r.metric)}",
            share_text({"value": r.value, "interval": r.interval}, "bold"),
            share_text(base.get("random_init")),
            share_text(base.get("pixels")),
            difference_text(base.get("random_init")),
        )
    return shown


def _health_table(results: Sequence[Result]) -> Table:
    shown = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    shown.add_column("health (no labels)", no_wrap=True)
    for name in ("trained", "random init"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("", style="dim")
    for r in results:
        untrained = r.configuration.get("random_init_value")
        shown.add_row(
            r.metric,
            Text(f"{r.value:.3f}", style="bold"),
            "-" if untrained is None else f"{untrained:.3f}",
            str(r.configuration.get("meaning", "")),
        )
    return shown


def share_text(found: dict[str, Any] | None, style: str = "") -> Text:
    """``31.2 [29.0,33.0]`` in percent, of a share with its interval."""
    if found is None:
        return Text("-")
    # No blank inside the brackets: a narrow terminal breaks the cell before them.
    text = Text(f"{100 * found['value']:.1f}", style=style)
    if found["interval"]:
        low, high = found["interval"]
        text.append(f" [{100 * low:.1f},{100 * high:.1f}]", style="not bold dim")
    return text


def difference_text(found: dict[str, Any] | None) -> Text:
    """``+20.0 [+18.0,+22.0]`` in points, of a difference with its interval."""
    if found is None:
        return Text("-")
    low, high = found["difference_interval"]
    # Green only where the interval leaves no doubt of the sign.
    style = "green" if low > 0 else "red" if high < 0 else ""
    text = Text(f"{100 * found['difference']:+.1f}", style=style)
    text.append(f" [{100 * low:+.1f},{100 * high:+.1f}]", style="dim")
    return text


def _notes(r: Result) -> Text:
    about = r.configuration
    data = about.get("data", {})
    line = f"% of {r.n:,} test pictures"
    if data:
        line += f" ({about['classes']} classes, {data['train']['n']:,} training pictures)"
    return Text(f"{line}; [95 % interval over test pictures]", style="dim")


def _unreadable(results: Sequence[Result]) -> str:
    counts = results[0].configuration.get("unreadable", {}) if results else {}
    total = counts.get("train", 0) + counts.get("test", 0)
    if not total:
        return ""
    named = counts["files"]
    more = "" if len(named) == total else ", ..."
    what = "1 picture" if total == 1 else f"{total:,} pictures"
    return f"{what} could not be read, left out: {', '.join(named)}{more}"
