"""The protocol ``navigation``: does an agent that sees through these features learn faster?

Goyal, Mahajan, Gupta and Misra, "Scaling and benchmarking self-supervised visual representation
learning", ICCV 2019: a reinforcement-learning agent on a frozen network, several seeds, mean reward
of an episode. Theirs walks in Gibson's scanned houses; this one in any environment of gymnasium
that shows pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.core.packages import package
from foveal.data.arrays import ArraySource
from foveal.errors import FovealError
from foveal.evaluation.asked import Asked
from foveal.evaluation.baselines import random_init
from foveal.evaluation.features import digest_of, weights_digest
from foveal.evaluation.maps import named_maps
from foveal.evaluation.navigation.eyes import whole_squashed
from foveal.evaluation.navigation.settings import NavigationSettings
from foveal.evaluation.result import Result
from foveal.metrics.bootstrap import LEVEL
from foveal.metrics.over_seeds import student_interval, welch_interval

_LEAST_SIDE = 64
_LATE = 0.8  # of the frames: what ends later tells what was learned
_POINTS = 10

Episodes = NDArray[np.float64]
"""Frame it ended at and sum of rewards, [episodes, 2]."""


def navigation(asked: Asked, settings: NavigationSettings) -> list[Result]:
    """Returns of agents on the trained network, on random initialisation and at random actions.

    Args:
        asked: Its data are the name of an environment as gymnasium knows it, or ``doom``.
        settings: Of agents and worlds.

    Raises:
        FovealError: A package is missing, there is no such environment, it shows no pictures, a
            network without maps, too few frames for an episode.
    """
    _check_packages()
    from foveal.evaluation.navigation.school import School
    from foveal.evaluation.navigation.worlds import name_of

    name, encoder = name_of(str(asked.data)), asked.encoder
    end = named_maps(encoder, settings.end)[-1]
    size = settings.size or max(encoder.size, _LEAST_SIDE)
    school = School(asked, settings, name, end, size)
    idle, typical = school.idle()
    untrained = random_init(
        encoder,
        ArraySource("frames", typical, channels=encoder.channels),
        seed=asked.init_seed,
        store=asked.store,
        view=whole_squashed(size),
    )
    found = {
        "trained": school.taught(encoder, typical),
        "random_init": school.taught(untrained, typical),
        "random_actions": idle,
    }
    about = _configuration(asked, settings, name, end, size, len(typical))
    about["chosen"] = {which: {"curves": [_curve(e, settings.frames) for e in episodes]}
                       for which, episodes in found.items()}  # fmt: skip
    means = {which: [mean_return(e) for e in episodes] for which, episodes in found.items()}
    late = {
        which: [late_return(e, settings.frames) for e in found[which]]
        for which in ("trained", "random_init")
    }
    # Random actions never get better.
    late["random_actions"] = means["random_actions"]
    return [_result("late_return", late, about), _result("mean_return", means, about)]


def late_return(episodes: Episodes, frames: int) -> float:
    """Mean return of the episodes that ended in the last fifth of the frames.

    Raises:
        FovealError: None did.
    """
    late = episodes[episodes[:, 0] > _LATE * frames, 1]
    if not len(late):
        raise FovealError(
            f"no episode ended in the last fifth of {frames:,} frames", hint=f"frames={4 * frames}"
        )
    return float(late.mean())


def mean_return(episodes: Episodes) -> float:
    """Mean return of all episodes: high where an agent learned early.

    Raises:
        FovealError: None ended.
    """
    if not len(episodes):
        raise FovealError("no episode ended", hint="more frames, or an environment that ends")
    return float(episodes[:, 1].mean())


def _check_packages() -> None:
    for name in ("gymnasium", "stable_baselines3", "vizdoom"):
        package(name, extra="worlds", why=f"navigation needs {name}")


def _curve(episodes: Episodes, frames: int) -> list[list[float]]:
    """(frames, mean return of the episodes that ended in the tenth before), where some did."""
    edges = np.linspace(0, frames, _POINTS + 1)
    points = []
    for low, high in pairwise(edges):
        some = episodes[(episodes[:, 0] > low) & (episodes[:, 0] <= high), 1]
        if len(some):
            points.append([float(high), float(some.mean())])
    return points


def _result(metric: str, values: Mapping[str, Sequence[float]], about: Mapping[str, Any]) -> Result:
    """Means over seeds with Student's intervals, differences with Welch's."""
    own = values["trained"]
    mean = float(np.mean(own))
    baselines = {
        which: {
            "value": float(np.mean(x)),
            "interval": list(student_interval(x)),
            "difference": mean - float(np.mean(x)),
            "difference_interval": list(welch_interval(own, x)),
        }
        for which, x in values.items()
        if which != "trained"
    }
    chosen = {which: {**about["chosen"][which], "returns": list(x)} for which, x in values.items()}
    return Result(
        "navigation", metric, mean, student_interval(own), len(own), baselines,
        {**about, "chosen": chosen},
    )  # fmt: skip


def _configuration(
    asked: Asked, settings: NavigationSettings, name: str, end: str, size: int, typical: int
) -> dict[str, Any]:
    from foveal.evaluation.navigation.worlds import skip_of, version_of

    e = asked.encoder
    world = {"environment": name, "skip": skip_of(name, settings.skip)}
    return {
        "model": asked.model,
        "weights": weights_digest(e),
        "items": "seeds",
        "unit": "",
        "layer": end,
        "pooling": f"random 1x1 convolution to {settings.channels} channels, all cells",
        "mode": "frozen, eval (batch norms use their running statistics)",
        "view": {"crop": "whole", "size": size, "interpolation": "bicubic",
                 "channels": e.channels},
        "features": f"mean 0, deviation 1 over {typical} pictures of random actions",
        "agent": "PPO",
        "how": settings.model_dump(mode="json", exclude={"seeds", "skip", "size", "end"}),
        "played_by": version_of(name),
        "late": f"episodes that end after {_LATE:g} of the frames",
        "seed": asked.seed,
        "data": {"test": {"name": name, "n": settings.seeds, "fingerprint": digest_of(world)}},
        "interval": {"level": LEVEL, "kind": "Student's t over seeds; of differences Welch's"},
        "random_init": {"seed": asked.init_seed, "bn_pictures": typical},
    }  # fmt: skip
