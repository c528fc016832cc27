"""ONNX: the whole encoder as one graph, for runtimes without Python."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foveal.backbones.encoder import Encoder
from foveal.core.files import write_json
from foveal.core.packages import package
from foveal.errors import FovealError
from foveal.exporting.compare import Pooled, compare, pictures_like


def export_onnx(
    encoder: Encoder, about: dict[str, Any], folder: Path, out: Path
) -> tuple[str, float]:
    """``encoder.onnx`` and ``encoder.json``: what goes in, what comes out.

    Batch, height and width are free where the network allows it, else the batch alone; which, is
    tried out under onnxruntime and written to ``encoder.json``.

    Raises:
        FovealError: The packages are missing, or the network cannot be traced.
    """
    for name in ("onnx", "onnxscript"):
        package(name, extra="onnx", why=f"ONNX needs {name}")
    onnxruntime = package("onnxruntime", extra="onnx", why="ONNX needs onnxruntime")
    file = folder / "encoder.onnx"
    free = {0: "batch", 2: "height", 3: "width"}
    # Of sizes the network was not traced with; larger, so that every stage keeps a pixel.
    other = (encoder.size + 16, encoder.size + 32)
    try:
        _trace(encoder, file, free)
        difference = compare(encoder, _session(onnxruntime, file), (None, other))
    except _CANNOT:
        free = {0: "batch"}
        try:
            _trace(encoder, file, free)
        except _CANNOT as error:
            raise FovealError(
                f"torch.onnx cannot trace this encoder: {error}", hint="--format torch"
            ) from error
        difference = compare(encoder, _session(onnxruntime, file))
    write_json(
        folder / "encoder.json",
        {
            "input": {"name": "pictures", "layout": "NCHW", "type": "float32", "range": [0, 1],
                      "channels": encoder.channels, "size": encoder.size,
                      "fraction": encoder.fraction, "free": sorted(free.values())},
            "output": {"name": "features", "dim": encoder.dim},
            "about": about,
        },
    )  # fmt: skip
    return f'onnxruntime.InferenceSession("{out / file.name}")', difference


# Tracing and the runtime fail in many ways where a network fixes its size (a ViT's positions).
_CANNOT = (RuntimeError, ValueError, TypeError, FovealError, torch.onnx.OnnxExporterError)


def _trace(encoder: Encoder, file: Path, free: dict[int, str]) -> None:
    names = {axis: torch.export.Dim.DYNAMIC for axis in free}
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                Pooled(encoder),
                (pictures_like(encoder, 2),),
                dynamo=True,
                dynamic_shapes={"pictures": names},
                input_names=["pictures"],
                output_names=["features"],
                verbose=False,
            )
        assert program is not None
        program.save(str(file))
    finally:
        log.setLevel(level)


def _session(onnxruntime: Any, file: Path) -> Any:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    def run(pictures: Tensor) -> Tensor:
        return torch.from_numpy(session.run(["features"], {"pictures": pictures.numpy()})[0])

    return run
