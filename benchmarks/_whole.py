"""Runs that scripts measure: whole ones only."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import foveal


def pretrain(data: Any, out: Path, **arguments: Any) -> None:
    """``foveal.pretrain``; a signal that stops the run ends the script, too.

    Otherwise the script would measure half a run, keep that, and go on with the next.
    """
    outcome = foveal.pretrain(data, out, **arguments).outcome
    if outcome is not None and not outcome.finished:
        sys.exit(f"stopped by {outcome.stopped_by} in {out}; the same command goes on from there")
