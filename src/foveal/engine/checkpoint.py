"""Checkpoints: tensors and plain values only, written atomically, loaded with weights_only."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from foveal.core.files import atomic_path
from foveal.errors import FovealError

FORMAT = 1


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint; readers see the old file or the whole new one."""
    with atomic_path(path) as temporary:
        torch.save({"format": FORMAT, **state}, temporary)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU.

    Raises:
        FovealError: The file is damaged, of another format, or holds executable content.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise FovealError(
            f"{path} holds more than tensors and plain values, so it was not opened: loading it "
            "could run code",
            hint="only continue from checkpoints that foveal wrote; delete the file to go on "
            "without it",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise FovealError(
            f"{path} cannot be read: {error}",
            hint="delete it to continue from an older checkpoint beside it, or start a new run",
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise FovealError(
            f"{path} is not a checkpoint of this version of foveal",
            hint="continue with the version named in environment.json, or start a new run",
        )
    return state
