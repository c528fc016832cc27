"""The folder of a run: every file it holds is named here."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from foveal.core.cores import available_cores
from foveal.core.files import read_json, write_json, write_text
from foveal.errors import FovealError
from foveal.recipe import Recipe, differences, validated

_PACKAGES = (
    "foveal", "torch", "torchvision", "timm", "numpy", "numba", "pillow", "simplejpeg",
    "lightning-fabric", "scikit-learn",
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """How training ended; ``finished.json`` holds it.

    Attributes:
        finished: All steps were done; otherwise a signal stopped it.
        steps: Steps done.
        seen: Images drawn from the stream that counts epochs.
        seconds: Time over all sessions.
        stopped_by: The signal, if any.
        kept: Why other weights than the last were kept, if so.
    """

    finished: bool
    steps: int
    seen: int
    seconds: float
    stopped_by: str | None = None
    kept: str | None = None


class RunFolder:
    """Paths and small files of one run.

    Args:
        path: The folder; made by ``create``.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.recipe_file = self.path / "recipe.json"
        self.data_file = self.path / "data.json"
        self.environment_file = self.path / "environment.json"
        self.labels_file = self.path / "labels.txt"
        self.predicted_file = self.path / "predicted.csv"
        self.hierarchy_file = self.path / "hierarchy.csv"
        self.bad_file = self.path / "bad_files.csv"
        self.metrics_file = self.path / "metrics.jsonl"
        self.tensorboard = self.path / "tensorboard"
        self.checkpoints = self.path / "checkpoints"
        self.last = self.checkpoints / "last.pt"
        self.best = self.checkpoints / "best.pt"
        self.start = self.checkpoints / "start.pt"
        self.backbone_file = self.path / "backbone.safetensors"
        self.results = self.path / "results"
        self.features = self.path / "features"
        self.report_file = self.path / "report.html"
        self.neighbours_file = self.path / "neighbours.jpg"
        self.map_sheet = self.path / "map.jpg"
        self.map_file = self.path / "map.json"
        self.finished_file = self.path / "finished.json"

    @property
    def exists(self) -> bool:
        """Whether a run was started here."""
        return self.recipe_file.is_file()

    @property
    def finished(self) -> bool:
        """Whether the run reached its end."""
        return self.finished_file.is_file()

    def create(
        self, recipe: Recipe, data: dict[str, Any], texts: Mapping[Path, str] | None = None
    ) -> None:
        """Starts a run here.

        Args:
            recipe: Of the run.
            data: About its pictures.
            texts: Further files of the folder.

        Raises:
            FovealError: The folder holds something that is not a run.
        """
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise FovealError(
                f"{self.path} exists and is not a run of foveal",
                hint=f"--out {self.path}-run, or an empty folder",
            )
        self.checkpoints.mkdir(parents=True)
        write_json(self.environment_file, environment())
        write_json(self.data_file, data)
        for path, text in (texts or {}).items():
            write_text(path, text)
        # Last: its presence says that the folder is complete.
        write_json(self.recipe_file, recipe.to_json())

    def recipe(self) -> Recipe:
        """The recipe the run was started with."""
        return validated(Recipe, read_json(self.recipe_file), str(self.recipe_file))

    def check_same(self, recipe: Recipe, fingerprint: str) -> None:
        """Refuses to continue the run with another configuration or other data."""
        changed = differences(self.recipe().identity(), recipe.identity())
        if changed:
            shown = "\n  ".join(changed)
            raise FovealError(
                f"{self.path} was started with a different configuration:\n  {shown}",
                hint="the first command again to continue it, or another --out",
            )
        before = read_json(self.data_file)["fingerprint"]
        if before != fingerprint:
            raise FovealError(
                f"the data changed since {self.path} was started (fingerprint {before[:12]}, "
                f"now {fingerprint[:12]})",
                hint="restore the files to continue this run, or another --out for a new one",
            )

    def finish(self, outcome: Outcome) -> None:
        """Notes that the run reached its end."""
        write_json(self.finished_file, asdict(outcome))

    @contextmanager
    def lock(self, hold: bool = True) -> Iterator[None]:
        """Keeps a second process from writing here; the lock goes with the process.

        Args:
            hold: False on ranks other than 0, which write nothing.
        """
        if not hold:
            yield
            return
        with (self.path / ".lock").open("w") as f:
            try:
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise FovealError(
                    f"another process is training in {self.path}",
                    hint="wait for it or stop it first",
                ) from error
            yield

    def log(self, record: dict[str, Any]) -> None:
        """Appends one line to metrics.jsonl."""
        with self.metrics_file.open("a", encoding="utf-8") as f:
            f.write(json.dumps(record, allow_nan=True) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """All lines of metrics.jsonl."""
        if not self.metrics_file.is_file():
            return []
        records = []
        for line in self.metrics_file.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:  # the last line of a run that was killed while writing it
                continue
        return records

    def forget_after(self, step: int) -> None:
        """Drops lines of steps that will be done again."""
        if self.metrics_file.is_file():
            kept = [r for r in self.metrics() if r.get("step", 0) <= step]
            write_text(self.metrics_file, "".join(json.dumps(r) + "\n" for r in kept))


def environment() -> dict[str, Any]:
    """Versions and machine, as far as they can change a number."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": available_cores(),
        "versions": versions,
        "command": " ".join(sys.argv),
        "pid": os.getpid(),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
