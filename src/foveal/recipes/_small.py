"""What all small recipes share: minutes on two cores, pictures of about 64 px."""

from __future__ import annotations

from typing import Any

from foveal.recipe import Evaluation, Machine, Network, Optimiser, Recipe, Schedule
from foveal.views.spec import Jitter

VIEW = 40  # pixels

# Doom's light changes from room to room, and its colours tell things apart.
DOOM_JITTER = Jitter(p=0.8, brightness=0.4, contrast=0.2, saturation=0.2, hue=0.02)


def small_recipe(
    method: str, options: dict[str, Any], *, epochs: float = 20, **changes: Any
) -> Recipe:
    """The small residual network under AdamW, measured through the whole picture.

    AdamW, because it needs no tuning of the learning rate between methods; the paper-scale recipes
    use each paper's own optimiser.
    """
    values: dict[str, Any] = {
        "network": Network(name="small"),
        "batch": 256,
        "optimiser": Optimiser(name="adamw", lr=2e-3, scaling="none", weight_decay=0.05,
                               exclude_1d=True),
        "schedule": Schedule(name="cosine", warmup=1.0),
        "evaluation": Evaluation(size=VIEW, fraction=1.0),
        "machine": Machine(monitor_every=4.0),
        **changes,
    }  # fmt: skip
    return Recipe(method=method, options=options, epochs=epochs, **values)
