"""Protocols that open data of their own and have settings: on scenes, on pairs of pictures, more.

More: corrupted copies of a test set, queries and a gallery.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import BaseModel

from foveal.data.scenes import open_boxes, open_scenes
from foveal.evaluation.asked import Asked
from foveal.evaluation.corruptions import CorruptionSettings, corruptions
from foveal.evaluation.dense.bench import DenseBench
from foveal.evaluation.dense.protocol import TASKS, dense
from foveal.evaluation.dense.settings import DenseSettings
from foveal.evaluation.detection.settings import DetectionSettings, detection_settings
from foveal.evaluation.instances import InstanceSettings, instances
from foveal.evaluation.matching.protocol import matching
from foveal.evaluation.matching.settings import MatchingSettings
from foveal.evaluation.result import Result
from foveal.recipe import validated


@dataclass(frozen=True)
class OwnData:
    """A protocol.

    Attributes:
        settings: Makes them from what is changed by ``key=value``; raises what is none of them.
        run: Called with what is asked and these settings.
    """

    settings: Callable[[Mapping[str, Any]], BaseModel]
    run: Callable[[Asked, Any], list[Result]]


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


OWN_DATA: dict[str, OwnData] = {
    **{kind: OwnData(partial(_plain, DenseSettings, kind), partial(_dense, kind))
       for kind in TASKS},
    "detection": OwnData(detection_settings, _detection),
    "corruptions": OwnData(partial(_plain, CorruptionSettings, "corruptions"), corruptions),
    "instances": OwnData(partial(_plain, InstanceSettings, "instances"), instances),
    "matching": OwnData(partial(_plain, MatchingSettings, "matching"), matching),
}  # fmt: skip
"""By name."""
