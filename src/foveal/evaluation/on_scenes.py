"""The protocols on scenes: what is known of every pixel, and the settings they are asked with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foveal.backbones.encoder import Encoder
from foveal.data.scenes import open_scenes
from foveal.evaluation.dense.bench import DenseBench
from foveal.evaluation.dense.protocol import TASKS, dense
from foveal.evaluation.dense.settings import DenseSettings
from foveal.evaluation.features import Store
from foveal.evaluation.result import Result
from foveal.recipe import validated

ON_SCENES: dict[str, type[DenseSettings]] = dict.fromkeys(TASKS, DenseSettings)
"""Protocols on what is known of every pixel, by name, with their settings."""


def scene_settings(name: str, changes: Mapping[str, Any] | None) -> DenseSettings:
    """The settings of a protocol on scenes.

    Raises:
        FovealError: One of the changes is none of its settings.
    """
    return validated(ON_SCENES[name], dict(changes or {}), name)


def on_scenes(
    name: str,
    encoder: Encoder,
    data: Any,
    store: Store,
    settings: DenseSettings,
    *,
    seed: int,
    init_seed: int,
    model: str,
) -> list[Result]:
    """Runs a protocol on scenes.

    Args:
        name: Of ``ON_SCENES``.
        encoder: What is measured.
        data: See ``foveal.data.scenes.open_scenes``.
        store: Where maps are kept.
        settings: See ``scene_settings``.
        seed: Of heads, orders and bootstrap.
        init_seed: Of the random initialisation.
        model: What the user calls the encoder.
    """
    train, test = open_scenes(data, name)
    train.channels = test.channels = encoder.channels
    bench = DenseBench(encoder, name, train, test, store, settings, seed, init_seed)
    return dense(bench, model=model)
