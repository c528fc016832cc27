"""Environments of gymnasium that show pictures, and copies of one side by side.

Imports gymnasium and stable-baselines3: only ``protocol.py`` imports this, after it has looked
whether they are there.
"""

from __future__ import annotations

import contextlib
import importlib
import tempfile
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import DummyVecEnv

from foveal.errors import FovealError

DOOM = "VizdoomHealthGathering-v1"
_DOOM_SKIP = 10


class _Pictures(gymnasium.ObservationWrapper):  # type: ignore[misc]
    """The picture alone, uint8 [H, W, C], whatever else is observed."""

    def __init__(self, env: Any, key: str | None) -> None:
        super().__init__(env)
        self.key = key
        space = env.observation_space if key is None else env.observation_space[key]
        shape = (*space.shape, 1)[:3]
        self.observation_space = spaces.Box(0, 255, shape, np.uint8)

    def observation(self, observation: Any) -> NDArray[np.uint8]:
        """See gymnasium."""
        pixels = observation if self.key is None else observation[self.key]
        return np.asarray(pixels).reshape(self.observation_space.shape)


class _Skip(gymnasium.Wrapper):  # type: ignore[misc]
    """The same action several times; rewards are added up."""

    def __init__(self, env: Any, times: int) -> None:
        super().__init__(env)
        self.times = times

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """See gymnasium."""
        total = 0.0
        for _ in range(self.times):
            observation, reward, ended, cut, info = self.env.step(action)
            total += float(reward)
            if ended or cut:
                break
        return observation, total, ended, cut, info


def name_of(data: str) -> str:
    """What gymnasium calls it: ``doom`` is ViZDoom's health gathering."""
    return DOOM if data == "doom" else data


def skip_of(name: str, skip: int | None) -> int:
    """Steps of the world for each action."""
    return skip or (_DOOM_SKIP if _is_doom(name) else 1)


def version_of(name: str) -> str:
    """Of what plays the environment."""
    package = importlib.import_module("vizdoom") if _is_doom(name) else gymnasium
    return f"{package.__name__} {package.__version__}"


@contextlib.contextmanager
def open_worlds(name: str, *, count: int, skip: int, seed: int) -> Iterator[Any]:
    """Copies of an environment as one stable-baselines3 ``VecEnv`` of pictures.

    Args:
        name: As gymnasium knows it; ``module:Name-v0`` imports the module first.
        count: How many.
        skip: Steps of the world for each action.
        seed: The copies get this one and those after it.

    Raises:
        FovealError: There is none of this name, or it shows no pictures.
    """
    # ViZDoom writes folders to where it starts; they must not land where the user stands.
    with tempfile.TemporaryDirectory(prefix="foveal-worlds-") as folder:
        with contextlib.chdir(folder):
            worlds = DummyVecEnv([lambda: _make(name, skip)] * count)
            worlds.seed(seed)
            worlds.reset()
        try:
            # The same start again: the reset above only brought the games up.
            worlds.seed(seed)
            yield worlds
        finally:
            worlds.close()


def _make(name: str, skip: int) -> Any:
    doom = _is_doom(name)
    if doom:
        importlib.import_module("vizdoom.gymnasium_wrapper")
    try:
        # ViZDoom's own skipping does not draw what nobody sees.
        env = gymnasium.make(name, **({"frame_skip": skip} if doom else {}))
    except (gymnasium.error.Error, ImportError) as error:
        raise FovealError(
            f"gymnasium cannot make '{name}': {error}",
            hint="--data doom, --data VizdoomMyWayHome-v1, or --data MODULE:NAME of your own",
        ) from None
    env = _Pictures(env, _picture_key(name, env.observation_space))
    return env if doom else _Skip(env, skip)


def _is_doom(name: str) -> bool:
    return name.startswith("Vizdoom")


def _picture_key(name: str, space: Any) -> str | None:
    """Where the picture is in what is observed; None: it is all."""
    parts: dict[Any, Any] = space.spaces if isinstance(space, spaces.Dict) else {None: space}
    for key in sorted(parts, key=lambda k: k != "screen"):
        part = parts[key]
        if isinstance(part, spaces.Box) and part.dtype == np.uint8 and _is_picture(part.shape):
            found: str | None = key
            return found
    raise FovealError(
        f"'{name}' shows no pictures: it observes {space}",
        hint="an environment whose observation is a uint8 array [H, W] or [H, W, 1 or 3]",
    )


def _is_picture(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))
