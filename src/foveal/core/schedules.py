"""Schedules as pure functions of the step: nothing to save, nothing to restore."""

from __future__ import annotations

import math
from collections.abc import Sequence


def warmup_cosine(
    step: float, steps: int, *, peak: float, warmup: int = 0, final: float = 0.0
) -> float:
    """Linear from 0 to ``peak`` over ``warmup`` steps, then half a cosine down to ``final``.

    SimCLR (section 2.2, appendix B.6) and BYOL (section 3.3).
    """
    if step < warmup:
        return peak * step / warmup
    share = min(1.0, (step - warmup) / max(1, steps - warmup))
    return final + (peak - final) * 0.5 * (1.0 + math.cos(math.pi * share))


def piecewise(epoch: float, *, peak: float, milestones: Sequence[float], factor: float) -> float:
    """``peak`` multiplied by ``factor`` once for every milestone (in epochs) passed."""
    return peak * factor ** sum(epoch >= m for m in milestones)


def inverse_square_root(step: float, *, peak: float, decay: float) -> float:
    """``peak / sqrt(1 + peak * decay * step)``: the probes of DeepCluster."""
    return peak / math.sqrt(1.0 + peak * decay * step)


def momentum_to_one(step: float, steps: int, *, base: float) -> float:
    """BYOL's target decay: ``1 - (1 - base) * (cos(pi * step / steps) + 1) / 2`` (section 3.3)."""
    share = min(1.0, step / max(1, steps))
    return 1.0 - (1.0 - base) * (math.cos(math.pi * share) + 1.0) / 2.0


def batch_scaled(base: float, batch: int, rule: str) -> float:
    """A learning rate for a batch: ``linear`` (per 256 images), ``sqrt`` or ``none``.

    SimCLR appendix B.1: 0.3 * B / 256, or 0.075 * sqrt(B).
    """
    if rule == "linear":
        return base * batch / 256
    if rule == "sqrt":
        return base * math.sqrt(batch)
    if rule == "none":
        return base
    raise ValueError(f"unknown scaling rule {rule!r}: linear, sqrt or none")
