"""One number with everything it must be read beside, and the table of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

_WORDS = {
    "top1": "top-1",
    "top5": "top-5",
    "mean_per_class": "mean per class",
    "map_eleven_point": "mAP (11-point)",
    "map_envelope": "mAP (envelope)",
    "map_raw": "mAP (raw)",
    "map_trapezoid": "mAP (trapezoid)",
    "nmi_arithmetic": "NMI (arithmetic)",
    "nmi_geometric": "NMI (geometric)",
    "ami": "AMI",
    "ari": "ARI",
    "hungarian": "Hungarian accuracy",
    "mce": "mCE",
    "relative_mce": "relative mCE",
    "ece": "ECE",
    "ap50_envelope": "AP50 (VOC, envelope)",
    "ap50_eleven_point": "AP50 (VOC07, 11 points)",
    "ap": "AP (COCO)",
    "ap50": "AP50 (COCO)",
    "ap75": "AP75 (COCO)",
}
# What stands beside random initialisation, by its name among the baselines.
TRIVIAL = {
    "pixels": "raw pixels",
    "most_frequent": "most frequent class",
    "mean_depth": "mean depth",
    "mean_normal": "mean normal",
    "sift": "SIFT",
    "random_actions": "random actions",
}
HEALTH = "health"


@dataclass(frozen=True)
class Result:
    """A measurement. ``docs/evaluation.md`` documents the JSON keys, which stay as they are.

    Attributes:
        protocol: ``knn``, ``linear``, ...
        metric: ``top1``, ``top5``, or a health figure.
        value: Accuracies are shares, 0 to 1.
        interval: 95 % bootstrap interval over test pictures; None for health figures.
        n: Test pictures (health: pictures looked at), or what ``items`` of the configuration says.
        baselines: ``random_init`` and ``pixels``, each with ``value``, ``interval``,
            ``difference`` (this value minus the baseline's) and ``difference_interval`` (paired).
            Empty for health figures. Dense tasks have a trivial prediction for ``pixels``.
        configuration: Everything else that shapes the number.
    """

    protocol: str
    metric: str
    value: float
    interval: tuple[float, float] | None
    n: int
    baselines: dict[str, dict[str, Any]] = field(default_factory=dict)
    configuration: dict[str, Any] = field(default_factory=dict)

    @property
    def unit(self) -> str:
        """``share``, or what the value is counted in; empty: a bare number."""
        return str(self.configuration.get("unit", "share"))

    @property
    def higher_is_better(self) -> bool:
        """False for errors."""
        return bool(self.configuration.get("better", "higher") == "higher")

    @property
    def others(self) -> tuple[str, ...]:
        """The baselines beside random initialisation, keys of ``TRIVIAL``."""
        return tuple(name for name in self.baselines if name in TRIVIAL)

    @property
    def trivial(self) -> str | None:
        """The first of ``others``, if there is one."""
        return next(iter(self.others), None)

    @property
    def items(self) -> str:
        """What ``n`` counts and the interval is over."""
        return str(self.configuration.get("items", "test pictures"))

    @property
    def counted(self) -> str:
        """``4,000 test pictures, 12,200 training pictures, 40 classes``."""
        about = self.configuration
        parts = [f"{self.n:,} {self.items}"]
        if "train" in about.get("data", {}):
            parts.append(f"{about['data']['train']['n']:,} training pictures")
        if "classes" in about:
            parts.append(f"{about['classes']} classes")
        return ", ".join(parts)

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


def metric_words(metric: str) -> str:
    """A metric as it is printed, with what follows its name: a layer, k."""
    name, _, more = metric.partition(" ")
    return " ".join(word for word in (_WORDS.get(name, name), more) if word)


def table(results: Sequence[Result]) -> RenderableType:
    """Trained, random initialisation and raw pixels side by side; health figures below.

    One table for every kind of baseline and every test part; its name below where there are more.
    """
    figures = [r for r in results if not r.baselines]
    sets = {_test_part(r): r for r in reversed(results)}
    parts: list[RenderableType] = []
    for kind in dict.fromkeys(_kind(r) for r in results if r.baselines):
        some = [r for r in results if r.baselines and _kind(r) == kind]
        name = _test_part(some[0]) if len(sets) > 1 else ""
        parts += [*([Text("")] if parts else []), _accuracy_table(some), _notes(some, name)]
    for name in dict.fromkeys(_test_part(r) for r in figures):
        parts += [Text(""), _health_table([r for r in figures if _test_part(r) == name])]
        if len(sets) > 1:
            parts.append(Text(f"({name})", style="dim"))
    for r in sets.values():
        unreadable = _unreadable(r)
        if unreadable:
            parts.append(Text(unreadable, style="yellow"))
    return Group(*parts)


def _kind(r: Result) -> tuple[tuple[str, ...], str, str]:
    """What stands beside it, and what it was measured on."""
    return r.others, r.items, _test_part(r)


def _test_part(r: Result) -> str:
    """Its name, where the result says."""
    return str(r.configuration.get("data", {}).get("test", {}).get("name", ""))


def _accuracy_table(results: Sequence[Result]) -> Table:
    others = results[0].others
    shown = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    shown.add_column("protocol", no_wrap=True)
    between = [TRIVIAL[name] for name in others]
    for name in ("trained", "random init", *between, "over random init"):
        shown.add_column(name, justify="right")
    for r in results:
        base, unit = r.baselines, r.unit
        named = f"{r.protocol} {metric_words(r.metric)}"
        shown.add_row(
            named if unit == "share" else f"{named} ({unit})" if unit else named,
            share_text({"value": r.value, "interval": r.interval}, "bold", unit),
            share_text(base.get("random_init"), unit=unit),
            *(share_text(base[name], unit=unit) for name in others),
            difference_text(base.get("random_init"), unit, r.higher_is_better),
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


def figure(value: float, unit: str = "share", sign: str = "") -> str:
    """A number as it is printed: shares in percent, all else with four digits at most."""
    return f"{100 * value:{sign}.1f}" if unit == "share" else f"{value:{sign}.4g}"


def share_text(found: dict[str, Any] | None, style: str = "", unit: str = "share") -> Text:
    """``31.2 [29.0,33.0]`` of a value with its interval; shares in percent."""
    if found is None:
        return Text("-")
    # No blank inside the brackets: a narrow terminal breaks the cell before them.
    text = Text(figure(found["value"], unit), style=style)
    if found["interval"]:
        low, high = (figure(x, unit) for x in found["interval"])
        text.append(f" [{low},{high}]", style="not bold dim")
    return text


def difference_text(
    found: dict[str, Any] | None, unit: str = "share", higher_is_better: bool = True
) -> Text:
    """``+20.0 [+18.0,+22.0]`` of a difference with its interval; shares in points."""
    if found is None:
        return Text("-")
    low, high = found["difference_interval"] or (0, 0)
    # Coloured only where the interval leaves no doubt of the sign.
    good, bad = ("green", "red") if higher_is_better else ("red", "green")
    style = good if low > 0 else bad if high < 0 else ""
    text = Text(figure(found["difference"], unit, "+"), style=style)
    if found["difference_interval"]:
        text.append(f" [{figure(low, unit, '+')},{figure(high, unit, '+')}]", style="dim")
    return text


def _notes(results: Sequence[Result], name: str) -> Text:
    first = results[0]
    units = {r.unit for r in results}
    shown = "% of " if units == {"share"} else "shares in % of " if "share" in units else ""
    line = f"{shown}{first.counted}{name and f' ({name})'}; [95 % interval over {first.items}]"
    return Text(line, style="dim")


def _unreadable(result: Result) -> str:
    counts = result.configuration.get("unreadable", {})
    total = counts.get("train", 0) + counts.get("test", 0)
    if not total:
        return ""
    named = counts["files"]
    more = "" if len(named) == total else ", ..."
    what = "1 picture" if total == 1 else f"{total:,} pictures"
    return f"{what} could not be read, left out: {', '.join(named)}{more}"
