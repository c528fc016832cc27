"""Talking between ranks. On one rank every function is the identity.

The rule all of this serves: the loss and gradient on N ranks equal the single-process value on the
concatenated batch. Ranks hold equal, contiguous parts of the global batch in sample order; the
engine averages gradients over ranks. So a loss is the mean over the local rows, may look at
``gather``-ed rows, and gradients through a gather are summed over the ranks that used it.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def world_size() -> int:
    """Number of ranks; 1 where nothing is distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process' rank."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def barrier() -> None:
    """Waits for all ranks."""
    if world_size() > 1:
        dist.barrier()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        grad = grads[0].contiguous().clone()
        dist.all_reduce(grad)
        rows = len(grad) // world_size()
        return grad[rank() * rows : (rank() + 1) * rows]


def gather(x: Tensor) -> Tensor:
    """Rows of the whole global batch in sample order, with gradient: [B, ...] -> [W*B, ...]."""
    if world_size() == 1:
        return x
    gathered: Tensor = _Gather.apply(x.contiguous())
    return gathered


@torch.no_grad()
def gather_rows(x: Tensor) -> Tensor:
    """As ``gather``, without gradient."""
    return gather(x.detach())


@torch.no_grad()
def sum_over_ranks(x: Tensor) -> Tensor:
    """Sum over ranks, without gradient."""
    x = x.detach().clone()
    if world_size() > 1:
        dist.all_reduce(x)
    return x


@torch.no_grad()
def mean_over_ranks(x: Tensor) -> Tensor:
    """Mean over ranks, without gradient."""
    return sum_over_ranks(x) / world_size()


@torch.no_grad()
def max_over_ranks(x: Tensor) -> Tensor:
    """Maximum over ranks, without gradient."""
    x = x.detach().clone()
    if world_size() > 1:
        dist.all_reduce(x, op=dist.ReduceOp.MAX)
    return x


def first_row(local_rows: int) -> int:
    """Index in the global batch of this rank's first row."""
    return rank() * local_rows


@torch.no_grad()
def from_first(x: Tensor) -> Tensor:
    """The first rank's tensor on every rank; shapes agree."""
    x = x.detach().clone()
    if world_size() > 1:
        dist.broadcast(x, 0)
    return x


def gather_objects(x: T) -> list[T]:
    """Every rank's plain value, in order of ranks."""
    if world_size() == 1:
        return [x]
    found: list[Any] = [None] * world_size()
    dist.all_gather_object(found, x)
    return found
