"""A worker process: a job a line in, a result a line out. See ``jobs``."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from pathlib import Path

from foveal.benchmarks.doom.jobs import Job
from foveal.errors import FovealError


def main() -> None:
    """Works until its input ends."""
    # Ended by the parent, it leaves through World.__exit__: the game is a process of its own, which
    # would stay behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # The engine may print; only answers may go where the parent reads.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        job = Job(**json.loads(line))
        module = importlib.import_module(f"foveal.benchmarks.doom.{job.module}")
        try:
            answer = module.render_map(Path(job.folder), **job.arguments)
        except FovealError as error:
            answer = {"error": error.message, "hint": error.hint}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
