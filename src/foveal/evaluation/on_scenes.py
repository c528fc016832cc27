"""The protocols on scenes: what is known of pixels and objects, and their settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foveal.backbones.encoder import Encoder
from foveal.data.scenes import open_boxes, open_scenes
from foveal.evaluation.dense.bench import DenseBench
from foveal.evaluation.dense.protocol import TASKS, dense
from foveal.evaluation.dense.settings import DenseSettings
from foveal.evaluation.detection.settings import DetectionSettings, detection_settings
from foveal.evaluation.features import Store
from foveal.evaluation.result import Result
from foveal.recipe import validated

DETECTION = "detection"
ON_SCENES = (*TASKS, DETECTION)
"""Protocols on what is known of every pixel or of objects."""

SceneSettings = DenseSettings | DetectionSettings


def scene_settings(name: str, changes: Mapping[str, Any] | None) -> SceneSettings:
    """The settings of a protocol on scenes.

    Raises:
        FovealError: One of the changes is none of its settings.
    """
    if name == DETECTION:
        return detection_settings(changes or {})
    return validated(DenseSettings, dict(changes or {}), name)


def on_scenes(
    name: str,
    encoder: Encoder,
    data: Any,
    store: Store,
    settings: SceneSettings,
    *,
    seed: int,
    init_seed: int,
    model: str,
) -> list[Result]:
    """Runs a protocol on scenes.

    Args:
        name: Of ``ON_SCENES``.
        encoder: What is measured.
        data: See ``foveal.data.scenes``.
        store: Where maps and detections are kept.
        settings: See ``scene_settings``.
        seed: Of heads, orders and bootstrap.
        init_seed: Of the random initialisation.
        model: What the user calls the encoder.
    """
    if isinstance(settings, DetectionSettings):
        # Here alone: torchvision's detectors take a second to import.
        from foveal.evaluation.detection.bench import DetectionBench
        from foveal.evaluation.detection.protocol import detection

        pictures = open_boxes(data, channels=encoder.channels)
        return detection(
            DetectionBench(encoder, *pictures, store, settings, seed, init_seed), model=model
        )
    train, test = open_scenes(data, name)
    train.channels = test.channels = encoder.channels
    bench = DenseBench(encoder, name, train, test, store, settings, seed, init_seed)
    return dense(bench, model=model)
