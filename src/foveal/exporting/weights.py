"""An encoder in one safetensors file: its weights, and how to build it, as plain values.

The metadata of the file holds under ``foveal`` a JSON object: ``format`` (1), ``encoder`` (see
``Encoder.describe``), ``about`` (whatever the writer says of it: recipe, version, seed, ``bits`` of
the pictures) and ``prefix`` (what to put before the names in the file, so that it can hold another
library's names).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from foveal.backbones.classifier import CLASSIFIER, Classifier, read_head
from foveal.backbones.encoder import Encoder
from foveal.backbones.loading import KEY, read_description, read_safetensors, weights_file
from foveal.core.files import atomic_path
from foveal.errors import FovealError

FORMAT = 1


def save_encoder(
    encoder: Encoder, path: str | Path, about: dict[str, Any], *, prefix: str = ""
) -> None:
    """Writes an encoder; readers see the old file or the whole new one.

    Args:
        encoder: Its parameters and buffers are written in their own precision, from any device.
        path: Ends in ``.safetensors``.
        about: Plain values that are kept with it.
        prefix: Cut off every name.
    """
    header = {
        "format": FORMAT,
        "encoder": encoder.describe(),
        "about": about,
        "prefix": prefix,
    }
    # A layer used twice has two names for one memory, which safetensors refuses: a copy each.
    state = {}
    for name, value in encoder.state_dict().items():
        copy = value.detach().to("cpu").clone(memory_format=torch.contiguous_format)
        state[name.removeprefix(prefix)] = copy
    with atomic_path(path) as temporary:
        save_file(state, temporary, {"format": "pt", KEY: json.dumps(header, allow_nan=False)})


def load_encoder(path: str | Path) -> Encoder:
    """The encoder of a run folder, an exported folder or a file, in eval mode on the CPU.

    Raises:
        FovealError: Nothing there, an unfinished run, a damaged file or a foreign one.
    """
    path = weights_file(path)
    header = read_header(path)
    try:
        encoder = Encoder.from_description(header["encoder"])
        prefix = header["prefix"]
        encoder.load_state_dict({prefix + n: v for n, v in read_safetensors(path).items()})
    except (KeyError, TypeError, RuntimeError) as error:
        raise FovealError(
            f"{path} does not fit this version of foveal: {error}",
            hint=f"the version that wrote it: {header.get('about', {}).get('version', 'unknown')}",
        ) from error
    return encoder.eval()


def load_classifier(run: str | Path) -> Classifier:
    """The classifier of a run, in eval mode on the CPU.

    Raises:
        FovealError: The run has none, or has not finished.
    """
    encoder = load_encoder(run)
    found = read_head(run)
    if found is None:
        raise FovealError(
            f"{run} holds no {CLASSIFIER}: it learned no classes",
            hint="a run of --method supervised or s4l",
        )
    return Classifier(encoder, *found).eval()


def read_about(path: str | Path) -> dict[str, Any]:
    """What the writer of an encoder's file said of it."""
    about: dict[str, Any] = read_header(weights_file(path)).get("about", {})
    return about


def read_header(path: Path) -> dict[str, Any]:
    """The description in the metadata of a file; no tensor is read.

    Raises:
        FovealError: It is damaged, or foveal did not write it.
    """
    if not path.is_file():
        raise FovealError(f"there is no file {path}", hint="a run folder or a .safetensors file")
    header = read_description(path)
    if header is None:
        raise FovealError(
            f"{path} was not written by foveal: it does not say which network it is for",
            hint=f"foveal pretrain DATA --out RUN --backbone NAME --init {path}",
        )
    if header.get("format") != FORMAT:
        raise FovealError(
            f"{path} has format {header.get('format')}, and this version of foveal reads {FORMAT}",
            hint="pip install --upgrade foveal",
        )
    return header
