"""A copy of an encoder with a linear head, trained with labels. The encoder itself never changes.

Legend: B pictures of a batch, N training pictures, Q test pictures, K classes.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from foveal.backbones.classifier import Classifier
from foveal.backbones.depth import parameter_depths
from foveal.backbones.encoder import Encoder
from foveal.core import rng
from foveal.core.batch import as_images
from foveal.core.schedules import batch_scaled
from foveal.data.loader import BadFiles, Loader, StreamPlan, Table, ordered_views
from foveal.engine.optim import build_optimiser, learning_rate, set_learning_rates
from foveal.engine.screen import Meter, ProgressScreen
from foveal.errors import FovealError
from foveal.evaluation.features import compute_threads, device_of
from foveal.evaluation.tuning import Tuning
from foveal.methods.base import Group
from foveal.metrics.accuracy import true_class_rank
from foveal.recipe import nearest
from foveal.views.presets import center_view

_TEST_PIXELS = 256 * 96 * 96  # of a test batch
_READ_EVERY = 10  # steps between looks at the loss, which waits for an accelerator


def new_classifier(encoder: Encoder, classes: list[str]) -> Classifier:
    """A copy of an encoder with a linear layer on ``pooled`` that starts at zero."""
    # A drawn head would move torch's generator.
    head: nn.Linear = nn.utils.skip_init(  # type: ignore[no-untyped-call]
        nn.Linear, encoder.dim, len(classes)
    )
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    net = Classifier(copy.deepcopy(encoder), head, classes).to(device_of(encoder))
    return net.to(memory_format=torch.channels_last)


def train_classifier(
    net: Classifier, table: Table, tuning: Tuning, *, seed: int, screen: ProgressScreen
) -> dict[str, Any]:
    """Trains in place; the same call gives the same weights (on the same machine and cores).

    Args:
        net: What is trained.
        table: Labelled pictures; one that turns out unreadable is replaced by another.
        tuning: How.
        seed: Of order, views and dropout.
        screen: Told how it goes.

    Returns:
        Steps done, epochs, the last loss, and the files that could not be read.

    Raises:
        FovealError: The loss is no longer a number; ``freeze`` names no end point.
    """
    device = device_of(net)
    view = tuning.view.resized(net.encoder.size)
    view = view if net.encoder.channels == 3 else view.without_colour()
    optimiser = build_optimiser(_groups(net, tuning), tuning.optimiser)
    trained = [p for group in optimiser.param_groups for p in group["params"]]
    peak = batch_scaled(tuning.optimiser.lr, tuning.batch, tuning.optimiser.scaling)
    epochs, per_epoch = tuning.epochs_of(len(table)), len(table) / tuning.batch
    steps = max(1, round(epochs * per_epoch))
    meter, bad, loss_now = Meter(tuning.batch), BadFiles(), math.nan
    net.train()
    _settle(net, tuning)
    cuda = [device] if device.type == "cuda" else []
    with compute_threads(device) as threads, torch.random.fork_rng(devices=cuda), Loader(
        table,
        [StreamPlan("finetune", {"view": view}, tuning.batch)],
        seed=seed,
        threads=threads,
        in_turn=not cuda,
        pin=bool(cuda),
        bad=bad,
    ) as loader:  # fmt: skip
        for step in range(steps):
            batch = loader.get(step)["finetune"].to(device)
            torch.manual_seed(rng.seed64(seed, "finetune", step))  # dropout
            rate = learning_rate(tuning.schedule, peak, step, steps, per_epoch)
            set_learning_rates({"main": optimiser}, rate, peak, step / per_epoch)
            with _autocast(device):
                logits = net(batch.images("view"))
            loss = F.cross_entropy(logits.float(), batch.label)
            loss.backward()  # type: ignore[no-untyped-call]
            if tuning.clip is not None:
                torch.nn.utils.clip_grad_norm_(trained, tuning.clip, foreach=True)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            meter.add(loader.waited)
            if (step + 1) % _READ_EVERY == 0 or step + 1 == steps:
                loss_now = float(loss.detach())
                if not math.isfinite(loss_now):
                    raise FovealError(
                        f"the loss of fine-tuning became {loss_now} at step {step}",
                        hint=f"optimiser.lr={tuning.optimiser.lr / 3:.1g} or clip=1.0",
                    )
                left = (steps - step - 1) * tuning.batch / meter.speed
                screen.step(step + 1, steps, loss_now, meter.speed, meter.wait, left)
    return {
        "steps": steps,
        "epochs": round(epochs, 4),
        "last_loss": round(loss_now, 5),
        "unreadable": [b.name for b in bad.list()],
    }


@torch.no_grad()
def ranks_of(net: Classifier, table: Table) -> NDArray[np.int64]:
    """Rank of the true class of every picture of a table, int64 [Q]; the centre view.

    Raises:
        FovealError: A picture that could be read before cannot be read now.
    """
    device, encoder = device_of(net), net.encoder
    net.eval()
    view = center_view(encoder.size, encoder.fraction)
    found = []
    with compute_threads(device) as threads:
        for rows, pixels, ok in ordered_views(
            table,
            view,
            batch=int(np.clip(_TEST_PIXELS // view.size**2, 16, 256)),
            threads=threads,
        ):
            if not ok.all():
                name = table.source.name(int(table.image[rows[~ok][0]]))
                raise FovealError(
                    f"{name} changed while it was measured", hint="the same command again"
                )
            logits = net(as_images(pixels.to(device))).float()
            labels = torch.from_numpy(table.label[rows]).to(device)
            found.append(true_class_rank(logits, labels).cpu().numpy())
    return np.concatenate(found)


def _groups(net: Classifier, tuning: Tuning) -> list[Group]:
    """The head, and the layers between two end points together; frozen ones ask for no gradient."""
    depths = parameter_depths(net.encoder)
    ends = [end.name for end in net.encoder.ends]
    first = 0
    if tuning.freeze is not None:
        if tuning.freeze not in ends:
            raise FovealError(
                f"the network has no end point '{tuning.freeze}'", hint=nearest(tuning.freeze, ends)
            )
        first = ends.index(tuning.freeze) + 1
    layers: dict[int, list[nn.Parameter]] = {}
    for name, p in net.encoder.named_parameters():
        p.requires_grad_(p.requires_grad and depths[name] >= first)
        if p.requires_grad:
            layers.setdefault(depths[name], []).append(p)
    groups = [
        Group(parameters, lr=tuning.layer_decay ** (len(ends) - depth))
        for depth, parameters in sorted(layers.items())
    ]
    return [*groups, Group(list(net.head.parameters()), lr=tuning.head)]


def _settle(net: Classifier, tuning: Tuning) -> None:
    """Evaluation mode for frozen layers, and for every batch norm where ``batchnorm=frozen``."""
    frozen = False
    for module in net.encoder.modules():
        own = list(module.parameters(recurse=False))
        if own:
            frozen = not any(p.requires_grad for p in own)
        # What has no parameters (a plain batch norm, dropout) belongs to the layer before it; what
        # holds layers before and after the border has no mode of its own.
        alone = bool(own) or not any(module.children())
        norm = isinstance(module, _BatchNorm) and tuning.batchnorm == "frozen"
        if (frozen and alone) or norm:
            module.training = False


def _autocast(device: torch.device) -> torch.autocast:
    """bf16 where the accelerator has it, as training does."""
    has = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=has)
