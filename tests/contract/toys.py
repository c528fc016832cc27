"""Five toy methods that together need everything the contract offers to the papers to come.

Tiles with a bank (PIRL, CPC), streams with targets (S4L), optimisers taking turns (multi-task),
half trunks (split-brain), masked tokens with a teacher (MAE, I-JEPA). None is listed.
"""

from copy import deepcopy

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from foveal.backbones.encoder import Encoder
from foveal.backbones.inputs import Channels
from foveal.core.ema import ema_update
from foveal.methods.base import (
    Group,
    Losses,
    Method,
    MethodOptions,
    Samples,
    Stream,
    trained_parameters,
)
from foveal.methods.rotation import quarter_turns
from foveal.views.spec import Jitter, Tiles, View

SIZE = 16
PLAIN = View(size=SIZE)


class ViewOptions(MethodOptions):
    """One view that a recipe may change."""

    view: View = PLAIN


class TilesWithBank(Method):
    """Tiles, coloured each on its own, against a bank of what was seen of every picture."""

    Options = ViewOptions

    def __init__(self, make, data, options):
        super().__init__(make, data, options)
        self.trunk, self.normalise = make(), data.normalise()
        self.head = nn.Linear(self.trunk.dim, 8)
        generator = torch.Generator().manual_seed(data.seed)
        bank = F.normalize(torch.randn(data.samples, 8, generator=generator), dim=1)
        self.register_buffer("bank", bank)

    def streams(self):
        tiles = Tiles(rows=2, columns=2, stride=8, size=6, jitter=2)
        jitter = Jitter(p=1.0, brightness=0.4, contrast=0.4)
        return {
            "main": Stream(
                {
                    "whole": self.options.view,
                    "tiles": View(size=SIZE, tiles=tiles, jitter=jitter, like="whole"),
                }
            )
        }

    def forward(self, batch, progress):
        tiles = batch["main"].images("tiles")
        parts = self.trunk(self.normalise(tiles.flatten(0, 1)))["pooled"]
        whole = self.trunk(self.normalise(batch["main"].images("whole")))["pooled"]
        both = torch.stack([parts.unflatten(0, tiles.shape[:2]).mean(1), whole], dim=1)
        return {"z": F.normalize(self.head(both), dim=2)}

    def loss(self, out, batch, progress):
        main = batch["main"]
        others = main.integers("negatives", self.data.samples, (5,))
        candidates = torch.cat([main.index[:, None], others], dim=1)
        logits = torch.einsum("bvd,bnd->bvn", out["z"], self.bank[candidates]) / 0.2
        target = torch.zeros(logits.shape[:2], dtype=torch.int64, device=logits.device)
        loss = F.cross_entropy(logits.flatten(0, 1), target.flatten())
        return Losses(loss, rows={"z": out["z"][:, 1].detach(), "index": main.index})

    def after_step(self, rows, means, progress):
        new = 0.5 * self.bank[rows["index"]] + 0.5 * rows["z"]
        self.bank[rows["index"]] = F.normalize(new, dim=1)

    def encoder(self):
        return self.data.encoder(self.trunk, self.normalise)


class TwoStreams(Method):
    """Turns on one stream; on another, half as large, a soft target that comes with each sample."""

    def __init__(self, make, data, options):
        super().__init__(make, data, options)
        self.trunk, self.normalise = make(), data.normalise()
        self.turn, self.soft = nn.Linear(self.trunk.dim, 2), nn.Linear(self.trunk.dim, 3)

    def samples(self, source):
        # Every picture twice: whole, and its upper half.
        n = len(source)
        box = np.array([[0, 0, 20, 20], [0, 0, 10, 20]], np.float32).repeat(n, axis=0)
        target = np.tile(np.array([[0.7, 0.2, 0.1]], np.float32), (2 * n, 1))
        return Samples(np.tile(np.arange(n), 2), box, {"soft": target})

    def streams(self):
        return {
            "turned": Stream({"v": PLAIN}),
            "soft": Stream({"v": View(size=SIZE, flip=0.0)}, size=0.5, counts_epoch=False),
        }

    def forward(self, batch, progress):
        turned = batch["turned"]
        which = turned.integers("turn", 2)
        x = turned.images("v")
        x = torch.where(which[:, None, None, None] == 1, quarter_turns(x, 2), x)
        return {
            "turn": self.turn(self.trunk(self.normalise(x))["pooled"]),
            "soft": self.soft(self.trunk(self.normalise(batch["soft"].images("v")))["pooled"]),
        }

    def loss(self, out, batch, progress):
        turn = F.cross_entropy(out["turn"], batch["turned"].integers("turn", 2))
        soft = F.cross_entropy(out["soft"], batch["soft"].targets["soft"])
        return Losses(turn + soft, {"turn": turn.detach(), "soft": soft.detach()})

    def encoder(self):
        return self.data.encoder(self.trunk, self.normalise)


class TakingTurns(Method):
    """Two tasks with an optimiser each, stepping in turns on the trunk they share."""

    def __init__(self, make, data, options):
        super().__init__(make, data, options)
        self.trunk, self.normalise = make(), data.normalise()
        self.turn, self.grey = nn.Linear(self.trunk.dim, 4), nn.Linear(self.trunk.dim, 1)

    def streams(self):
        return {
            "turn": Stream({"v": PLAIN}, every=(2, 0), optimiser="turn"),
            "grey": Stream({"v": PLAIN}, every=(2, 1), optimiser="grey", counts_epoch=False),
        }

    def parameter_groups(self):
        trunk = trained_parameters(self.trunk)
        return {
            "turn": [Group(trunk), Group(trained_parameters(self.turn), decay=0.0)],
            "grey": [Group(trunk, lr=0.5), Group(trained_parameters(self.grey), constant_lr=True)],
        }

    def forward(self, batch, progress):
        ((name, part),) = batch.items()
        x = part.images("v")
        if name == "turn":
            x = torch.cat([quarter_turns(x, k) for k in range(4)])
            logits = self.turn(self.trunk(self.normalise(x))["pooled"])
            return {"turn": logits.unflatten(0, (4, -1)).transpose(0, 1)}
        return {"grey": self.grey(self.trunk(self.normalise(x))["pooled"])}

    def loss(self, out, batch, progress):
        if "turn" in out:
            labels = torch.arange(4, device=out["turn"].device).repeat(len(out["turn"]))
            return Losses(F.cross_entropy(out["turn"].flatten(0, 1), labels))
        grey = batch["grey"].images("v").mean((1, 2, 3))
        return Losses(F.mse_loss(out["grey"][:, 0], grey))

    def encoder(self):
        return self.data.encoder(self.trunk, self.normalise)


class HalfTrunks(Method):
    """One half sees red and tells green and blue, the other the reverse; handed over as one."""

    def __init__(self, make, data, options):
        super().__init__(make, data, options)
        self.halves = nn.ModuleList([make(in_chans=1), make(in_chans=2)])
        self.cuts = nn.ModuleList([Channels([0]), Channels([1, 2])])
        self.heads = nn.ModuleList(
            [nn.Linear(self.halves[0].dim, 2), nn.Linear(self.halves[1].dim, 1)]
        )

    def streams(self):
        return {"main": Stream({"v": PLAIN})}

    def forward(self, batch, progress):
        x = batch["main"].images("v")
        return {
            f"half{i}": self.heads[i](self.halves[i](self.cuts[i](x))["pooled"]) for i in range(2)
        }

    def loss(self, out, batch, progress):
        x = batch["main"].images("v").mean((2, 3))
        return Losses(F.mse_loss(out["half0"], x[:, 1:]) + F.mse_loss(out["half1"], x[:, :1]))

    def encoder(self):
        return Encoder(
            list(self.halves), [[cut] for cut in self.cuts], channels=self.data.channels,
            size=self.data.size, fraction=self.data.fraction,
        )  # fmt: skip


class MaskedTokens(Method):
    """A ViT sees masked patches and predicts what its slow copy sees of the whole picture."""

    def __init__(self, make, data, options):
        super().__init__(make, data, options)
        self.trunk, self.normalise = make(), data.normalise()
        self.mask_token = nn.Parameter(torch.zeros(self.trunk.dim))
        self.predictor = nn.Linear(self.trunk.dim, self.trunk.dim)
        self.teacher = deepcopy(self.trunk).requires_grad_(False)
        self.register_buffer("centre", torch.zeros(self.trunk.dim))

    def streams(self):
        return {"main": Stream({"v": PLAIN})}

    def _mask(self, batch):
        patches = (SIZE // 4) ** 2
        return batch["main"].random("mask", (patches,)) < 0.5

    def forward(self, batch, progress):
        x = self.normalise(batch["main"].images("v"))
        student = self.trunk.tokens(x, mask=self._mask(batch), mask_token=self.mask_token)
        with torch.no_grad():
            teacher = self.teacher.tokens(x)
        return {"student": self.predictor(student), "teacher": teacher}

    def loss(self, out, batch, progress):
        prefix = out["student"].shape[1] - self._mask(batch).shape[1]
        wanted = out["teacher"][:, prefix:] - self.centre
        error = (out["student"][:, prefix:] - wanted).square().mean(2)
        rows = (error * self._mask(batch)).sum(1) / (SIZE // 4) ** 2
        centre = out["teacher"][:, prefix:].mean((0, 1))
        return Losses(rows.mean(), means={"centre": centre})

    def after_step(self, rows, means, progress):
        ema_update(self.teacher.parameters(), self.trunk.parameters(), 0.9)
        self.centre.lerp_(means["centre"], 0.1)

    def encoder(self):
        return self.data.encoder(self.trunk, self.normalise)


TOYS = [TilesWithBank, TwoStreams, TakingTurns, HalfTrunks, MaskedTokens]
