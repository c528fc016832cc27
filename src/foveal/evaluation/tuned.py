"""The network that is fine-tuned: a copy of an encoder, some of it frozen or new, and a head.

Legend: B pictures of a batch, C channels, K classes.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from foveal.backbones.base import End
from foveal.backbones.chain import global_average, he_normal
from foveal.backbones.depth import module_depths, parameter_depths
from foveal.backbones.encoder import Encoder
from foveal.backbones.reading import device_of
from foveal.backbones.sobel_fold import without_sobel
from foveal.core import rng
from foveal.errors import FovealError
from foveal.evaluation.features import placed
from foveal.evaluation.tuning import Tuning
from foveal.methods.base import Group
from foveal.recipe import nearest

_STD, _BIAS = 0.01, 0.1  # of new linear layers in the recipes for VOC


class Tuned(nn.Module):
    """Pictures in [0, 1] to logits.

    Attributes:
        encoder: The copy.
        head: From what it reads.
        reads: An end point; None: ``pooled``.
    """

    def __init__(self, encoder: Encoder, head: nn.Module, reads: str | None) -> None:
        super().__init__()
        self.encoder, self.head, self.reads = encoder, head, reads

    def forward(self, images: Tensor) -> Tensor:
        """[B, C, H, W] in [0, 1] -> [B, K]."""
        found = self.encoder(images, () if self.reads is None else (self.reads,))
        logits: Tensor = self.head(found[self.reads or "pooled"])
        return logits


def tuned_copy(
    encoder: Encoder, classes: int, tuning: Tuning, *, drawn: Encoder | None, seed: int
) -> tuple[Tuned, list[Group]]:
    """A copy of an encoder with a new head, ready to be trained, and its parameters in groups.

    Args:
        encoder: Not changed.
        classes: K.
        tuning: What is frozen, new, and read.
        drawn: The same network with drawn weights, for layers that start anew; None: the encoder
            is that itself.
        seed: Of new layers.

    Raises:
        FovealError: An end point that the network does not have, or of which no head can read.
    """
    end = None if tuning.reads is None else _end(encoder, tuning.reads)
    net = Tuned(copy.deepcopy(encoder), _head(encoder, end, classes, tuning, seed), tuning.reads)
    if tuning.fresh is not None:
        _renew(net.encoder, drawn, _depth(encoder, tuning.fresh), tuning, seed)
    if tuning.fold_sobel:
        net.encoder = without_sobel(net.encoder)
    groups = _groups(net, tuning)
    return placed(net, device_of(encoder)), groups


def settle(net: Tuned, tuning: Tuning) -> None:
    """Training mode, but for frozen layers, and kept batch norms where ``batchnorm=frozen``."""
    net.train()
    depths = module_depths(net.encoder)
    frozen = -1 if tuning.freeze is None else _depth(net.encoder, tuning.freeze)
    kept = len(net.encoder.ends) if tuning.fresh is None else _depth(net.encoder, tuning.fresh)
    unread = len(net.encoder.ends) if tuning.reads is None else _depth(net.encoder, tuning.reads)
    for name, depth in depths.items():
        module = net.encoder.get_submodule(name)
        norm = isinstance(module, _BatchNorm) and tuning.batchnorm == "frozen" and depth <= kept
        if depth <= frozen or depth > unread or norm:
            # Not eval(): a module may hold others of another depth.
            module.training = False


def _groups(net: Tuned, tuning: Tuning) -> list[Group]:
    """The layers between two end points together, and the head; all others ask for no gradient."""
    ends = len(net.encoder.ends)
    first = 0 if tuning.freeze is None else _depth(net.encoder, tuning.freeze) + 1
    last = ends if tuning.reads is None else _depth(net.encoder, tuning.reads)
    depths = parameter_depths(net.encoder)
    layers: dict[int, list[nn.Parameter]] = {}
    for name, p in net.encoder.named_parameters():
        p.requires_grad_(p.requires_grad and first <= depths[name] <= last)
        if p.requires_grad:
            layers.setdefault(depths[name], []).append(p)
    groups = [
        Group(parameters, lr=tuning.layer_decay ** (ends - depth))
        for depth, parameters in sorted(layers.items())
    ]
    return [*groups, Group(list(net.head.parameters()), lr=tuning.head)]


def _head(
    encoder: Encoder, end: End | None, classes: int, tuning: Tuning, seed: int
) -> nn.Sequential:
    """A linear layer on a vector, or on the mean of a map; a block of NIN before it."""
    if tuning.on_top == "nin" and (end is None or end.kind != "map"):
        raise FovealError(
            "a block of NIN reads a map, and reads= names none",
            hint=f"reads={next((e.name for e in encoder.ends if e.kind == 'map'), 'a map')}",
        )
    layers: list[nn.Module] = []
    # A generator of its own: drawn layers would move torch's.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.seed64(seed, "new head"))
        if tuning.on_top == "nin" and end is not None:
            for kernel in (3, 1, 1):
                conv = nn.Conv2d(end.channels, end.channels, kernel, padding=kernel // 2,
                                 bias=False)  # fmt: skip
                he_normal(conv)
                layers += [conv, nn.BatchNorm2d(end.channels), nn.ReLU(inplace=True)]
        if end is not None and end.kind == "map":
            layers.append(global_average())
        if end is not None and end.kind == "tokens":
            layers.append(_MeanToken())
        linear = nn.Linear(encoder.dim if end is None else end.channels, classes)
        if tuning.new_layers == "normal":
            _normal(linear)
        else:
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
    return nn.Sequential(*layers, linear)


class _MeanToken(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] -> [B, C]."""
        return x.mean(1)


@torch.no_grad()
def _renew(encoder: Encoder, drawn: Encoder | None, after: int, tuning: Tuning, seed: int) -> None:
    """Layers deeper than ``after`` take drawn weights and buffers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.seed64(seed, "new layers"))
        for name, depth in module_depths(encoder).items():
            if depth <= after:
                continue
            module = encoder.get_submodule(name)
            if drawn is not None:
                source = drawn.get_submodule(name)
                theirs = {**dict(source.named_parameters("", False)),
                          **dict(source.named_buffers("", False))}  # fmt: skip
                for own, value in [*module.named_parameters("", False),
                                   *module.named_buffers("", False)]:  # fmt: skip
                    value.copy_(theirs[own])
            if tuning.new_layers == "normal" and isinstance(module, nn.Linear):
                _normal(module)


def _normal(layer: nn.Linear) -> None:
    nn.init.normal_(layer.weight, 0.0, _STD)
    if layer.bias is not None:
        nn.init.constant_(layer.bias, _BIAS)


def _end(encoder: Encoder, name: str) -> End:
    return encoder.ends[_depth(encoder, name)]


def _depth(encoder: Encoder, name: str) -> int:
    """Of an end point; ``last`` is the last one, ``pooled`` lies behind it."""
    ends = [end.name for end in encoder.ends]
    if name == "last":
        return len(ends) - 1
    if name == "pooled":
        return len(ends)
    if name not in ends:
        raise FovealError(
            f"the network has no end point '{name}'",
            hint=nearest(name, ends) + f" (of {', '.join(ends)})",
        )
    return ends.index(name)
