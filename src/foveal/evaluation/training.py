"""Training of a network with labels, and what it then says of test pictures.

Legend: B pictures of a batch, N training pictures, Q test pictures, K classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from foveal.backbones.reading import device_of
from foveal.core import rng
from foveal.core.batch import StreamBatch, as_images
from foveal.core.schedules import batch_scaled
from foveal.data.loader import BadFiles, Loader, StreamPlan, Table, ordered_views
from foveal.engine.optim import learning_rate
from foveal.engine.screen import ProgressScreen
from foveal.errors import FovealError
from foveal.evaluation.features import compute_threads
from foveal.evaluation.fit import fit
from foveal.evaluation.tuned import Tuned, settle
from foveal.evaluation.tuning import Tuning
from foveal.losses.multilabel import multilabel_loss
from foveal.methods.base import Group
from foveal.views.spec import View

MARKS = "marks"
"""The target of pictures that may hold several classes, int8 [N, K]; see ``Bench.marks``."""
_TEST_PIXELS = 256 * 96 * 96  # of a test batch


def train(
    net: Tuned,
    groups: list[Group],
    table: Table,
    tuning: Tuning,
    *,
    seed: int,
    screen: ProgressScreen,
) -> dict[str, Any]:
    """Trains in place; the same call gives the same weights (on the same machine and cores).

    Args:
        net: Of ``tuned_copy``.
        groups: Its parameters.
        table: Labelled pictures, or with ``MARKS`` among the targets; one that turns out
            unreadable is replaced by another.
        tuning: How.
        seed: Of order, views and dropout.
        screen: Told how it goes.

    Returns:
        Steps done, epochs, the last loss, and the files that could not be read.

    Raises:
        FovealError: The loss is no longer a number.
    """
    device = device_of(net)
    peak = batch_scaled(tuning.optimiser.lr, tuning.batch, tuning.optimiser.scaling)
    steps, unit = tuning.length(len(table))
    bad = BadFiles()
    settle(net, tuning)
    cuda = [device] if device.type == "cuda" else []
    with compute_threads(device) as threads, torch.random.fork_rng(devices=cuda), Loader(
        table,
        [StreamPlan("finetune", {"view": training_view(net, tuning)}, tuning.batch)],
        seed=seed,
        threads=threads,
        in_turn=not cuda,
        pin=bool(cuda),
        bad=bad,
    ) as loader:  # fmt: skip

        def loss_of(step: int) -> Tensor:
            batch = loader.get(step)["finetune"].to(device)
            torch.manual_seed(rng.seed64(seed, "finetune", step))  # dropout
            with _autocast(device):
                logits = net(batch.images("view"))
            return _loss(logits.float(), batch)

        last_loss = fit(
            map(loss_of, range(steps)), groups, tuning.optimiser,
            lambda step: learning_rate(tuning.schedule, peak, step, steps, unit), steps,
            clip=tuning.clip, screen=screen, batch=tuning.batch, waited=lambda: loader.waited,
            what="the loss of fine-tuning",
            hint=f"optimiser.lr={tuning.optimiser.lr / 3:.1g} or clip=1.0",
        )  # fmt: skip
    return {
        "steps": steps,
        "epochs": round(steps * tuning.batch / len(table), 4),
        "last_loss": round(last_loss, 5),
        "unreadable": [b.name for b in bad.list()],
    }


def training_view(net: Tuned, tuning: Tuning) -> View:
    """What is cut from a training picture, for this network."""
    view = tuning.view.resized(net.encoder.size)
    return view if net.encoder.channels == 3 else view.without_colour()


def scores_of(
    net: Tuned, table: Table, tuning: Tuning, view: View, *, seed: int
) -> NDArray[np.float32]:
    """Logits of every picture of a table, [Q, K]; summed over training views where it asks so.

    Args:
        net: Its mode becomes evaluation.
        table: Pictures that can be read.
        tuning: How many ``crops``.
        view: The test view where it asks for none.
        seed: Of crops.

    Raises:
        FovealError: A picture that could be read before cannot be read now.
    """
    if not tuning.crops:
        return _scores(net, table, view, (0, 0))
    crop = training_view(net, tuning)
    keys = [rng.key(seed, "test crops", i) for i in range(tuning.crops)]
    summed = _scores(net, table, crop, keys[0])
    for key in keys[1:]:
        summed += _scores(net, table, crop, key)
    return summed


@torch.no_grad()
def _scores(net: Tuned, table: Table, view: View, key: rng.Key) -> NDArray[np.float32]:
    device = device_of(net)
    net.eval()
    batch = int(np.clip(_TEST_PIXELS // view.size**2, 16, 256))
    found = []
    with compute_threads(device) as threads:
        for rows, pixels, ok in ordered_views(table, view, batch=batch, threads=threads, key=key):
            if not ok.all():
                name = table.source.name(int(table.image[rows[~ok][0]]))
                raise FovealError(
                    f"{name} changed while it was measured", hint="the same command again"
                )
            found.append(net(as_images(pixels.to(device))).float().cpu().numpy())
    return np.concatenate(found)


def _loss(logits_BK: Tensor, batch: StreamBatch) -> Tensor:
    """Cross-entropy; of pictures with several classes a logistic loss each, summed."""
    if MARKS not in batch.targets:
        return F.cross_entropy(logits_BK, batch.label)
    marks_BK = batch.targets[MARKS]
    return multilabel_loss(logits_BK, (marks_BK == 1).float(), (marks_BK >= 0).float())


def _autocast(device: torch.device) -> torch.autocast:
    """bf16 where the accelerator has it, as training does."""
    has = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=has)
