"""Columns of the table as tensors beside a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.views.layout import COLUMN

Rows = NDArray[np.float64]
"""One row a picture (or tile), [N, K], on the CPU."""


def column(rows: Rows, name: str) -> Rows:
    """The numbers of a column, [N]."""
    values: Rows = rows[:, COLUMN[name]]
    return values


def beside(values: NDArray[Any], like: Tensor) -> Tensor:
    """Numbers [N] as float32 [N, 1, 1, 1] on the device of another tensor."""
    return torch.from_numpy(values.astype(np.float32)).to(like.device)[:, None, None, None]


def places(mask: NDArray[np.bool_], like: Tensor) -> Tensor:
    """Where a mask [N] is true, as an index on the device of another tensor."""
    return torch.from_numpy(np.flatnonzero(mask)).to(like.device)
