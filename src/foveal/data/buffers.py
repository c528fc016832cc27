"""Memory of batches, used again.

The rule: a batch is yours for as long as you hold any tensor of it, slices included. Its memory
goes back to the ring when the last of them is gone, and never earlier, so a trainer, a method or a
test may keep what it was given. Who keeps many batches makes the ring larger, not wrong.
"""

from __future__ import annotations

import weakref
from collections import deque

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_Key = tuple[tuple[int, ...], torch.dtype]


class Ring:
    """Tensors on memory that is used again, so that no step waits for fresh pages.

    Args:
        keep: Unused buffers kept of each shape; more are given back to the system.
        pin: Page-locked memory, for copies to an accelerator that do not wait. torch's own
            allocator is the ring there: it also knows of copies that are still under way.
    """

    def __init__(self, keep: int, *, pin: bool = False) -> None:
        self.keep, self.pin = keep, pin
        # Deques and no lock: the collector may call _back in the middle of anything.
        self._free: dict[_Key, deque[NDArray[np.generic]]] = {}

    def take(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A tensor with unspecified values."""
        if self.pin:
            return torch.empty(shape, dtype=dtype, pin_memory=True)
        free = self._free.setdefault((shape, dtype), deque())
        try:
            memory = free.pop()
        except IndexError:
            memory = torch.empty(shape, dtype=dtype).numpy()
        # torch holds this view until the last tensor on its memory, of whatever shape, is gone.
        lent = memory[:]
        weakref.finalize(lent, self._back, (shape, dtype), memory).atexit = False
        return torch.from_numpy(lent)

    def _back(self, key: _Key, memory: NDArray[np.generic]) -> None:
        free = self._free[key]
        if len(free) < self.keep:
            free.append(memory)
