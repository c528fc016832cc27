"""Several methods on one trunk, taking turns: ``--method rotation+jigsaw+colorization``.

Doersch, Zisserman, "Multi-task Self-Supervised Visual Learning", ICCV 2017: what one task leaves
out another brings in, even when each head simply reads the end of the shared trunk. Parts are whole
methods; a combination holds no code of theirs.

Step ``t`` is the turn of part ``t mod n``, on all ranks: its streams are drawn, its forward runs,
and its optimiser steps trunk and head, so that moments of tasks with gradients of other sizes do
not mix. An epoch counts the pictures of all parts; a part's schedules count its own turns.

Cost: that of the parts, one after the other. Failure signs: those of each part, in its own numbers
(``rotation_loss``, ...). Where this differs from the paper: one machine takes turns where theirs
updated asynchronously; the optimiser is the recipe's, not RMSProp.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from foveal.backbones.batchnorm import buffers_left_alone
from foveal.backbones.encoder import Encoder
from foveal.backbones.mix import UnitMix
from foveal.core.batch import Batch
from foveal.core.progress import Progress
from foveal.data.sources import Source
from foveal.errors import FovealError
from foveal.methods.base import (
    BackboneMaker,
    DataInfo,
    FeaturePass,
    Group,
    Losses,
    Method,
    MethodOptions,
    Refreshed,
    Samples,
    Stream,
)
from foveal.methods.shared import SharedMaker, own_encoder
from foveal.methods.turns import Part


class MultiTaskOptions(MethodOptions):
    """Options of a combination; those of its parts stand under their names."""

    lasso: float | None = Field(
        None,
        ge=0,
        description="weight of |alpha|_1; every part reads its own sparse mix of residual units. "
        "None: all read the last map",
    )
    harmonise: tuple[str, ...] = Field(
        (), description="parts that see lightness in all channels, as colorization does"
    )
    encode: str | None = Field(
        None, description="part whose input layers the features are taken with; None: the first"
    )
    statistics: Literal["encode", "mixed"] = Field(
        "encode",
        description="whose batches move the shared trunk's batch-norm averages: those of the part "
        "the features are taken with, or everybody's",
    )
    sizes: dict[str, float] = Field(
        {}, description="pictures in a part's turn, as a multiple of the recipe's batch"
    )
    rates: dict[str, float] = Field({}, description="factors on the learning rates of parts")


class MultiTask(Method):
    """Base of all combinations; ``combination`` makes the class of one."""

    Options = MultiTaskOptions
    paper = "arXiv 1708.07860"
    family = "mixture"
    refreshed: Tensor

    def __init__(self, make: BackboneMaker, data: DataInfo, options: Any) -> None:
        super().__init__(make, data, options)
        names = list(self.parts)
        self.encoded = options.encode or names[0]
        for name in (self.encoded, *options.harmonise, *options.sizes, *options.rates):
            if name not in names:
                raise FovealError(f"'{name}' is no part here", hint=f"parts: {', '.join(names)}")
        if options.harmonise:
            data.require_colour("a harmonised part")
        mixing = options.lasso is not None
        self.trunk = make(units=True) if mixing else make()
        self.methods = nn.ModuleDict()
        self.turns: list[Part] = []
        for i, (name, kind) in enumerate(self.parts.items()):
            size, rate = options.sizes.get(name, 1.0), options.rates.get(name, 1.0)
            own = replace(data, batch=round(data.batch * size))
            maker, grey = SharedMaker(name, self.trunk, mixing), name in options.harmonise
            self.methods[name] = method = kind(maker, own, getattr(options, name))
            self.turns.append(Part(name, method, i, len(names), size, rate, grey))
        self.register_buffer("refreshed", torch.zeros(len(names), dtype=torch.int64))
        self.refreshes: list[int] | None = None  # read once: reading from a device waits for it

    def streams(self) -> dict[str, Stream]:
        """Those of all parts, each in its turn."""
        return {k: v for part in self.turns for k, v in part.streams().items()}

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """That of the part whose turn it is."""
        part = self._due(progress)
        counts = self.options.statistics == "mixed" or part.name == self.encoded
        with nullcontext() if counts else buffers_left_alone(self.trunk):
            out: dict[str, Tensor] = part.method(part.batch(batch), self._own(part, progress))
        return out

    def loss(self, out: dict[str, Tensor], batch: Batch, progress: Progress) -> Losses:
        """That of the part, and what its mix costs."""
        part = self._due(progress)
        found = part.method.loss(out, part.batch(batch), self._own(part, progress))
        loss, log = found.loss, {**found.log, "loss": found.loss.detach()}
        if self.options.lasso is not None:
            row = next(m for m in part.method.modules() if isinstance(m, UnitMix)).row().abs()
            loss = loss + self.options.lasso * row.sum()
            log["units"] = (row > 1e-3).sum().float().detach()
        return Losses(loss, part.named(log), found.rows, found.means)

    def encoder(self) -> Encoder:
        """That of one part, as if it had a trunk of its own."""
        part = next(p for p in self.turns if p.name == self.encoded)
        return own_encoder(part.method.encoder(), lightness=part.grey)

    def after_step(
        self, rows: dict[str, Tensor], means: dict[str, Tensor], progress: Progress
    ) -> None:
        """That of the part whose turn it was."""
        part = self._due(progress)
        part.method.after_step(rows, means, self._own(part, progress))

    def parameter_groups(self) -> dict[str, list[Group]]:
        """Every part's, by its own optimisers: the trunk is in all of them."""
        return {k: v for part in self.turns for k, v in part.parameter_groups().items()}

    def samples(self, source: Source) -> Samples | None:
        """The table a part asks for; others draw from it too, so it has to be of whole pictures."""
        asked = {p.name: s for p in self.turns if (s := p.method.samples(source)) is not None}
        if len(asked) > 1 or any(s.box is not None for s in asked.values()):
            raise FovealError(
                f"{' and '.join(asked)} cut samples of their own out of the pictures, which "
                "other parts cannot share",
                hint="leave one out of the combination",
            )
        return next(iter(asked.values()), None)

    def sample_groups(self) -> Tensor | dict[str, Tensor] | None:
        """Each part's, for its own streams."""
        return {k: v for part in self.turns for k, v in part.sample_groups().items()} or None

    def refresh_due(self, progress: Progress) -> bool:
        """Whether any part's is."""
        return any(p.method.refresh_due(self._own(p, progress)) for p in self.turns)

    def refresh(self, run: FeaturePass, progress: Progress) -> Refreshed:
        """Those of the parts that are due."""
        all_done = Refreshed()
        for part in self.turns:
            if part.method.refresh_due(own := self._own(part, progress)):
                done = part.method.refresh(part.feature_pass(run), own)
                all_done.redrawn.extend(done.redrawn)
                all_done.log.update(part.named(done.log))
                all_done.clusters.update(part.named(done.clusters))
                self.refreshed[part.turn] += 1
                self.refreshes = None
        return all_done

    def facts(self) -> dict[str, float]:
        """Each part's."""
        return {k: v for part in self.turns for k, v in part.named(part.method.facts()).items()}

    def trivial_losses(self) -> dict[str, float]:
        """Each part's."""
        return {
            f"{meaning} ({part.name})": value
            for part in self.turns
            for meaning, value in part.method.trivial_losses().items()
        }

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """See ``nn.Module``."""
        self.refreshes = None
        return super().load_state_dict(*args, **kwargs)

    def _due(self, progress: Progress) -> Part:
        return self.turns[progress.step % len(self.turns)]

    def _own(self, part: Part, progress: Progress) -> Progress:
        if self.refreshes is None:
            self.refreshes = self.refreshed.tolist()
        return part.progress(progress, self.refreshes[part.turn])
