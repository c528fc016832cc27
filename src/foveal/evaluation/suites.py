"""Protocols that belong together, by name: ``foveal evaluate RUN --data DATA --suite simclr``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from foveal.errors import FovealError
from foveal.recipe import nearest

DEFAULT = ("knn", "linear", "health")
LABELS = ("0.01", "0.1")


@dataclass(frozen=True)
class Suite:
    """A list of protocols with their options; what the user says goes before them.

    Attributes:
        protocols: In the order they are run, the quick ones first.
        labels: Of ``fewlabels``.
        tuning: How networks are fine-tuned.
        changes: Settings of the protocols.
        about: Whose protocols they are, and what of theirs is not among them.
    """

    protocols: tuple[str, ...] = DEFAULT
    labels: tuple[str, ...] = LABELS
    tuning: str = "small"
    changes: Mapping[str, Any] = field(default_factory=dict)
    about: str = ""


SUITES = {
    "goyal": Suite(
        ("svm", "svm_lowshot", "sgd", "endpoints", "detection", "normals", "finetune"),
        about="Goyal et al., ICCV 2019: SVMs on frozen features, low-shot too (VOC, COCO, Places); "
        "detection and surface normals with the body frozen; linear classifiers on every end "
        "point and fine-tuning, their legacy tasks. Navigation is asked for by itself: "
        "--protocol navigation --data doom.",
        changes={"pool": "goyal"},
    ),
    "simclr": Suite(
        ("linear", "sgd", "fewlabels", "finetune"),
        about="Chen et al., SimCLR, ICML 2020, sections 2 and 6: linear evaluation, 1 % and 10 % "
        "of the labels, and transfer by fine-tuning. At the paper's scale: --tuning simclr.",
    ),
    "doom": Suite(
        ("knn", "linear", "ridge", "sgd", "endpoints", "tencrop", "mlp", "mlp_rotnet", "svm",
         "svm_lowshot", "svm_quadrants", "retrieval", "episodes", "clusters", "health",
         "fewlabels", "finetune", "segmentation", "depth", "normals", "detection", "matching"),
        about="Everything the Doom world has labels for, but for what trains once a layer "
        "(retrain_after, finetune_after), svm_pyramid, which is svm_quadrants with more cells, and "
        "navigation, which plays for an hour.",
    ),
}  # fmt: skip


def get_suite(name: str) -> Suite:
    """A suite by name.

    Raises:
        FovealError: There is none; names the nearest.
    """
    if name not in SUITES:
        raise FovealError(f"there is no suite '{name}'", hint=nearest(name, list(SUITES)))
    return SUITES[name]
