"""Continuing from weights that are already good: carefully, and never to something worse.

Heads are new and their first gradients are noise, so they learn alone first, the trunk frozen. Then
the trunk follows at a low rate, its lower layers at a lower one. What the features are worth is
watched from before the first step; where it falls below that, training ends and weights that were
not worse are put back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from foveal.backbones.depth import parameter_depths
from foveal.backbones.encoder import Encoder
from foveal.backbones.loading import normalisation_of
from foveal.core import ranks
from foveal.engine.checkpoint import load_checkpoint
from foveal.engine.runfolder import RunFolder
from foveal.methods.base import Group, Method
from foveal.recipe import Adapt, Recipe, override

# Without labels there is no accuracy to compare. Fewer directions in use may be an improvement;
# half of them gone is not.
_RANK_LEFT = 0.5


def normalised_as_before(recipe: Recipe, channels: int) -> tuple[Recipe, list[str]]:
    """The recipe with the mean and spread its weights learned with, and that it is so.

    The pictures' own would shift what every layer gets: other features than those that are to be
    kept, before the first step.

    Args:
        recipe: Nothing is changed where it does not adapt or names them itself.
        channels: Of the pictures; of others the weights know nothing.
    """
    if recipe.adapt is None or recipe.init is None or recipe.adapt.mean:
        return recipe, []
    known = normalisation_of(recipe.init)
    if known is None or len(known[0]) != channels:
        return recipe, [f"{recipe.init} does not say how its pictures were normalised: by "
                        "mean and spread of these (adapt.mean, adapt.std)"]  # fmt: skip
    mean, std = known
    return override(recipe, {"adapt": {"mean": mean, "std": std}}), [
        f"pictures are normalised as {recipe.init} had them"
    ]


def adapted_groups(
    groups: Mapping[str, Sequence[Group]], encoder: Encoder, adapt: Adapt
) -> dict[str, list[Group]]:
    """Parameter groups of every optimiser, the encoder's parameters apart by their depth.

    The encoder's last layers learn at ``adapt.lr`` of their group's rate, layers of every end point
    further down at ``adapt.decay`` of that, all of them not before ``adapt.heads`` epochs.
    """
    depths = parameter_depths(encoder)
    depth_of = {id(p): depths[name] for name, p in encoder.named_parameters()}
    top = max(depths.values())
    return {
        name: [part for group in some for part in _apart(group, depth_of, top, adapt)]
        for name, some in groups.items()
    }


def _apart(group: Group, depth_of: Mapping[int, int], top: int, adapt: Adapt) -> list[Group]:
    by_depth: dict[int | None, list[nn.Parameter]] = {}
    for p in group.parameters:
        by_depth.setdefault(depth_of.get(id(p)), []).append(p)
    return [
        replace(group, parameters=parameters)
        if depth is None
        else replace(
            group,
            parameters=parameters,
            lr=group.lr * adapt.lr * adapt.decay ** (top - depth),
            frozen_until=max(group.frozen_until, adapt.heads),
        )
        for depth, parameters in by_depth.items()
    ]


class Guard:
    """Compares what the features are worth with what they were at the start.

    By the online kNN where there are labels; else by the effective rank, of which half may go.

    Args:
        adapt: None: nothing is guarded.
        folder: Of the run.
    """

    def __init__(self, adapt: Adapt | None, folder: RunFolder) -> None:
        self.adapt, self.folder = adapt, folder
        self.name = ""
        self.start = self.last = math.nan
        self.below = 0

    def quality(self, found: Mapping[str, float]) -> float | None:
        """What the features are worth, of what the monitor found; more is better."""
        if self.adapt is None or "knn" in found:
            return found.get("knn")
        return found["effective_rank"]

    def see(self, epoch: float, found: Mapping[str, float]) -> None:
        """Notes what was found after so many passes over the data; 0 is the start."""
        quality = self.quality(found)
        if self.adapt is None or quality is None:
            return
        if epoch == 0:
            self.name, self.start = ("kNN" if "knn" in found else "effective rank"), quality
        self.last = quality
        # While heads learn alone the trunk has not had its chance.
        alone = epoch <= self.adapt.heads
        self.below = self.below + 1 if self.worse and not alone else 0

    @property
    def floor(self) -> float:
        """The least quality that is not worse than the start."""
        return self.start * (1.0 if self.name == "kNN" else _RANK_LEFT)

    @property
    def worse(self) -> bool:
        """Whether the features were worse than at the start when last seen."""
        return self.last < self.floor

    @property
    def gave_up(self) -> bool:
        """Whether they were worse so often in a row that training ends."""
        return self.adapt is not None and self.below >= self.adapt.patience

    def put_back(self, method: Method, best: float) -> str | None:
        """Gives a method whose features became worse the best weights that were not, or the first.

        Args:
            method: Changed in place.
            best: Quality of the checkpoint ``best.pt``; minus infinity: there is none.

        Returns:
            What was done, as a sentence; None where nothing had to be.
        """
        if not self.worse:
            return None
        ranks.barrier()  # rank 0 has written its files
        state = load_checkpoint(self.folder.best if best >= self.floor else self.folder.start)
        method.load_state_dict(state["method"])
        kept = "the first weights"
        if state["step"]:
            kept = f"the weights after step {state['step']:,} ({self._say(best)})"
        fell = f"{self.name} fell from {self._say(self.start)} to {self._say(self.last)}"
        return f"{fell}: {kept} are kept"

    def _say(self, quality: float) -> str:
        return f"{100 * quality:.1f} %" if self.name == "kNN" else f"{quality:.1f}"

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {k: getattr(self, k) for k in ("name", "start", "last", "below")}

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes over ``state``."""
        for name, value in state.items():
            setattr(self, name, value)
