"""PPO on frozen features, and what the worlds look like to an agent that acts at random.

Legend: W worlds side by side, C channels, D features.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnvWrapper, VecNormalize

from foveal.core import rng
from foveal.evaluation.navigation.settings import NavigationSettings

Pictures = NDArray[np.uint8]
See = Callable[[Pictures], NDArray[np.float32]]
"""Pictures [W, H, W, C] to features [W, D]."""

_MOST = 10  # times as many random frames as asked, until an episode ends


class Returns:
    """Adds up rewards; keeps at which frame every episode ended and with what."""

    def __init__(self, worlds: int) -> None:
        self.frames = 0
        self.ended: list[tuple[int, float]] = []
        self._open = np.zeros(worlds)

    def add(self, rewards: NDArray[Any], done: NDArray[np.bool_]) -> None:
        """One step of all worlds."""
        self.frames += len(rewards)
        self._open += rewards
        self.ended += [(self.frames, float(r)) for r in self._open[done]]
        self._open[done] = 0


class FeatureWorlds(VecEnvWrapper):  # type: ignore[misc]
    """Worlds that show features instead of pictures, each picture seen once.

    Args:
        worlds: A ``VecEnv`` of pictures.
        see: The frozen network.
        dim: D.
    """

    def __init__(self, worlds: Any, see: See, dim: int) -> None:
        super().__init__(worlds, spaces.Box(-np.inf, np.inf, (dim,), np.float32))
        self.see, self.returns = see, Returns(worlds.num_envs)

    def reset(self) -> NDArray[np.float32]:
        """See stable-baselines3."""
        return self.see(self.venv.reset())

    def step_wait(self) -> tuple[NDArray[np.float32], Any, Any, Any]:
        """See stable-baselines3."""
        pictures, rewards, done, infos = self.venv.step_wait()
        self.returns.add(rewards, done)
        last = [info for info in infos if "terminal_observation" in info]
        # What an episode ended on is judged too, where it was cut off by time.
        seen = self.see(np.stack([*pictures, *(info["terminal_observation"] for info in last)]))
        for info, features in zip(last, seen[len(pictures) :], strict=True):
            info["terminal_observation"] = features
        return seen[: len(pictures)], rewards, done, infos


def learn(
    worlds: Any, see: See, dim: int, settings: NavigationSettings, seed: int
) -> list[tuple[int, float]]:
    """Trains an agent.

    Schulman et al., "Proximal policy optimization algorithms", 2017, as stable-baselines3 has it:
    two layers of 64, four epochs of batches of 256 over each horizon, rewards scaled by the running
    deviation of the return.

    Args:
        worlds: See ``open_worlds``.
        see: The frozen network.
        dim: Features it gives.
        settings: Of PPO.
        seed: Of its start and its actions.

    Returns:
        (frame it ended at, sum of rewards) of every episode, in order.
    """
    own = FeatureWorlds(worlds, see, dim)
    # The caller holds the network frozen, without gradient; the agent needs its own.
    with _seeded(seed), torch.enable_grad():
        agent = PPO(
            "MlpPolicy",
            VecNormalize(own, norm_obs=False),
            n_steps=settings.horizon,
            batch_size=min(256, settings.horizon * settings.worlds),
            n_epochs=4,
            learning_rate=settings.lr,
            ent_coef=settings.entropy,
            device="cpu",
            seed=seed,
        )
        agent.learn(settings.frames)
    return own.returns.ended


def act_at_random(
    worlds: Any, frames: int, seed: int, keep: int
) -> tuple[list[tuple[int, float]], Pictures]:
    """What happens to an agent that looks at nothing.

    Args:
        worlds: See ``open_worlds``.
        frames: How many at least; more until an episode has ended.
        seed: Of the actions.
        keep: Pictures to keep, evenly over ``frames``.

    Returns:
        Episodes as ``learn`` gives them, and the pictures.
    """
    returns = Returns(worlds.num_envs)
    kept: list[Pictures] = []
    every = max(1, frames // keep)
    worlds.action_space.seed(seed)
    pictures = worlds.reset()
    while returns.frames < frames or (not returns.ended and returns.frames < _MOST * frames):
        actions = np.array([worlds.action_space.sample() for _ in range(worlds.num_envs)])
        for i, picture in enumerate(pictures):
            if (returns.frames + i) % every == 0 and len(kept) < keep:
                kept.append(picture)
        pictures, rewards, done, _ = worlds.step(actions)
        returns.add(rewards, done)
    return returns.ended, np.stack(kept)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random states of torch, numpy and Python, which stable-baselines3 seeds, as before."""
    before = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            np.random.set_state(before[0])
            random.setstate(before[1])


def small_seed(seed: int, *names: str | int) -> int:
    """A seed below 2^31, as worlds and stable-baselines3 want it."""
    return rng.seed64(seed, *names) % 2**31
