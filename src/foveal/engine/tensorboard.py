"""The lines of metrics.jsonl for TensorBoard: ``tensorboard --logdir RUNS``."""

from __future__ import annotations

import shutil
from typing import Any

from foveal.core.packages import package
from foveal.engine.runfolder import RunFolder

# Where a line stands, not what it says.
_PLACE = ("kind", "step", "epoch", "position")


def check_tensorboard() -> None:
    """Before anything is trained: whether there is TensorBoard.

    Raises:
        FovealError: There is none.
    """
    why = "--log tensorboard needs the package tensorboard"
    package("torch.utils.tensorboard", extra="tensorboard", why=why)


class TensorBoard:
    """Writes every number as ``KIND/NAME``, in double precision: the same numbers.

    What earlier sessions of the run wrote is written again from metrics.jsonl, so that steps which
    are done twice stand there once, and a run that began without TensorBoard is whole too.

    Args:
        folder: Of the run; events go to ``RUN/tensorboard``.
    """

    def __init__(self, folder: RunFolder) -> None:
        check_tensorboard()
        from torch.utils.tensorboard import SummaryWriter

        shutil.rmtree(folder.tensorboard, ignore_errors=True)
        self.writer = SummaryWriter(str(folder.tensorboard))
        for record in folder.metrics():
            self.write(record)

    def write(self, record: dict[str, Any]) -> None:
        """See ``Listener``."""
        step, kind = int(record.get("step", 0)), record["kind"]
        for name, value in record.items():
            if name in _PLACE or isinstance(value, bool):
                continue
            tag = f"{kind}/{name}"
            if isinstance(value, int | float):
                self.writer.add_scalar(tag, value, step, new_style=True, double_precision=True)
            elif isinstance(value, str):
                self.writer.add_text(tag, value, step)

    def close(self) -> None:
        """See ``Listener``."""
        self.writer.close()
