"""Where a run stands, in optimiser steps and images."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """What a method may know of the run: no ranks, no micro-batches, no clock.

    Attributes:
        step: Optimiser steps done; the step under way has this number.
        steps: Optimiser steps planned.
        epoch: Whole passes done over the stream that counts epochs.
        epochs: Passes planned.
        position: First position of the current batch in that stream.
        seen: Images of that stream drawn before this step.
        refreshes: Refreshes (feature passes, relabellings) done.
        lr: Learning rate of the main optimiser at this step.
    """

    step: int
    steps: int
    epoch: int
    epochs: float
    position: int
    seen: int
    refreshes: int
    lr: float

    @property
    def fraction(self) -> float:
        """Share of the run that is done, 0 to 1."""
        return self.step / max(1, self.steps)
