"""Writes report.html from what the run folder holds."""

from __future__ import annotations

import csv
from html import escape
from itertools import cycle
from pathlib import Path
from typing import Any

from foveal.core.files import read_json, write_text
from foveal.engine.runfolder import RunFolder
from foveal.evaluation.result import TRIVIAL, figure, metric_words
from foveal.exporting.weights import load_encoder
from foveal.methods import get_method
from foveal.report.boxes import examples
from foveal.report.charts import Line, line_chart
from foveal.report.feature_map import STYLE as MAP_STYLE
from foveal.report.feature_map import map_section
from foveal.report.pictures import filter_sheet, inline

_COLOURS = ("#2563a8", "#c2410c", "#15803d", "#7e22ce")
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1d2329;background:#fff;max-width:62rem;
margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0 0 .2rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}
table{border-collapse:collapse}td,th{padding:.25rem .9rem .25rem 0;text-align:left;
border-bottom:1px solid #e4e7ea;vertical-align:top}
td.n,th.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.best{font-weight:600}.note{color:#5d6670;font-size:.87rem}.row{display:flex;flex-wrap:wrap;gap:1rem}
.row>figure{flex:1 1 24rem;min-width:0;margin:0}figcaption{font-size:.87rem;color:#5d6670}
svg{width:100%;height:auto;font-size:11px}svg text{fill:#5d6670}svg .legend{fill:inherit}
svg polyline{fill:none;stroke-width:1.6}.grid{stroke:#e9ecef}
img{max-width:100%;image-rendering:auto}code{background:#f3f5f7;padding:.1rem .3rem}
.found{display:flex;flex-wrap:wrap;gap:.6rem;padding:.8rem 0;border-bottom:1px solid #e4e7ea}
.found figure{margin:0}.found figure:first-child{padding-right:1rem;border-right:2px solid #1d2329}
.warn{background:#fff6e0;border-left:3px solid #d99a00;padding:.4rem .8rem;margin:.4rem 0}
"""


def write_report(run: str | Path) -> Path:
    """(Re)writes ``RUN/report.html`` and returns its path."""
    folder = RunFolder(run)
    recipe = folder.recipe()
    data = read_json(folder.data_file)
    metrics = folder.metrics()
    sections = [
        _head(folder, recipe.method, recipe.network.name, data),
        _results(folder),
        _warnings(metrics),
        _curves(metrics, recipe.method),
        _pictures(folder),
        map_section(folder.map_sheet, folder.map_file),
        _data(folder, data),
        _settings(folder, data),
    ]
    write_text(folder.report_file, document(f"foveal: {folder.path.name}", "".join(sections)))
    return folder.report_file


def document(title: str, body: str) -> str:
    """A whole page in the reports' style."""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}{MAP_STYLE}</style>{body}</html>\n"
    )


def _head(folder: RunFolder, method: str, network: str, data: dict[str, Any]) -> str:
    state = "not finished yet"
    if folder.finished:
        done = read_json(folder.finished_file)
        state = f"{done['seen']:,} pictures seen in {done['seconds'] / 60:.1f} minutes"
    return (
        f"<h1>{escape(folder.path.name)}</h1><p>{escape(method)} on {escape(network)}, "
        f"{escape(str(data['data']))} · {state}</p>"
    )


def _results(folder: RunFolder) -> str:
    """The accuracy table: never a number alone."""
    results = []
    for path in sorted(folder.results.glob("*.json")) if folder.results.is_dir() else []:
        loaded = read_json(path)
        results += loaded if isinstance(loaded, list) else [loaded]
    if not results:
        return (
            "<h2>Results</h2><p>Not measured yet: <code>foveal evaluate "
            f"{escape(str(folder.path))} --data LABELLED</code></p>"
        )
    rows, health = [], []
    for r in results:
        if not r.get("baselines"):
            about = r["configuration"]
            start = about.get("random_init_value")
            health.append(
                f'<tr><td>{escape(r["metric"])}</td><td class="n best">{r["value"]:.3f}</td>'
                f'<td class="n">{"-" if start is None else f"{start:.3f}"}</td>'
                f'<td class="note">{escape(str(about.get("meaning", "")))}</td>'
                f'<td class="note">{escape(_data_name(r))}</td></tr>'
            )
            continue
        unit = r["configuration"].get("unit", "share")
        cells = [f'<td class="n best">{with_interval(r, unit)}</td>']
        start = r["baselines"].get("random_init")
        others = [
            with_interval(base, unit)
            + ("" if name == "pixels" else f"<br><small>{TRIVIAL[name]}</small>")
            for name, base in r["baselines"].items()
            if name in TRIVIAL
        ]
        for cell in (with_interval(start, unit) if start else "-", "<br>".join(others) or "-"):
            cells.append(f'<td class="n">{cell}</td>')
        metric = metric_words(r["metric"]) + ("" if unit in ("share", "") else f" ({unit})")
        embedded = r["configuration"].get("layer") == "embedding"
        protocol = r["protocol"] + (" of the embedding" if embedded else "")
        rows.append(
            f"<tr><td>{escape(protocol)}</td><td>{escape(metric)}</td>"
            f'{"".join(cells)}<td class="n">{r["n"]:,}</td>'
            f'<td class="note">{escape(_data_name(r))}</td></tr>'
        )
    text = "<h2>Results</h2>"
    if rows:
        text += (
            '<table><tr><th>protocol</th><th>metric</th><th class="n">trained</th>'
            '<th class="n">random init</th><th class="n">raw pixels, or as named</th>'
            f'<th class="n">pictures</th><th>of</th></tr>{"".join(rows)}</table>'
            '<p class="note">In brackets the 95 % interval over test pictures (bootstrap). '
            "Random init: the same network with drawn weights, its batch-norm statistics "
            "estimated on the training pictures. Of a fine-tuned row: the same training from that "
            "start.</p>"
        )
    if health:
        text += (
            '<h2>Health of the features (no labels)</h2><table><tr><th></th><th class="n">trained'
            f'</th><th class="n">random init</th><th></th><th>of</th></tr>{"".join(health)}</table>'
        )
    return text


def _data_name(result: dict[str, Any]) -> str:
    """What it was measured on."""
    name = str(result["configuration"].get("data", {}).get("test", {}).get("name", ""))
    return "/".join(Path(name).parts[-2:])


def with_interval(value: dict[str, Any], unit: str = "share") -> str:
    """``31.2 % [29.0, 33.0]``, as a table's cell."""
    interval = value.get("interval")
    text = f"{figure(value['value'], unit)}{' %' if unit == 'share' else ''}"
    if interval:
        low, high = (figure(x, unit) for x in interval)
        text += f' <span class="note">[{low}, {high}]</span>'
    return text


def _warnings(metrics: list[dict[str, Any]]) -> str:
    texts = [str(r["text"]) for r in metrics if r["kind"] == "warning"]
    return "".join(f'<p class="warn">{escape(t)}</p>' for t in texts)


def _curves(metrics: list[dict[str, Any]], method: str) -> str:
    # Tasks that take turns have losses of their own sizes.
    losses = {part: f"{part}_loss" for part in get_method(method).parts} or {"": "loss"}
    train = [r for r in metrics if r["kind"] == "train"]
    online = [r for r in metrics if r["kind"] == "online"]
    health = [r for r in metrics if r["kind"] == "monitor"]
    charts = [
        _chart(train, losses, "position", "loss", "Loss over pictures seen"),
        _chart(online, {"": "knn"}, "epoch", "accuracy", "Online kNN (held-out training pictures)"),
        _chart(
            health, {"": "effective_rank"}, "epoch", "directions", "Effective rank of the features"
        ),
        _chart(train, {"": "images_per_s"}, "position", "images/s", "Speed"),
    ]
    figures = [c for c in charts if c]
    return f'<h2>Training</h2><div class="row">{"".join(figures)}</div>' if figures else ""


def _chart(
    records: list[dict[str, Any]], keys: dict[str, str], x: str, y_label: str, title: str
) -> str:
    """A line for every name and key."""
    lines = []
    for (name, key), colour in zip(keys.items(), cycle(_COLOURS), strict=False):
        kept = [r for r in records if key in r and x in r]
        xs, ys = [float(r[x]) for r in kept], [float(r[key]) for r in kept]
        lines.append(Line(name, xs, ys, colour))
    x_label = "pictures seen" if x == "position" else "epoch"
    svg = line_chart(lines, x_label=x_label, y_label=y_label, title=title)
    return f"<figure>{svg}<figcaption>{escape(title)}</figcaption></figure>" if svg else ""


def _pictures(folder: RunFolder) -> str:
    figures = []
    if folder.neighbours_file.is_file():
        figures.append(
            f"<figure>{inline(folder.neighbours_file, 'nearest neighbours')}<figcaption>Pictures "
            "of the data (left) and their nearest neighbours, nearest first.</figcaption></figure>"
        )
    if folder.backbone_file.is_file():
        filters = filter_sheet(load_encoder(folder.path))
        if filters is not None:
            figures.append(
                f"<figure>{inline(filters, 'first-layer filters')}<figcaption>Filters of the "
                "first layer.</figcaption></figure>"
            )
    found = examples(folder.results)
    if found is not None:
        figures.append(
            f"<figure>{inline(found, 'boxes found in test pictures')}<figcaption>Its detector's "
            "surest boxes in some test pictures.</figcaption></figure>"
        )
    text = "".join(figures)
    return f'<h2>What it sees</h2><div class="row">{text}</div>' if text else ""


def _data(folder: RunFolder, data: dict[str, Any]) -> str:
    scan: dict[str, Any] = data["scan"]
    rows = [
        f"<tr><td>{escape(name.replace('_', ' '))}</td><td>{escape(_short(value))}</td></tr>"
        for name, value in scan.items()
        if not isinstance(value, list) or len(value) < 12
    ]
    bad = ""
    if folder.bad_file.is_file():
        with folder.bad_file.open(encoding="utf-8", newline="") as f:
            listed = list(csv.reader(f))[1:]
        if listed:
            lines = "".join(
                f"<tr>{''.join(f'<td>{escape(c)}</td>' for c in row)}</tr>" for row in listed[:50]
            )
            bad = f"<h2>Files left out ({len(listed)})</h2><table>{lines}</table>"
    return f"<h2>Data</h2><table>{''.join(rows)}</table>{bad}"


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}: {_short(v)}" for k, v in list(value.items())[:12]) or "none"
    if isinstance(value, list):
        return ", ".join(_short(v) for v in value) or "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _settings(folder: RunFolder, data: dict[str, Any]) -> str:
    reasons = "".join(f"<li>{escape(str(r))}</li>" for r in data.get("reasons", []))
    environment = read_json(folder.environment_file)
    versions = ", ".join(f"{k} {v}" for k, v in environment["versions"].items())
    return (
        f"<h2>How it was made</h2><ul>{reasons}</ul>"
        f"<p class='note'><code>{escape(environment['command'])}</code><br>"
        f"{escape(environment['processor'])}, {environment['cores']} cores · {escape(versions)}</p>"
        f"<details><summary>recipe.json</summary><pre>"
        f"{escape(folder.recipe_file.read_text(encoding='utf-8'))}</pre></details>"
    )
