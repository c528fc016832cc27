"""The classifier a run with labels leaves beside its backbone: one linear layer, named classes."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from foveal.backbones.encoder import Encoder
from foveal.backbones.loading import read_safetensors
from foveal.core.files import atomic_path

CLASSIFIER = "classifier.safetensors"


class Classifier(nn.Module):
    """Pictures in [0, 1] to the logits of named classes.

    Attributes:
        encoder: The run's.
        head: From its pooled features.
        classes: The names of the logits.
    """

    def __init__(self, encoder: Encoder, head: nn.Linear, classes: list[str]) -> None:
        super().__init__()
        self.encoder, self.head, self.classes = encoder, head, classes

    def forward(self, images: Tensor) -> Tensor:
        """[B, C, H, W] in [0, 1] -> [B, classes]."""
        logits: Tensor = self.head(self.encoder(images)["pooled"])
        return logits


def save_head(head: nn.Linear, classes: list[str], folder: Path) -> None:
    """Writes ``classifier.safetensors`` into a run folder."""
    state = {k: v.detach().cpu().contiguous() for k, v in head.state_dict().items()}
    with atomic_path(folder / CLASSIFIER) as temporary:
        save_file(state, temporary, {"classes": json.dumps(classes)})


def read_head(folder: str | Path) -> tuple[nn.Linear, list[str]] | None:
    """The layer and the classes a run left; None where it left none."""
    path = Path(folder) / CLASSIFIER
    if not path.is_file():
        return None
    state = read_safetensors(path)
    with safe_open(path, "pt") as f:
        classes: list[str] = json.loads(f.metadata()["classes"])
    out, dim = state["weight"].shape
    head = nn.Linear(dim, out, bias="bias" in state)
    head.load_state_dict(state)
    return head, classes


def start_from(heads: list[nn.Linear], classes: list[str] | None, run: str) -> bool:
    """Fills new heads with a run's, where it has the same classes and features; says whether."""
    found = read_head(run)
    if found is None or found[1] != classes:
        return False
    state = found[0].state_dict()
    if not heads or any(head.weight.shape != state["weight"].shape for head in heads):
        return False
    for head in heads:
        head.load_state_dict(state)
    return True
