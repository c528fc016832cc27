"""The three tasks: what the head learns, what its outputs mean, how they are measured.

Legend: N pictures, B of a batch, O outputs, T side of the training targets, H, W pixels of the
picture, F sums, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from foveal.clustering.kmeans import kmeans
from foveal.core import rng
from foveal.data.scenes import VOID, Scenes
from foveal.evaluation.dense.settings import DenseSettings
from foveal.metrics import geometry
from foveal.metrics.segmentation import class_counts, confusion, scores_of_counts
from foveal.views.geometry import move_ids, move_normals
from foveal.views.spec import View

_CODED = 100_000  # normals that codewords are found from


@dataclass(frozen=True)
class Metric:
    """A figure of a task.

    Attributes:
        name: As the metrics name it.
        unit: ``share`` (0 to 1), ``degree``, the unit of a depth, or nothing.
        higher: Whether more is better.
    """

    name: str
    unit: str
    higher: bool


class Task(Protocol):
    """A task on one data set, made from its training targets.

    Attributes:
        kind: ``segmentation``, ``depth`` or ``normals``.
        outputs: Of the head.
        metrics: In the order they are shown.
        constant: The trivial prediction, the same for every pixel.
        constant_name: What it is.
        about: Joins the configuration.
    """

    kind: str
    outputs: int
    metrics: tuple[Metric, ...]
    constant: NDArray[Any]
    constant_name: str
    about: dict[str, Any]

    def loss(self, out: Tensor, target: Tensor) -> Tensor:
        """Mean over valid pixels, from outputs [B, O, T, T] and targets [B, T, T, ...]."""
        ...

    def predict(self, out: Tensor) -> NDArray[Any]:
        """Outputs [O, H, W] -> what the target holds, [H, W, ...]."""
        ...

    def sums(self, predicted: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
        """What the metrics sum over the valid pixels of a picture, [F]; zeros without any."""
        ...

    def scores(self, sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """The metrics from sums [..., F] over pictures."""
        ...


def read_target(scenes: Scenes, kind: str, i: int) -> NDArray[Any]:
    """The target of a picture, as it is."""
    found: NDArray[Any] = getattr(scenes, kind)(i)
    return found


def move_target(
    kind: str, target: NDArray[Any], rows: NDArray[np.float32], view: View, side: int
) -> NDArray[Any]:
    """The target of a view, at its own side."""
    if kind == "normals":
        return move_normals(target, rows, view, side=side).astype(np.float16)
    return move_ids(target, rows, view, side=side, fill=VOID if kind == "segmentation" else 0)


def make_task(
    kind: str, scenes: Scenes, targets: NDArray[Any], settings: DenseSettings, seed: int
) -> Task:
    """A task from the training targets [N, T, T, ...] of the whole pictures."""
    if kind == "segmentation":
        return SegmentationTask(scenes, targets)
    if kind == "depth":
        return DepthTask(scenes, targets)
    return NormalsTask(targets, settings, seed)


class SegmentationTask:
    """Cross-entropy over pixels that are not left out."""

    kind, constant_name = "segmentation", "most_frequent"
    metrics = tuple(
        Metric(name, "share", True)
        for name in ("mean_iou", "accuracy", "mean_accuracy", "weighted_iou")
    )

    def __init__(self, scenes: Scenes, targets: NDArray[Any]) -> None:
        self.names = ["background", *scenes.things]
        self.outputs = len(self.names)
        counts = np.bincount(targets.ravel(), minlength=256)[: self.outputs]
        self.constant = np.array(counts.argmax(), np.int64)
        self.about: dict[str, Any] = {
            "classes": self.outputs,
            "ignored": VOID,
            "most_frequent": self.names[int(self.constant)],
            "mean_over": "classes that occur or were predicted",
        }

    def loss(self, out: Tensor, target: Tensor) -> Tensor:
        """See ``Task``."""
        target = target.long()
        valid = (target != VOID).sum().clamp(min=1)
        return F.cross_entropy(out, target, ignore_index=VOID, reduction="sum") / valid

    def predict(self, out: Tensor) -> NDArray[Any]:
        """See ``Task``."""
        found: NDArray[Any] = out.argmax(0).cpu().numpy()
        return found

    def sums(self, predicted: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
        """See ``Task``: right, true and predicted pixels of every class, [3 K]."""
        return class_counts(confusion(truth, predicted, self.outputs)).ravel().astype(np.float64)

    def scores(self, sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """See ``Task``; with ``iou`` of every class."""
        return scores_of_counts(sums.reshape(*sums.shape[:-1], 3, self.outputs))


class DepthTask:
    """The logarithm of the depth by L1, so that an error counts as a share of the depth."""

    kind, constant_name, outputs = "depth", "mean_depth", 1

    def __init__(self, scenes: Scenes, targets: NDArray[Any]) -> None:
        known = targets[targets > 0].astype(np.float64)
        self.constant = np.array(known.mean())
        self.centre = float(np.log(known).mean())
        self.low, self.high = float(known.min()), float(known.max())
        self.metrics = (
            *(Metric(f"delta{k}", "share", True) for k in (1, 2, 3)),
            *(Metric(name, "", False) for name in ("rel", "log10", "rms_log")),
            Metric("sq_rel", scenes.unit, False),
            Metric("abs", scenes.unit, False),
            Metric("rms", scenes.unit, False),
        )
        self.about: dict[str, Any] = {
            "depth_unit": scenes.unit,
            "mean_depth": float(self.constant),
            "clipped_to": [self.low, self.high],
            "loss": "L1 of the logarithm",
        }

    def loss(self, out: Tensor, target: Tensor) -> Tensor:
        """See ``Task``."""
        known = target > 0
        log = target.float().clamp(min=self.low).log() - self.centre
        return ((out[:, 0] - log).abs() * known).sum() / known.sum().clamp(min=1)

    def predict(self, out: Tensor) -> NDArray[Any]:
        """See ``Task``."""
        depth = (out[0].double() + self.centre).exp().clamp(self.low, self.high)
        found: NDArray[Any] = depth.cpu().numpy()
        return found

    def sums(self, predicted: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
        """See ``Task``."""
        known = truth > 0
        if not known.any():
            return np.zeros(geometry.DEPTH_SUMS)
        return geometry.depth_sums(predicted[known], truth[known])

    def scores(self, sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """See ``Task``."""
        return geometry.depth_scores_of_sums(sums)


class NormalsTask:
    """Classes of directions; the prediction is their mean by probability (Goyal et al. 2019).

    The directions are k-means centroids of training normals, brought to length 1.
    """

    kind, constant_name = "normals", "mean_normal"
    metrics = (
        *(Metric(name, "degree", False) for name in ("mean", "median", "rmse")),
        *(Metric(name, "share", True) for name in ("within_11", "within_22", "within_30")),
    )

    def __init__(self, targets: NDArray[Any], settings: DenseSettings, seed: int) -> None:
        flat = targets.reshape(-1, 3)
        known = np.flatnonzero(flat.any(1))
        some = rng.permute(rng.key(seed, "normals"), len(known), np.arange(min(_CODED, len(known))))
        normals = _unit(flat[known[some]].astype(np.float32))
        k = min(settings.codewords, len(normals))
        found = kmeans(normals, k, seed=rng.seed64(seed, "codewords")).centroids
        self.codewords = torch.from_numpy(_unit(found))
        self.outputs = k
        self.constant = _unit(normals.astype(np.float64).mean(0, keepdims=True))[0]
        self.about: dict[str, Any] = {
            "codewords": k,
            "prediction": "mean of the codewords by probability",
            "mean_normal": self.constant.tolist(),
            "normals": "from depth and the camera",
        }

    def loss(self, out: Tensor, target: Tensor) -> Tensor:
        """See ``Task``: cross-entropy with the nearest codeword."""
        target = target.float()
        known = target.abs().sum(-1) > 0
        nearest = (target @ self.codewords.to(target.device).T).argmax(-1)
        each = F.cross_entropy(out, nearest, reduction="none")
        return (each * known).sum() / known.sum().clamp(min=1)

    def predict(self, out: Tensor) -> NDArray[Any]:
        """See ``Task``: not of length 1, which the metric does not ask."""
        mean = torch.einsum("ohw,oc->hwc", out.softmax(0), self.codewords.to(out.device))
        found: NDArray[Any] = mean.cpu().numpy()
        return found

    def sums(self, predicted: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
        """See ``Task``."""
        known = truth.any(-1)
        if not known.any():
            return np.zeros(geometry.NORMAL_SUMS)
        return geometry.normal_sums(geometry.angles(predicted[known], truth[known]))

    def scores(self, sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """See ``Task``."""
        return geometry.normal_scores_of_sums(sums)


def _unit(x: NDArray[Any]) -> NDArray[Any]:
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    found: NDArray[Any] = x / np.maximum(lengths, 1e-12)
    return found
