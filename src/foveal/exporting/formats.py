"""A backbone for use elsewhere: written, loaded back the way a reader will, compared, then kept."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from foveal.backbones.encoder import Encoder
from foveal.core.files import read_json, write_json
from foveal.engine.runfolder import RunFolder
from foveal.errors import FovealError
from foveal.exporting.card import write_card
from foveal.exporting.compare import Pooled, compare, pictures_like
from foveal.exporting.onnx_format import export_onnx
from foveal.exporting.plain import PREFIX, plain_network
from foveal.exporting.resnets import export_detectron2, export_torchvision
from foveal.exporting.weights import load_encoder, read_about, save_encoder
from foveal.recipe import nearest


@dataclass(frozen=True)
class ExportReport:
    """What was written.

    Attributes:
        format: As asked for.
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
            encoder, from pictures in [0, 1] to ``pooled``, any batch size. ``onnx``: the same as an
            ONNX graph, compared under onnxruntime. ``hf``: a folder in the manner of the Hugging
            Face hub, with a model card that holds the run's measured numbers.
            ``torchvision``, ``detectron2``: unmodified ResNets under the names of these libraries.
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
        write_card(encoder, about, folder, line, results_of(run_or_file))
        files = tuple(sorted(path.name for path in folder.iterdir()))
    return ExportReport(format, out, files, difference, line)


def _export_timm(
    encoder: Encoder, about: dict[str, Any], folder: Path, out: Path
) -> tuple[str, float]:
    """Timm's hub layout: ``model.safetensors`` with timm's names and ``config.json``."""
    from foveal.backbones import timm_bridge

    plain = plain_network(encoder, "timm")
    config = timm_bridge.hub_config(
        plain.name,
        plain.arguments,
        size=encoder.size,
        fraction=encoder.fraction,
        mean=plain.mean,
        std=plain.std,
    )
    write_json(folder / "config.json", config)
    save_encoder(encoder, folder / "model.safetensors", about, prefix=PREFIX)
    net = timm_bridge.load_exported(str(folder)).eval()
    written = read_json(folder / "config.json")["pretrained_cfg"]
    mean, std = (torch.tensor(written[k])[:, None, None] for k in ("mean", "std"))
    difference = compare(encoder, lambda pictures: net((pictures - mean) / std))
    return timm_bridge.load_line(str(out)), difference


def _export_torch(
    encoder: Encoder, about: dict[str, Any], folder: Path, out: Path
) -> tuple[str, float]:
    """``encoder.pt2`` and foveal's own file of weights."""
    file = folder / "encoder.pt2"
    try:
        program = torch.export.export(
            Pooled(encoder),
            (pictures_like(encoder, 2),),
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
    difference = compare(encoder, loaded)
    return f'torch.export.load("{out / file.name}").module()', difference


def _export_hf(
    encoder: Encoder, about: dict[str, Any], folder: Path, out: Path
) -> tuple[str, float]:
    """A folder as the Hugging Face hub keeps them: weights, config, preprocessing, model card."""
    from foveal import __version__

    save_encoder(encoder, folder / "model.safetensors", about)
    write_json(
        folder / "config.json",
        {"model_type": "foveal", "foveal_version": __version__, "hidden_size": encoder.dim,
         **encoder.describe()},
    )  # fmt: skip
    write_json(
        folder / "preprocessor_config.json",
        {
            "image_processor_type": "BitImageProcessor",
            "do_resize": True,
            "size": {"shortest_edge": round(encoder.size / encoder.fraction)},
            "resample": 3,  # bicubic
            "do_center_crop": True,
            "crop_size": {"height": encoder.size, "width": encoder.size},
            "do_rescale": True,
            "rescale_factor": 1 / (2 ** about.get("bits", 8) - 1),
            # The network does it: its input layers are part of it.
            "do_normalize": False,
        },
    )
    loaded = load_encoder(folder)
    difference = compare(encoder, lambda pictures: loaded(pictures)["pooled"])
    return f'foveal.load("{out}")', difference


FORMATS: dict[str, Callable[[Encoder, dict[str, Any], Path, Path], tuple[str, float]]] = {
    "timm": _export_timm,
    "torch": _export_torch,
    "onnx": export_onnx,
    "hf": _export_hf,
    "torchvision": export_torchvision,
    "detectron2": export_detectron2,
}


def results_of(run_or_file: str | Path) -> list[dict[str, Any]]:
    """What ``evaluate`` has left in a run folder; nothing where there is no run."""
    folder = RunFolder(run_or_file)
    if not folder.exists:
        return []
    return [r for path in sorted(folder.results.glob("*.json")) for r in read_json(path)]


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
