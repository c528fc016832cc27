"""What a protocol with data and settings of its own is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.console import Console

from foveal.backbones.encoder import Encoder
from foveal.engine.screen import ProgressScreen
from foveal.evaluation.features import Store


@dataclass(frozen=True)
class Asked:
    """A question to one protocol.

    Attributes:
        encoder: What is measured.
        data: What the user pointed at; each protocol says what it opens.
        store: Where what takes long is kept.
        seed: Of everything drawn, and of the bootstrap.
        init_seed: Of the random initialisation.
        model: What the user calls the encoder.
        console: Where progress is shown; None is standard error.
        quiet: Show nothing.
    """

    encoder: Encoder
    data: Any
    store: Store
    seed: int = 0
    init_seed: int = 0
    model: str = "encoder"
    console: Console | None = None
    quiet: bool = True

    def screen(self) -> ProgressScreen:
        """Shows how training goes."""
        return ProgressScreen(self.console, quiet=self.quiet)
