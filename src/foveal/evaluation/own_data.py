"""Protocols that open data of their own and have settings: on scenes, on pairs of pictures, more.

More: corrupted copies of a test set, queries and a gallery, worlds to act in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from foveal.data.corrupted import check_corrupted, open_corrupted
from foveal.data.instances import open_instances
from foveal.data.scenes import open_boxes, open_scenes
from foveal.data.splits import load_splits
from foveal.errors import FovealError
from foveal.evaluation.asked import Asked
from foveal.evaluation.corruptions import CorruptionSettings, corruptions
from foveal.evaluation.dense.bench import DenseBench
from foveal.evaluation.dense.protocol import TASKS, dense
from foveal.evaluation.dense.settings import DenseSettings
from foveal.evaluation.detection.settings import DetectionSettings, detection_settings
from foveal.evaluation.instances import InstanceSettings, instances
from foveal.evaluation.matching.protocol import matching
from foveal.evaluation.matching.scenes import open_sequences
from foveal.evaluation.matching.settings import MatchingSettings
from foveal.evaluation.navigation.protocol import navigation
from foveal.evaluation.navigation.settings import NavigationSettings
from foveal.evaluation.result import Result
from foveal.recipe import validated


@dataclass(frozen=True)
class OwnData:
    """A protocol.

    Attributes:
        model: Its settings.
        settings: Makes them from what is changed by ``key=value``; raises what is none of them.
        opens: Opens data as the protocol does, with these channels; raises where they are not what
            it reads.
        run: Called with what is asked and these settings.
        keys: What may be changed beside the fields of ``model``.
    """

    model: type[BaseModel]
    settings: Callable[[Mapping[str, Any]], BaseModel]
    opens: Callable[[Any, int], Any]
    run: Callable[[Asked, Any], list[Result]]
    keys: tuple[str, ...] = ()


def own_settings(name: str, changes: Mapping[str, Any] | None) -> BaseModel:
    """The settings of a protocol of ``OWN_DATA``.

    Raises:
        FovealError: One of the changes is none of its settings.
    """
    return OWN_DATA[name].settings(dict(changes or {}))


def _dense(kind: str, asked: Asked, settings: DenseSettings) -> list[Result]:
    train, test = open_scenes(asked.data, kind, train=settings.train_list)
    train.channels = test.channels = asked.encoder.channels
    with asked.screen() as screen:
        bench = DenseBench(
            asked.encoder, kind, train, test, asked.store, settings, asked.seed, asked.init_seed,
            screen,
        )  # fmt: skip
        return dense(bench, model=asked.model)


def _detection(asked: Asked, settings: DetectionSettings) -> list[Result]:
    # Here alone: torchvision's detectors take a second to import.
    from foveal.evaluation.detection.bench import DetectionBench
    from foveal.evaluation.detection.protocol import detection

    pictures = open_boxes(asked.data, channels=asked.encoder.channels)
    with asked.screen() as screen:
        bench = DetectionBench(
            asked.encoder, *pictures, asked.store, settings, asked.seed, asked.init_seed, screen
        )
        return detection(bench, model=asked.model)


def _plain(model: type[BaseModel], name: str, changes: Mapping[str, Any]) -> BaseModel:
    return validated(model, changes, name)


def _opens_scenes(kind: str, data: Any, channels: int) -> None:
    open_scenes(data, kind)


def _opens_boxes(data: Any, channels: int) -> None:
    open_boxes(data, channels=channels)


def _opens_corruptions(data: Any, channels: int) -> None:
    check_corrupted(data)
    _, clean = load_splits(data, channels=channels)
    open_corrupted(data, clean)


def _opens_pairs(data: Any, channels: int) -> None:
    """Sequences, or pictures large enough for regions: those of scenes, not of single objects."""
    if not (isinstance(data, str | Path) and open_sequences(Path(data).expanduser())):
        open_boxes(data, channels=channels)


def _opens_world(data: Any, channels: int) -> None:
    """A name, not pictures; whether there is such a world is seen when it is made."""
    if not isinstance(data, str) or Path(data).expanduser().exists():
        raise FovealError(f"{data} is no environment", hint="--data doom, or gymnasium's name")


OWN_DATA: dict[str, OwnData] = {
    **{kind: OwnData(DenseSettings, partial(_plain, DenseSettings, kind),
                     partial(_opens_scenes, kind), partial(_dense, kind))
       for kind in TASKS},
    "detection": OwnData(DetectionSettings, detection_settings, _opens_boxes, _detection,
                         ("recipe",)),
    "corruptions": OwnData(CorruptionSettings, partial(_plain, CorruptionSettings, "corruptions"),
                           _opens_corruptions, corruptions),
    "instances": OwnData(InstanceSettings, partial(_plain, InstanceSettings, "instances"),
                         open_instances, instances),
    "matching": OwnData(MatchingSettings, partial(_plain, MatchingSettings, "matching"),
                        _opens_pairs, matching),
    "navigation": OwnData(NavigationSettings, partial(_plain, NavigationSettings, "navigation"),
                          _opens_world, navigation),
}  # fmt: skip
"""By name."""
