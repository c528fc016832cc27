"""The README of an exported folder: a model card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from foveal.backbones.encoder import Encoder
from foveal.core.files import write_text


def write_card(
    encoder: Encoder,
    about: dict[str, Any],
    folder: Path,
    line: str,
    results: Sequence[dict[str, Any]] = (),
) -> None:
    """A README for whoever finds the folder: a model card, with the numbers that were measured.

    Args:
        encoder: What was exported.
        about: What its file says of it.
        folder: Where README.md is written.
        line: The line that loads it.
        results: Of ``evaluate``, as JSON values; empty says that nothing was measured.
    """
    described = encoder.describe()
    names = " and ".join(dict.fromkeys(spec["name"] for spec in described["trunks"]))
    resize = round(encoder.size / encoder.fraction)
    recipe = about.get("recipe", {})
    white = 2 ** about.get("bits", 8) - 1
    how = f" with {recipe['method']}" if isinstance(recipe, dict) and "method" in recipe else ""
    by = " ".join(["foveal", *([about["version"]] if "version" in about else [])])
    inputs = "\n".join(
        f"- trunk {i + 1}: {json.dumps(layers)}" for i, layers in enumerate(described["inputs"])
    )
    libraries = _libraries(line)
    text = f"""---
library_name: foveal
pipeline_tag: image-feature-extraction
tags: [self-supervised, image-feature-extraction]
---

# {names}: visual features learned without labels

Trained{how} by {by}. It turns a picture into {encoder.dim} numbers.

## Load

```python
{_code(line, libraries)}
```

or, with foveal: `foveal.load(FOLDER)`, `foveal embed FOLDER --data PICTURES --out FILE.npz`.

## Pictures

{encoder.channels} channels; resize the short side to {resize} pixels (bicubic), cut the central
{encoder.size}x{encoder.size}, divide by {white} so that pixels lie in [0, 1].
{_INPUTS.get(libraries[-1], _INPUTS["torch"])}

{inputs}

## Measured

{_measured(results)}

## Network

```json
{json.dumps(described["trunks"], indent=2)}
```
"""
    write_text(folder / "README.md", text)


def _libraries(line: str) -> list[str]:
    """The packages the line needs, the one that makes the network last."""
    found = [n for n in ("torch", "torchvision", "timm", "onnxruntime") if f"{n}." in line]
    return found or ["detectron2" if line.startswith("cfg.") else "foveal"]


def _code(line: str, libraries: list[str]) -> str:
    if libraries == ["detectron2"]:
        return (
            "from detectron2.config import get_cfg\n\ncfg = get_cfg()\n"
            'cfg.merge_from_file("the configuration of your detector")\n' + line
        )
    net = line if line.startswith("net = ") else f"net = {line}"
    return f"import {', '.join(libraries)}\n\n{net}"


_INPUTS = {
    "torch": "The program does the rest itself (channels, normalisation):",
    "timm": "Then normalise, as `timm.data.create_transform` does from `config.json`:",
    "torchvision": "Then normalise:",
    "detectron2": "Then normalise; `detectron2.yaml` has the same in detectron2's range, 0 to 255, "
    "and the order of the channels, RGB:",
}


def _measured(results: Sequence[dict[str, Any]]) -> str:
    rows = [r for r in results if r["baselines"]]
    if not rows:
        return "Nothing was measured: `foveal evaluate RUN --data LABELLED` before the export does."
    lines = [
        "| protocol | data | value | random init | without a network |",
        "|---|---|---:|---:|---:|",
    ]
    for r in rows:
        data = r["configuration"].get("data", {}).get("test", {})
        unit = r["configuration"].get("unit", "share")
        value = _figure(r["value"], unit)
        if r["interval"]:
            value += f" [{', '.join(_figure(x, unit) for x in r['interval'])}]"
        drawn = [b for name, b in r["baselines"].items() if name == "random_init"]
        others = [(name, b) for name, b in r["baselines"].items() if name != "random_init"]
        start = _figure(drawn[0]["value"], unit) if drawn else "-"
        beside = ", ".join(f"{_figure(b['value'], unit)} ({_words(name)})" for name, b in others)
        metric = r["metric"] if unit in ("share", "") else f"{r['metric']} ({unit})"
        where = f"{Path(data.get('name', '?')).name} ({r['n']:,})"
        lines.append(
            f"| {r['protocol']} {metric} | {where} | {value} | {start} | {beside or '-'} |"
        )
    return "\n".join([*lines, "", "Shares in percent; in brackets 95 % intervals."])


def _figure(value: float, unit: str) -> str:
    return f"{100 * value:.1f}" if unit == "share" else f"{value:.4g}"


def _words(baseline: str) -> str:
    return "raw pixels" if baseline == "pixels" else baseline.replace("_", " ")
