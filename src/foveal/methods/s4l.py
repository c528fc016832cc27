"""S4L: classes from few labels and a pretext task on all pictures, in one network and one run.

Zhai, Oliver, Kolesnikov, Beyer, "S4L: Self-Supervised Semi-Supervised Learning", ICCV 2019. A step
draws labelled pictures and, from all there are, as many without their labels, and makes one forward
over both. The class head learns from every copy the pretext task makes of a labelled picture (its
four turns); the pretext task from both parts. Virtual adversarial training and the entropy of
predictions (``losses/vat.py``) may stand beside the pretext task or in its place.

An epoch is a pass over the *labelled* pictures. Cost: with rotation 8 forwards a labelled picture,
with exemplar twice ``copies``; VAT adds, for each picture it sees, a forward and two with a
backward. Failure signs: class accuracy 1 on the training pictures within a few epochs while the
pretext accuracy stands still (more weight decay); ``vat_cosine`` below .99 (a larger ``vat_xi``).
Unlike the released code, VAT draws one random step a batch, with a radius for the view's size.
"""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.backbones.batchnorm import buffers_left_alone
from foveal.backbones.encoder import Encoder
from foveal.core.batch import Batch
from foveal.core.ema import copy_buffers, ema_update
from foveal.core.progress import Progress
from foveal.losses.vat import divergence, entropy, virtual_adversary
from foveal.methods.base import BackboneMaker, DataInfo, Losses, Method, Stream
from foveal.methods.exemplar_triplet import ExemplarTriplet
from foveal.methods.rotation import Rotation, RotationOptions
from foveal.methods.s4l_options import S4LOptions, exemplar_options
from foveal.methods.shared import SharedMaker

_PARTS = ("unlabelled", "labelled")
_EPS_VALUES = 3 * 224 * 224  # of the picture that the radius is stated for


class S4L(Method):
    """Cross-entropy on few labels beside a pretext task on all pictures (section 3)."""

    Options = S4LOptions
    title = "S4L"
    paper = "arXiv 1905.03670"
    family = "mixture"
    needs_labels = True

    def __init__(self, make: BackboneMaker, data: DataInfo, options: S4LOptions) -> None:
        super().__init__(make, data, options)
        o = options
        self.trunk, self.normalise = make(), data.normalise()
        self.head = nn.Linear(self.trunk.dim, data.classes)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)
        shared = SharedMaker(o.pretext, self.trunk, mix=False)
        self.pretext: Any = None  # Rotation or ExemplarTriplet
        if o.pretext == "rotation":
            self.pretext = Rotation(shared, data, RotationOptions(view=o.view))
        elif o.pretext == "exemplar":
            self.pretext = ExemplarTriplet(shared, data, exemplar_options(o))
        self.couples_samples = o.pretext == "exemplar"
        self.replayable = o.vat == 0  # a gradient is computed inside forward
        # The embedding apart, everything that is evaluated has an averaged copy.
        if o.average is not None:
            self.average_trunk = deepcopy(self.trunk).requires_grad_(False)
            self.average_head = deepcopy(self.head).requires_grad_(False)

    @classmethod
    def tells_turns(cls, options: S4LOptions) -> bool:
        """Where they are its pretext task."""
        return options.pretext == "rotation"

    def streams(self) -> dict[str, Stream]:
        """Labelled pictures, whose passes are the epochs, and all pictures."""
        o = self.options
        views = {"view": o.view} if not self.pretext else self.pretext.streams()["main"].views
        labelled = {"labelled": Stream(views, labelled=True)}
        if self.pretext is None and not o.vat and not o.entmin:
            return labelled
        return labelled | {"unlabelled": Stream(views, size=o.unlabelled, counts_epoch=False)}

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """One forward over both parts; of each, logits [B, copies, K] and the pretext's answers."""
        parts = self._parts(batch)
        shown = {name: self._shown(part) for name, part in parts.items()}
        features = self._features(torch.cat(list(shown.values())))
        out: dict[str, Tensor] = {}
        sizes = [len(x) for x in shown.values()]
        for h, (name, part) in zip(torch.split(features, sizes), parts.items(), strict=True):
            out[f"{name}/classes"] = self.head(h).unflatten(0, (len(part["main"]), -1))
            if self.pretext is not None:
                answers = self.pretext.answers(h, part)
                out |= {f"{name}/{k}": v for k, v in answers.items()}
        if self.options.vat:
            out |= self._adversary({name: shown[name] for name in self._regularised()}, batch)
        return out

    def loss(self, out: dict[str, Tensor], batch: Batch, progress: Progress) -> Losses:
        """The weighted sum; the pretext's is the mean of its means over either part (section 4)."""
        o = self.options
        logits = out["labelled/classes"]
        labels = batch["labelled"].label.repeat_interleave(logits.shape[1])
        ce = F.cross_entropy(logits.flatten(0, 1), labels)
        loss = o.supervised * ce
        right = (logits.detach().flatten(0, 1).argmax(1) == labels).float().mean()
        log = {"class_loss": ce.detach(), "class_accuracy": right}
        if self.pretext is not None:
            losses = []
            for name, part in self._parts(batch).items():
                own = {k.removeprefix(f"{name}/"): v for k, v in out.items() if k.startswith(name)}
                found = self.pretext.loss(own, part, progress)
                losses.append(found.loss)
                log |= {f"{name}_{k}": v for k, v in found.log.items()}
            pretext = torch.stack(losses).mean()
            loss = loss + o.weight * pretext
            log["pretext_loss"] = pretext.detach()
        if o.vat:
            perturbed, clean = (_rows(out, k, self._regularised()) for k in ("perturbed", "clean"))
            vat = divergence(perturbed, clean, o.vat_direction).mean()
            loss = loss + o.vat * vat
            cosine = torch.cat([out[f"{name}/cosine"] for name in self._regularised()])
            log |= {"vat_loss": vat.detach(), "vat_cosine": cosine.mean()}
        if o.entmin:
            ent = entropy(_rows(out, "classes", self._regularised())).mean()
            loss = loss + o.entmin * ent
            log["entropy"] = ent.detach()
        return Losses(loss, log)

    def encoder(self) -> Encoder:
        """The trunk, or its average."""
        trunk = self.trunk if self.options.average is None else self.average_trunk
        return self.data.encoder(trunk, self.normalise)

    def classifiers(self) -> list[nn.Linear]:
        """The class head, its average first."""
        return [self.head] if self.options.average is None else [self.average_head, self.head]

    def after_step(
        self, rows: dict[str, Tensor], means: dict[str, Tensor], progress: Progress
    ) -> None:
        """The average moves, as one that began at zero and is divided by the sum of its weights."""
        if self.options.average is None:
            return
        steps_per_epoch = progress.steps / progress.epochs
        decay = 0.5 ** (1 / (self.options.average * steps_per_epoch))
        weight = (1 - decay) / (1 - decay ** (progress.step + 1))
        target = [*self.average_trunk.parameters(), *self.average_head.parameters()]
        ema_update(target, [*self.trunk.parameters(), *self.head.parameters()], 1 - weight)
        copy_buffers(self.average_trunk, self.trunk)

    def trivial_losses(self) -> dict[str, float]:
        """What guessing gives, of all terms together."""
        o, k = self.options, math.log(max(2, self.data.classes))
        pretext = sum(self.pretext.trivial_losses().values()) if self.pretext else 0.0
        total = o.supervised * k + o.weight * pretext + o.entmin * k
        return {"what guessing classes and pretext gives": total}

    def _parts(self, batch: Batch) -> dict[str, Batch]:
        """Both parts as the pretext task's own batches, unlabelled first."""
        return {name: {"main": batch[name]} for name in _PARTS if name in batch}

    def _shown(self, part: Batch) -> Tensor:
        found: Tensor = self.pretext.shown(part) if self.pretext else part["main"].images("view")
        return found

    def _features(self, images: Tensor) -> Tensor:
        features: Tensor = self.trunk(self.normalise(images))["pooled"]
        return features

    def _regularised(self) -> tuple[str, ...]:
        """What VAT and the entropy see: everything; beside a pretext task, unlabelled copies."""
        return _PARTS if self.pretext is None else _PARTS[:1]

    def _adversary(self, shown: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        o, x = self.options, torch.cat(list(shown.values()))
        noise = batch["labelled"].shared_normal("vat", tuple(x.shape[1:]))
        with buffers_left_alone(self.trunk):
            found = virtual_adversary(
                lambda images: self.head(self._features(images)),
                x,
                noise,
                # Pictures are in [0, 1]: half as wide as what the lengths are stated for.
                radius=o.vat_eps / 2 * math.sqrt(x[0].numel() / _EPS_VALUES),
                xi=o.vat_xi / 2,
                direction=o.vat_direction,
            )
        out, sizes = {}, [len(v) for v in shown.values()]
        for kind in ("clean", "perturbed", "cosine"):
            for name, rows in zip(shown, getattr(found, kind).split(sizes), strict=True):
                out[f"{name}/{kind}"] = rows.unflatten(0, (len(batch[name]), -1))
        return out


def _rows(out: dict[str, Tensor], kind: str, names: tuple[str, ...]) -> Tensor:
    """Logits of all copies of some parts, [rows, K]."""
    return torch.cat([out[f"{name}/{kind}"].flatten(0, 1) for name in names])
