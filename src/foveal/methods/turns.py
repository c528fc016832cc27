"""One part of a combination: the names, batches and progress of the whole in the part's terms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from foveal.core.batch import Batch
from foveal.core.progress import Progress
from foveal.methods.base import FeaturePass, Group, Method, Stream
from foveal.methods.shared import LightnessBatch, lightness


@dataclass(frozen=True)
class Part:
    """A method that has every ``turns``-th step, beginning with step ``turn``.

    Attributes:
        name: Of the part; its streams and optimisers are called ``name/...`` outside.
        method: The method.
        turn, turns: Which steps are its own.
        size: What its batches are multiplied with.
        rate: What its learning rate is multiplied with.
        grey: Whether it sees lightness instead of colours.
    """

    name: str
    method: Method
    turn: int
    turns: int
    size: float
    rate: float
    grey: bool

    def streams(self) -> dict[str, Stream]:
        """Its streams as the combination's; the first part's counts epochs."""
        return {
            f"{self.name}/{name}": replace(
                s,
                size=s.size * self.size,
                every=(self.turns * s.every[0], self.turns * s.every[1] + self.turn),
                optimiser=f"{self.name}/{s.optimiser}",
                counts_epoch=s.counts_epoch and self.turn == 0,
            )
            for name, s in self.method.streams().items()
        }

    def parameter_groups(self) -> dict[str, list[Group]]:
        """Its optimisers as the combination's."""
        return {
            f"{self.name}/{optimiser}": [replace(g, lr=g.lr * self.rate) for g in groups]
            for optimiser, groups in self.method.parameter_groups().items()
        }

    def sample_groups(self) -> dict[str, Tensor]:
        """Its groups by the combination's streams."""
        groups = self.method.sample_groups()
        if isinstance(groups, Tensor):
            groups = dict.fromkeys(self.method.streams(), groups)
        return {f"{self.name}/{stream}": g for stream, g in (groups or {}).items()}

    def named(self, values: dict[str, Any]) -> dict[str, Any]:
        """Its numbers among those of other parts."""
        return {f"{self.name}_{key}": value for key, value in values.items()}

    def batch(self, batch: Batch) -> Batch:
        """The combination's batch as the part's own."""
        start = f"{self.name}/"
        own = {k.removeprefix(start): b for k, b in batch.items() if k.startswith(start)}
        return {k: LightnessBatch.of(b) for k, b in own.items()} if self.grey else own

    def progress(self, progress: Progress, refreshes: int) -> Progress:
        """Where the part's own run stands: its turns and the pictures it saw.

        Args:
            progress: The combination's.
            refreshes: Of the part.
        """
        samples = self.method.data.samples
        size = next(s.size for s in self.method.streams().values() if s.counts_epoch)
        batch = max(1, round(size * self.method.data.batch))
        done, planned = (
            (steps + self.turns - 1 - self.turn) // self.turns
            for steps in (progress.step, progress.steps)
        )
        return replace(
            progress,
            step=done,
            steps=planned,
            epoch=done * batch // samples,
            epochs=planned * batch / samples,
            position=done * batch,
            seen=done * batch,
            refreshes=refreshes,
        )

    def feature_pass(self, run: FeaturePass) -> FeaturePass:
        """A pass that shows the part what it is trained on."""
        if not self.grey:
            return run

        def grey(fn: Callable[[Tensor], Tensor], view: Any, **how: Any) -> Any:
            return run(lambda images: fn(lightness(images)), view, **how)

        return grey
