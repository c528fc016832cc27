"""What a run says of itself: metrics.jsonl, TensorBoard, warnings, the progress line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from foveal.core.progress import Progress
from foveal.engine.budget import Budget
from foveal.engine.monitors import Watch
from foveal.engine.runfolder import RunFolder
from foveal.engine.screen import Meter, ProgressScreen


class Listener(Protocol):
    """Whoever else wants the lines of metrics.jsonl."""

    def write(self, record: dict[str, Any]) -> None:
        """One line; ``step`` and ``kind`` are among its values."""
        ...

    def close(self) -> None:
        """No more lines come."""
        ...


class Logbook:
    """Tells what happens, on rank 0 alone.

    Args:
        folder: Of the run.
        screen: What a person sees.
        batch: Samples a step of the stream that counts epochs.
        steps_per_epoch: Not a whole number in general.
        every: Steps between lines of training.
        period: Steps until every stream was drawn.
        writes: Whether this is rank 0.
    """

    def __init__(
        self,
        folder: RunFolder,
        screen: ProgressScreen,
        *,
        batch: int,
        steps_per_epoch: float,
        every: int,
        period: int,
        writes: bool,
    ) -> None:
        self.folder, self.screen, self.writes = folder, screen, writes
        self.batch, self.steps_per_epoch = batch, steps_per_epoch
        self.every, self.period = every, period
        self.meter, self.watch = Meter(batch), Watch({})
        self.listeners: list[Listener] = []

    def open(self, step: int, listeners: Sequence[Callable[[RunFolder], Listener]]) -> None:
        """Drops lines of steps that will be done again; opens who listens, on rank 0.

        Args:
            step: Done before this session; -1: none.
            listeners: Each is given the folder.
        """
        if self.writes:
            self.folder.forget_after(step)
            self.listeners = [listen(self.folder) for listen in listeners]

    def close(self) -> None:
        """Nothing more will be said."""
        for listener in self.listeners:
            listener.close()

    def log(self, record: dict[str, Any]) -> None:
        """One line of metrics.jsonl."""
        if self.writes:
            self.folder.log(record)
            for listener in self.listeners:
                listener.write(record)

    def warn(self, step: int, text: str) -> None:
        """A sentence that must be seen."""
        self.log({"kind": "warning", "step": step, "text": text})
        if self.writes:
            self.screen.say(f"warning: {text}")

    def step(
        self,
        progress: Progress,
        loss: float,
        log: dict[str, float],
        budget: Budget,
        trivial: dict[str, float],
    ) -> None:
        """The numbers of a step.

        Args:
            progress: Of the step.
            loss: Its loss.
            log: What the method logs.
            budget: How many steps there are.
            trivial: See ``Method.trivial_losses``.
        """
        step, meter = progress.step + 1, self.meter
        epoch = step / self.steps_per_epoch
        left = budget.left(step, meter.speed / self.batch)
        self.screen.step(step, budget.steps, loss, meter.speed, meter.wait, left)
        for text in self.watch.loss(loss, trivial, epoch, progress.step % self.period):
            self.warn(step, text)
        if step % self.every < self.period or step in (1, budget.steps):
            self.log(
                {
                    "kind": "train",
                    "step": step,
                    "epoch": round(epoch, 4),
                    "position": step * self.batch,
                    "loss": loss,
                    "lr": progress.lr,
                    "images_per_s": round(meter.speed, 1),
                    "data_wait": round(meter.wait, 4),
                    **log,
                }
            )
