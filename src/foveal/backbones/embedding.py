"""The embedding a run leaves beside its backbone: the linear layer it compared pictures by."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file
from torch import nn

from foveal.backbones.encoder import Encoder
from foveal.backbones.loading import read_safetensors
from foveal.core.files import atomic_path
from foveal.errors import FovealError

EMBEDDING = "embedding.safetensors"
LAYERS = ("pooled", "embedding")


def save_embedding(layer: nn.Linear, folder: Path) -> None:
    """Writes ``embedding.safetensors`` into a run folder."""
    state = {k: v.detach().cpu().contiguous() for k, v in layer.state_dict().items()}
    with atomic_path(folder / EMBEDDING) as temporary:
        save_file(state, temporary)


def at_layer(encoder: Encoder, folder: str | Path, layer: str) -> Encoder:
    """An encoder whose ``pooled`` is this layer of its run.

    Args:
        encoder: Of the run; shares its trunk with the result.
        folder: The run folder, or an exported folder with the same file.
        layer: ``pooled`` (the trunk's own) or ``embedding``.

    Raises:
        FovealError: An unknown layer, or a run that left no embedding.
    """
    if layer not in LAYERS:
        raise FovealError(f"there is no layer '{layer}'", hint=f"one of {', '.join(LAYERS)}")
    if layer == "pooled":
        return encoder
    path = Path(folder) / EMBEDDING
    if not path.is_file():
        raise FovealError(
            f"{folder} holds no {EMBEDDING}: its method compares pictures by no linear layer, or "
            "an earlier version of foveal trained it",
            hint="a run of --method npid or pirl; --layer pooled for all others",
        )
    state = read_safetensors(path)
    outputs, features = state["weight"].shape
    projection = nn.Linear(features, outputs, bias="bias" in state)
    projection.load_state_dict(state)
    return encoder.projected(projection)
