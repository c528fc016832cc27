"""Batch norm whose statistics are those of the global batch, and their re-estimation.

Ioffe and Szegedy, "Batch normalization", ICML 2015. The rank law (loss and gradient on N ranks
equal the single-process value on the concatenated batch) needs statistics over all ranks. torch's
``SyncBatchNorm`` gives them on a GPU only; on the CPU the layer of this module does.

Legend: B images, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules._functions import SyncBatchNorm as sync_batch_norm
from torch.nn.modules.batchnorm import _BatchNorm

from foveal.core import ranks
from foveal.errors import FovealError

# What timm's batch norm with an activation inside runs after the norm, in this order.
_AFTERWARDS = ("drop", "act")


class GlobalBatchNorm(_BatchNorm):
    """Batch norm over all ranks in training; on one rank and in eval mode it is torch's.

    Arguments, parameters, buffers and state are those of ``BatchNorm2d``. It is no
    ``nn.SyncBatchNorm``, since DDP refuses that class on a CPU.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, ...] -> [B, C, ...]."""
        everywhere = self.training and ranks.world_size() > 1
        y = self._normalise(x) if everywhere else super().forward(x)
        for name in _AFTERWARDS:
            if name in self._modules:
                y = getattr(self, name)(y)
        return y

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() < 2:
            raise ValueError(f"expected [B, C, ...], got {x.dim()} dimensions")

    def _normalise(self, x: Tensor) -> Tensor:
        momentum = self._count_batch()
        mean, var = (
            (self.running_mean, self.running_var) if self.track_running_stats else (None,) * 2
        )
        if x.is_cuda:
            out: Tensor = sync_batch_norm.apply(
                x, self.weight, self.bias, mean, var, self.eps, momentum,
                torch.distributed.group.WORLD, ranks.world_size(),
            )  # fmt: skip
            return out
        return global_batch_norm(x, mean, var, self.weight, self.bias, momentum, self.eps)

    def _count_batch(self) -> float:
        """Counts the batch as torch's layers do; returns the weight of its statistics."""
        momentum = 0.0 if self.momentum is None else self.momentum
        if self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                momentum = 1.0 / float(self.num_batches_tracked)
        return momentum


def global_batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    momentum: float,
    eps: float,
) -> Tensor:
    """``F.batch_norm`` in training mode with statistics over all ranks.

    Two rounds, sums and then squared distances from the mean: one round of sums of squares would
    lose digits where the mean is large.
    """
    over = [d for d in range(x.dim()) if d != 1]
    shape = [1, -1] + [1] * (x.dim() - 2)
    wide = x if x.dtype == torch.float64 else x.float()
    own = wide.new_tensor([x.numel() / x.shape[1]])
    *_, count = summed = _sum(torch.cat([wide.sum(over), own]))
    count = count.detach()
    mean = summed[:-1] / count
    centred = wide - mean.view(shape)
    var = _sum(centred.square().sum(over)) / count
    with torch.no_grad():
        if running_mean is not None:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        if running_var is not None:
            unbiased = var * count / (count - 1).clamp(min=1)
            running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    scale = (var + eps).rsqrt()
    if weight is not None:
        scale = scale * weight
    out = centred * scale.view(shape)
    if bias is not None:
        out = out + bias.view(shape)
    result: Tensor = out.to(x.dtype)
    return result


class _SumOverRanks(torch.autograd.Function):
    """Sum over ranks. Every rank's loss used it, so its gradient is summed over ranks too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return ranks.sum_over_ranks(x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return _sum(grads[0].contiguous())


def _sum(x: Tensor) -> Tensor:
    summed: Tensor = _SumOverRanks.apply(x)
    return summed


def convert_batchnorm(module: nn.Module) -> nn.Module:
    """Makes every batch norm inside take its training statistics over all ranks.

    The layers stay the same objects and only change their class: parameters, buffers, hooks,
    a layer used at several places, and references a method keeps to it all stay valid.

    Args:
        module: Changed in place.

    Returns:
        ``module``.

    Raises:
        FovealError: A batch norm of a class whose forward this module does not know.
    """
    for name, layer in module.named_modules():
        if not isinstance(layer, _BatchNorm) or isinstance(layer, GlobalBatchNorm):
            continue
        plain = type(layer) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
        if not plain and not set(_AFTERWARDS) <= set(layer._modules):
            raise FovealError(
                f"'{name}' is a {type(layer).__name__}, which cannot be computed over all ranks",
                hint="one process, or network.norm=group",
            )
        layer.__class__ = GlobalBatchNorm
    return module


@contextmanager
def buffers_left_alone(module: nn.Module) -> Iterator[None]:
    """Forwards inside normalise by their batch, as in training, and no running average moves.

    For a second forward over a batch that was counted (reversible blocks), and for batches that
    must not count. Layers in eval mode keep using their running averages.
    """
    layers = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True


@torch.no_grad()
def estimate_batchnorm(
    module: nn.Module, batches: Iterable[Tensor], run: Callable[[Tensor], Any] | None = None
) -> None:
    """Replaces the running statistics of every batch norm by their average over some batches.

    For the random-initialisation baseline: at initialisation the statistics are 0 and 1, which by
    itself costs an untrained network many points. Weights, modes and momenta stay as they were;
    dropout stays off.

    Args:
        module: The network.
        batches: Its inputs; every batch counts the same.
        run: Called with every batch; None is ``module``.

    Raises:
        FovealError: No batch.
    """
    layers = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not layers:
        return
    modes = [(m, m.training) for m in module.modules()]
    momenta = [layer.momentum for layer in layers]
    seen = 0
    try:
        module.eval()
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None
            layer.training = True
        for batch in batches:
            (run or module)(batch)
            seen += 1
    finally:
        for m, training in modes:
            m.training = training
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
    if not seen:
        raise FovealError("batch-norm statistics cannot be estimated without pictures")
