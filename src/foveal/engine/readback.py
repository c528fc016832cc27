"""Numbers of a step, read when they have arrived: the loop never waits for the device."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from foveal.core import ranks
from foveal.core.progress import Progress


@dataclass
class _Sent:
    progress: Progress
    names: list[str]
    numbers: Tensor
    arrived: torch.cuda.Event | None


class Readback:
    """Means over ranks of every step's scalars, in one message; read ``lag`` steps later.

    Reading a number of the step under way would make the host wait until the device has finished
    it, and the device then wait for the host. On a CPU there is nothing to wait for.

    Args:
        device: Where the numbers are.
        lag: Steps between writing and reading; None: 0 on a CPU, else 1.
    """

    def __init__(self, device: torch.device, lag: int | None = None) -> None:
        self.lag = int(device.type != "cpu") if lag is None else lag
        self._sent: deque[_Sent] = deque()

    def put(self, progress: Progress, numbers: dict[str, Tensor]) -> None:
        """The scalars of a step, the same names on every rank; they start on their way."""
        packed = torch.stack([x.detach().float() for x in numbers.values()])
        packed, arrived = ranks.mean_over_ranks(packed), None
        if packed.is_cuda:
            there = torch.empty(packed.shape, dtype=packed.dtype, pin_memory=True)
            packed, arrived = there.copy_(packed, non_blocking=True), torch.cuda.Event()  # type: ignore[no-untyped-call]
            arrived.record()
        self._sent.append(_Sent(progress, list(numbers), packed, arrived))

    def take(self, *, all: bool = False) -> Iterator[tuple[Progress, dict[str, float]]]:
        """The steps that are due, or all there are, oldest first."""
        while len(self._sent) > (0 if all else self.lag):
            sent = self._sent.popleft()
            if sent.arrived is not None:
                sent.arrived.synchronize()
            yield sent.progress, dict(zip(sent.names, sent.numbers.tolist(), strict=True))
