"""Agents of every seed in the worlds of one environment; what happened to them is kept.

Imports gymnasium and stable-baselines3, as ``worlds.py`` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.backbones.encoder import Encoder
from foveal.backbones.reading import device_of
from foveal.evaluation.asked import Asked
from foveal.evaluation.features import check_unchanged, compute_threads, frozen
from foveal.evaluation.navigation.agent import act_at_random, learn, small_seed
from foveal.evaluation.navigation.eyes import Eyes
from foveal.evaluation.navigation.settings import NavigationSettings
from foveal.evaluation.navigation.worlds import open_worlds, skip_of, version_of

_IDLE_FRAMES, _TYPICAL = 2048, 512
_VERSION = 1


class School:
    """Worlds of one environment; what happened in them is kept for each network and seed."""

    def __init__(
        self, asked: Asked, settings: NavigationSettings, name: str, end: str, size: int
    ) -> None:
        self.asked, self.settings, self.name, self.end, self.size = asked, settings, name, end, size
        self.skip = skip_of(name, settings.skip)
        self.world = {"environment": name, "skip": self.skip, "played_by": version_of(name),
                      "worlds": settings.worlds, "version": _VERSION}  # fmt: skip
        self.how = settings.model_dump(mode="json", exclude={"seeds", "skip", "size", "end"})

    def idle(self) -> tuple[list[NDArray[np.float64]], NDArray[np.uint8]]:
        """Episodes at random actions for every seed, and typical pictures from all of them."""
        pictures: list[NDArray[np.uint8]] = []
        found: list[NDArray[np.float64]] = []
        for i in range(self.settings.seeds):

            def make(path: Path, i: int = i) -> list[tuple[int, float]]:
                with self._open(i) as worlds:
                    ended, seen = act_at_random(
                        worlds, _IDLE_FRAMES, self._seed(i), -(-_TYPICAL // self.settings.seeds)
                    )
                np.save(path, seen)
                return ended

            key = {"idle": _IDLE_FRAMES, "seeds": self.settings.seeds, "seed": self._seed(i)}
            seen, ended, _ = self.asked.store.get({**self.world, **key}, make)
            pictures.append(np.asarray(seen))
            found.append(np.array(ended, np.float64).reshape(-1, 2))
        return found, np.concatenate(pictures)

    def taught(self, network: Encoder, typical: NDArray[np.uint8]) -> list[NDArray[np.float64]]:
        """Episodes of agents that learn on a network, one for each seed."""
        found = []
        with frozen(network) as digest, compute_threads(device_of(network)):
            eyes = Eyes(
                network, self.end, channels=self.settings.channels, size=self.size,
                seed=self.asked.seed, typical=typical,
            )  # fmt: skip
            for i in range(self.settings.seeds):

                def make(path: Path, i: int = i) -> None:
                    with self._open(i) as worlds:
                        ended = learn(worlds, eyes, eyes.dim, self.settings, self._seed(i))
                    check_unchanged(network, digest)
                    np.save(path, np.array(ended, np.float64).reshape(-1, 2))

                key = {"weights": digest, "network": network.describe(), "end": self.end,
                       "size": self.size, "device": device_of(network).type, "how": self.how,
                       "seeds": self.settings.seeds, "base": self.asked.seed,
                       "seed": self._seed(i)}  # fmt: skip
                found.append(np.asarray(self.asked.store.get({**self.world, **key}, make)[0]))
        return found

    def _open(self, i: int) -> Any:
        return open_worlds(
            self.name, count=self.settings.worlds, skip=self.skip, seed=self._seed(i)
        )

    def _seed(self, i: int) -> int:
        return small_seed(self.asked.seed, "navigation", i)
