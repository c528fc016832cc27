"""A backbone for use elsewhere: written, loaded back the way a reader will, compared, then kept."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from foveal.backbones.encoder import Encoder
from foveal.backbones.inputs import Normalise
from foveal.core import rng
from foveal.core.files import read_json, write_json, write_text
from foveal.errors import FovealError
from foveal.exporting.weights import load_encoder, read_about, save_encoder
from foveal.recipe import nearest

# Largest difference between the original's and the export's features, relative to the largest
# feature: float32 sums in another order stay well below, a wrong layer or weight far above.
TOLERANCE = 1e-4
# Batches that are compared; the programme is traced with a batch of 2.
_BATCHES = (1, 3)


@dataclass(frozen=True)
class ExportReport:
    """What was written.

    Attributes:
        format: ``timm`` or ``torch``.
        out: The folder.
        files: Names in it.
        difference: Largest absolute difference to the original's features.
        line: The line of Python that loads it.
    """

    format: str
    out: Path
    files: tuple[str, ...]
    difference: float
    line: str

    def __str__(self) -> str:
        """Three lines for a person."""
        return (
            f"wrote {self.out}: {', '.join(self.files)}\n"
            f"loaded back and compared: largest difference {self.difference:.1e}\n"
            f"load it with: {self.line}"
        )


def export(run_or_file: str | Path, *, format: str, out: str | Path) -> ExportReport:
    """Writes a backbone for use elsewhere, after comparing its outputs with the original's.

    Args:
        run_or_file: A run folder, an exported folder or a file of foveal.
        format: ``timm``: loads with ``timm.create_model``, for trunks that are one unmodified timm
            network behind a normalisation. ``torch``: a ``torch.export`` program of the whole
            encoder, from pictures in [0, 1] to ``pooled``, any batch size.
        out: The folder to write; must not exist or be empty.

    Raises:
        FovealError: Unknown format, one that cannot hold this encoder, a folder that holds
            something, or an export whose outputs differ.
    """
    if format not in FORMATS:
        raise FovealError(f"there is no format '{format}'", hint=nearest(format, list(FORMATS)))
    out = Path(out)
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise FovealError(f"{out} exists and is not an empty folder", hint="another --out")
    encoder = load_encoder(run_or_file)
    about = read_about(run_or_file)
    with _new_folder(out) as folder:
        line, difference = FORMATS[format](encoder, about, folder, out)
        _write_card(encoder, about, folder, line)
        files = tuple(sorted(path.name for path in folder.iterdir()))
    return ExportReport(format, out, files, difference, line)


def _export_timm(
    encoder: Encoder, about: dict[str, Any], folder: Path, out: Path
) -> tuple[str, float]:
    """Timm's hub layout: ``model.safetensors`` with timm's names and ``config.json``."""
    spec = None
    if len(encoder.trunks) == 1 and encoder.grid == 1:
        from foveal.backbones import timm_bridge

        spec = timm_bridge.timm_spec(encoder.describe()["trunks"][0])
    layers = list(encoder.inputs[0].children())
    if spec is None or len(layers) != 1 or not isinstance(layers[0], Normalise):
        raise FovealError(
            "this encoder is not one unmodified timm network on whole pictures behind a "
            "normalisation, so timm cannot build it",
            hint="--format torch",
        )
    values = layers[0].arguments
    channels = encoder.channels
    config = timm_bridge.hub_config(
        *spec,
        size=encoder.size,
        fraction=encoder.fraction,
        mean=_per_channel(values["mean"], channels),
        std=_per_channel(values["std"], channels),
    )
    write_json(folder / "config.json", config)
    save_encoder(encoder, folder / "model.safetensors", about, prefix="trunks.0.body.net.")
    net = timm_bridge.load_exported(str(folder)).eval()
    written = read_json(folder / "config.json")["pretrained_cfg"]
    mean, std = (torch.tensor(written[k])[:, None, None] for k in ("mean", "std"))
    difference = _compare(encoder, lambda pictures: net((pictures - mean) / std))
    return timm_bridge.load_line(str(out)), difference


def _export_torch(
    encoder: Encoder, about: dict[str, Any], folder: Path, out: Path
) -> tuple[str, float]:
    """``encoder.pt2`` and foveal's own file of weights."""
    file = folder / "encoder.pt2"
    try:
        program = torch.export.export(
            _Pooled(encoder),
            (_pictures(encoder, 2),),
            dynamic_shapes={"pictures": {0: torch.export.Dim("batch")}},
        )
    except (RuntimeError, ValueError) as error:
        raise FovealError(
            f"torch.export cannot trace this encoder: {error}",
            hint="use it through foveal.load instead",
        ) from error
    torch.export.save(program, file)
    save_encoder(encoder, folder / "backbone.safetensors", about)
    loaded = torch.export.load(file).module()
    difference = _compare(encoder, loaded)
    return f'torch.export.load("{out / file.name}").module()', difference


FORMATS: dict[str, Callable[[Encoder, dict[str, Any], Path, Path], tuple[str, float]]] = {
    "timm": _export_timm,
    "torch": _export_torch,
}


class _Pooled(nn.Module):
    """Pictures to the pooled vector and nothing else."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pictures: Tensor) -> Tensor:
        """[B, C, size, size] in [0, 1] -> [B, D]."""
        pooled: Tensor = self.encoder(pictures)["pooled"]
        return pooled


def _pictures(encoder: Encoder, batch: int) -> Tensor:
    """Keyed noise in [0, 1], [batch, C, size, size]."""
    shape = (encoder.channels, encoder.size, encoder.size)
    values = rng.uniform(rng.key(0, "export"), np.arange(batch), int(np.prod(shape)))
    return torch.from_numpy(values.astype(np.float32)).view(batch, *shape)


@torch.no_grad()
def _compare(encoder: Encoder, other: Callable[[Tensor], Tensor]) -> float:
    """Largest absolute difference of the features.

    Raises:
        FovealError: It is beyond rounding.
    """
    worst = 0.0
    for batch in _BATCHES:
        pictures = _pictures(encoder, batch)
        ours, theirs = encoder(pictures)["pooled"], other(pictures)
        difference = (ours - theirs).abs().max().item() if ours.shape == theirs.shape else np.inf
        if not difference <= TOLERANCE * max(1.0, ours.abs().max().item()):
            raise FovealError(
                f"the exported network's features differ from the original's by {difference:.2g}, "
                "so nothing was written",
                hint="please report it, naming the backbone; --format torch may work",
            )
        worst = max(worst, difference)
    return worst


def _per_channel(values: list[float], channels: int) -> list[float]:
    return values * channels if len(values) == 1 else values


def _write_card(encoder: Encoder, about: dict[str, Any], folder: Path, line: str) -> None:
    """A README for whoever finds the folder."""
    described = encoder.describe()
    names = " and ".join(dict.fromkeys(spec["name"] for spec in described["trunks"]))
    resize = round(encoder.size / encoder.fraction)
    recipe = about.get("recipe", {})
    how = f" with {recipe['method']}" if isinstance(recipe, dict) and "method" in recipe else ""
    by = " ".join(["foveal", *([about["version"]] if "version" in about else [])])
    inputs = "\n".join(
        f"- trunk {i + 1}: {json.dumps(layers)}" for i, layers in enumerate(described["inputs"])
    )
    text = f"""# {names}: visual features learned without labels

Trained{how} by {by}. It turns a picture into {encoder.dim} numbers.

## Load

```python
import {line.partition(".")[0]}

net = {line}
```

or, with foveal: `foveal.load(FOLDER)`, `foveal embed FOLDER --data PICTURES --out FILE.npz`.

## Pictures

{encoder.channels} channels; resize the short side to {resize} pixels (bicubic), cut the central
{encoder.size}x{encoder.size}, divide by the largest pixel value so that they lie in [0, 1].
{_CARD_INPUTS[line.partition(".")[0]]}

{inputs}

## Network

```json
{json.dumps(described["trunks"], indent=2)}
```
"""
    write_text(folder / "README.md", text)


_CARD_INPUTS = {
    "torch": "The program does the rest itself (channels, normalisation):",
    "timm": "Then normalise, as `timm.data.create_transform` does from `config.json`:",
}


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside ``out`` that becomes ``out`` when nothing went wrong."""
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}")
    folder.mkdir()
    try:
        yield folder
        # Renaming replaces an empty folder in one step.
        folder.replace(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
