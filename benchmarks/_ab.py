"""For the speed scripts: A and B in turn in one run, medians, and what was measured where."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch


@dataclass(frozen=True)
class Times:
    """Seconds of two things done in turn.

    Attributes:
        a, b: Seconds of every round.
    """

    a: list[float]
    b: list[float]

    @property
    def ratio(self) -> float:
        """Median over the rounds of B's time by A's: how many times faster A is."""
        return statistics.median(b / a for a, b in zip(self.a, self.b, strict=True))

    def __str__(self) -> str:
        return (
            f"{statistics.median(self.a):.4g} s against {statistics.median(self.b):.4g} s, "
            f"{self.ratio:.2f}x (medians of {len(self.a)} rounds)"
        )


def in_turn(
    a: Callable[[], object],
    b: Callable[[], object],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Times:
    """Times A and B alternately, after one untimed call of each.

    What else the machine does falls on both alike; for work of one thread ``time.thread_time``
    leaves out the moments it was not running.
    """
    a(), b()
    times = Times([], [])
    for _ in range(rounds):
        for work, seconds in ((a, times.a), (b, times.b)):
            began = clock()
            work()
            seconds.append(clock() - began)
    return times


def machine() -> str:
    """Processor, threads, torch and day."""
    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "unknown processor",
    )
    threads = torch.get_num_threads()
    return f"{cpu}, {threads} thread(s), torch {torch.__version__}, {date.today()}"
