"""The verb ``predict``: the class of every picture by the classifier of a run, as a table.

Legend: N pictures, B of a batch, K classes.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.backbones.classifier import Classifier
from foveal.core.batch import as_images
from foveal.core.files import write_text
from foveal.data.badfiles import BadFile
from foveal.data.labels import predictions_text
from foveal.data.sources import open_source
from foveal.errors import FovealError
from foveal.evaluation.features import Store, compute_threads, frozen, view_features
from foveal.exporting.weights import load_classifier
from foveal.methods.rotation import quarter_turns
from foveal.views.presets import center_view


@dataclass(frozen=True)
class Predictions:
    """What a classifier says.

    Attributes:
        classes: Names of the K classes.
        names: Of the pictures that could be read, [N].
        rows: Their rows of the source, int64 [N].
        logits: Means over crops and turns, float32 [N, K].
        bad: The pictures that could not be read.
    """

    classes: list[str]
    names: list[str]
    rows: NDArray[np.int64]
    logits: NDArray[np.float32]
    bad: tuple[BadFile, ...]

    @property
    def labels(self) -> NDArray[np.int64]:
        """The most likely class of each, [N]."""
        found: NDArray[np.int64] = self.logits.argmax(1)
        return found

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """Of ``labels``, [N]."""
        found: NDArray[np.float32] = torch.from_numpy(self.logits).softmax(1).amax(1).numpy()
        return found


def predict(
    run: str | Path, data: Any, *, crops: int = 1, turns: int = 1, out: str | Path | None = None
) -> Predictions:
    """The class of every picture.

    Args:
        run: A run folder with a classifier.
        data: Anything ``open_source`` reads.
        crops: 1: the centre view; 5: also the corners, logits averaged.
        turns: 1: upright; 4: logits averaged over quarter turns, for a classifier that learned on
            turned pictures.
        out: Also write a table (name, label, probability), which a recipe takes as
            ``labels.predicted``.

    Raises:
        FovealError: No classifier, no picture, another number of crops or turns.
    """
    if crops not in (1, 5) or turns not in (1, 4):
        raise FovealError(
            f"{crops} crops in {turns} turns", hint="1 or 5 crops (--crops), 1 or 4 turns (--turns)"
        )
    classifier = load_classifier(run)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder = classifier.to(device).encoder
    source = open_source(data, channels=encoder.channels)
    # The corners' crops are as large as the centre's, of the same magnification.
    side = encoder.size if crops == 1 else round(encoder.size / encoder.fraction)
    view = center_view(side, encoder.fraction if crops == 1 else 1.0)

    def forward(pixels: Tensor) -> Tensor:
        x = as_images(pixels.to(device))
        parts = [x] if crops == 1 else five_crops(x, encoder.size)
        return _mean_logits(classifier, [quarter_turns(p, k) for p in parts for k in range(turns)])

    with tempfile.TemporaryDirectory(prefix="foveal-predict-") as temporary:
        with frozen(classifier), compute_threads(device) as threads:
            found = view_features(
                Store(Path(temporary)), forward, source, view, {}, threads=threads
            )
        logits = np.array(found.x)
    predictions = Predictions(
        classifier.classes,
        [source.name(int(i)) for i in found.rows],
        found.rows,
        logits,
        found.bad,
    )
    if out is not None:
        write_text(out, predictions_text(predictions.names, *_columns(predictions)))
    return predictions


def five_crops(x_BCHW: Tensor, side: int) -> list[Tensor]:
    """The centre and the four corners, squares of ``side``."""
    h, w = x_BCHW.shape[-2:]
    starts = [((h - side) // 2, (w - side) // 2)]
    starts += [(top, left) for top in (0, h - side) for left in (0, w - side)]
    return [x_BCHW[..., top : top + side, left : left + side] for top, left in starts]


def _mean_logits(classifier: Classifier, views: list[Tensor]) -> Tensor:
    logits = [classifier(v.contiguous(memory_format=torch.channels_last)) for v in views]
    return torch.stack(logits).mean(0).float().cpu()


def _columns(found: Predictions) -> tuple[list[str], NDArray[np.float32]]:
    return [found.classes[c] for c in found.labels], found.probabilities
