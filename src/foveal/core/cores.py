"""One budget of cores, shared between loader threads, torch, numba and BLAS."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path


def available_cores() -> int:
    """Cores this process may use: affinity, capped by the container's quota."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        cores = os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")
    try:
        limit, period = quota.read_text().split()
        if limit != "max":
            cores = min(cores, max(1, math.ceil(int(limit) / int(period))))
    except (OSError, ValueError):
        pass
    return cores


@dataclass(frozen=True)
class Cores:
    """Who gets how many threads.

    Attributes:
        total: Cores of this rank.
        loader: Threads that decode and cut views.
        compute: Threads of torch (and of BLAS while a refresh runs).
    """

    total: int
    loader: int
    compute: int


def share_cores(*, accelerator: bool, ranks_here: int = 1, total: int | None = None) -> Cores:
    """Splits the cores of one rank.

    With an accelerator nearly everything goes to the loader. On a CPU network and loader take turns
    (``foveal.data.loader.Loader``), each on all cores: torch's threads wait for the slowest of
    them, so a loader thread beside them would cost the time of all cores and not of its own.
    """
    total = max(1, (total or available_cores()) // max(1, ranks_here))
    if accelerator:
        return Cores(total, loader=max(1, total - 1), compute=1)
    return Cores(total, loader=total, compute=total)
