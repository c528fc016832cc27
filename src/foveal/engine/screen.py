"""The progress line: one that moves on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

_LOG_SECONDS = 20.0


class Meter:
    """Speed and data wait over the last steps.

    Args:
        batch: Images a step.
        window: Steps looked back.
    """

    def __init__(self, batch: int, window: int = 30) -> None:
        self.batch, self.window = batch, window
        self.marks: list[tuple[float, float]] = [(time.monotonic(), 0.0)]

    def add(self, waited: float) -> None:
        """One more step is done; ``waited`` seconds for data in all."""
        self.marks = [*self.marks[-self.window :], (time.monotonic(), waited)]

    def exclude(self, seconds: float) -> None:
        """The last ``seconds`` say nothing about the speed (probes, checkpoints)."""
        self.marks = [(at + seconds, waited) for at, waited in self.marks]

    @property
    def speed(self) -> float:
        """Images per second."""
        return (len(self.marks) - 1) * self.batch / max(1e-9, self.marks[-1][0] - self.marks[0][0])

    @property
    def wait(self) -> float:
        """Share of the time spent waiting for data."""
        return (self.marks[-1][1] - self.marks[0][1]) / max(
            1e-9, self.marks[-1][0] - self.marks[0][0]
        )


class ProgressScreen:
    """What a person sees of a run: on a terminal, or in a file.

    Args:
        console: Where to write.
        quiet: Say nothing at all.
    """

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self.console = console or Console(stderr=True, quiet=quiet)
        self._bar: Progress | None = None
        self._last_line = 0.0
        self._started = time.monotonic()
        if self.console.is_terminal and not quiet:
            self._bar = Progress(
                BarColumn(bar_width=24), TextColumn("{task.description}"), console=self.console
            )
            self._task = self._bar.add_task("starting", total=None)

    def __enter__(self) -> ProgressScreen:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str) -> None:
        """A sentence on a line of its own."""
        self.console.print(text, highlight=False)

    def step(
        self,
        step: int,
        steps: int,
        loss: float,
        speed: float,
        wait: float | None,
        left: float | None,
    ) -> None:
        """The state after a step.

        Args:
            step: Steps done.
            steps: Steps planned.
            loss: The last loss.
            speed: Images per second.
            wait: Share of the time spent waiting for data, or None where it is not measured.
            left: Seconds left, or None while unknown.
        """
        remaining = "" if left is None else f" · {_duration(left)} left"
        waiting = ""
        if wait is not None:
            # The first batches are waited for in any run.
            starved = wait > 0.3 and step > 10
            slow = " (the disk or the views are too slow)" if starved else ""
            waiting = f" · data wait {wait:.0%}{slow}"
        planned = "?" if steps >= 1_000_000_000 else f"{steps:,}"
        digits = 0 if speed >= 10 else 1
        text = (
            f"step {step:,}/{planned} · loss {loss:.4f} · {speed:,.{digits}f} images/s"
            f"{waiting}{remaining}"
        )
        if self._bar is not None:
            self._bar.update(self._task, completed=step, total=steps, description=text)
        elif step == steps or time.monotonic() - self._last_line >= _LOG_SECONDS:
            self._last_line = time.monotonic()
            self.say(text)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
