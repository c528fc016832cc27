"""The Doom world: pictures with exact labels that anyone can make offline.

ViZDoom (Wydmuch et al., "ViZDoom Competitions", IEEE Transactions on Games 2019; Kempka et al.,
CIG 2016) renders the Freedoom maps it brings, and knows for every pixel its depth and its object.
Sets: ``pile`` (unlabelled frames), ``clips`` and ``watch`` (ordered frames), ``objects`` (class
folders of crops), ``scenes`` (VOC layout with depth). What is trained on and what is tested on come
from different maps. ``docs/doom.md`` shows them and says how hard they are.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from foveal.benchmarks.doom import clips, objects, pile, scenes, watch
from foveal.benchmarks.doom.jobs import Job, run_jobs
from foveal.benchmarks.doom.world import TEST_MAPS, TRAIN_MAPS, wad_path
from foveal.core.cores import available_cores
from foveal.core.files import read_json, write_json
from foveal.errors import FovealError

__all__ = ["SETS", "DoomSet", "make_doom"]

# Raised when the same seed gives other pictures than before.
FORMAT = 1

_MODULES: dict[str, ModuleType] = {
    "pile": pile,
    "clips": clips,
    "objects": objects,
    "scenes": scenes,
    "watch": watch,
}
SETS = tuple(_MODULES)


@dataclass(frozen=True)
class DoomSet:
    """One finished set.

    Attributes:
        name: One of ``SETS``.
        path: Its folder.
        counts: What is in it, by part, e.g. ``{"train crops": 12000}``.
        kept: It was there already.
    """

    name: str
    path: Path
    counts: dict[str, int]
    kept: bool = False

    def __str__(self) -> str:
        counts = ", ".join(f"{n:,} {what}" for what, n in self.counts.items())
        return f"{self.name:8s} {self.path}: {counts}" + (" (was complete)" if self.kept else "")


def make_doom(
    out: str | Path,
    *,
    what: str | Sequence[str] = SETS,
    size: float = 1.0,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
    processes: int | None = None,
) -> dict[str, DoomSet]:
    """Renders sets of the Doom world below ``out``, one folder each.

    The pictures are a function of ``size`` and ``seed`` alone: neither the number of processes nor
    an interruption changes a byte. A set appears under its name only when it is complete; one
    that is there with the same parameters is kept.

    Args:
        out: The folder to write.
        what: Any of ``SETS``, one or several.
        size: Share of the usual counts, above 0.
        seed: Another seed, another world.
        progress: Called with a line of text now and then.
        processes: Maps rendered at the same time; None: one per core.

    Returns:
        The sets by name.

    Raises:
        FovealError: An unknown set, a size that is not above 0, ViZDoom missing, or a set in
            ``out`` that was made with other parameters.
    """
    what = (what,) if isinstance(what, str) else tuple(what)
    unknown = sorted(set(what) - set(SETS))
    if unknown or not what:
        raise FovealError(
            f"the Doom world has no set {', '.join(unknown)}" if unknown else "no set is named",
            hint=f"any of {', '.join(SETS)}",
        )
    if not (size > 0 and math.isfinite(size)):
        raise FovealError(
            f"size={size} is not a number above 0", hint="1.0 for the usual counts, or 0.05"
        )
    wad_path()
    out = Path(out).absolute()  # workers stand in a folder of their own
    say = progress or (lambda text: None)
    processes = processes or available_cores()
    return {name: _make_set(out, name, size, seed, say, processes) for name in dict.fromkeys(what)}


def _make_set(
    out: Path, name: str, size: float, seed: int, say: Callable[[str], None], processes: int
) -> DoomSet:
    path, partial = out / name, out / f".{name}.partial"
    parameters = {"set": name, "size": size, "seed": seed, "format": FORMAT}
    if path.exists():
        return _kept(path, parameters)
    shutil.rmtree(partial, ignore_errors=True)  # of a run that was interrupted
    partial.mkdir(parents=True)
    module = _MODULES[name]
    parts: dict[str, list[dict[str, Any]]] = {}
    jobs: list[Job] = module.plan(partial, size=size, seed=seed)
    for job, result in zip(jobs, run_jobs(jobs, processes, say), strict=True):
        parts.setdefault(job.arguments["split"], []).append(result)
    about: dict[str, Any] = module.finish(partial, parts, size=size)
    meta = {
        **parameters,
        **about,
        "maps": {"train": TRAIN_MAPS, "test": TEST_MAPS},
        "vizdoom": metadata.version("vizdoom"),
    }
    write_json(partial / "META.json", meta)
    partial.rename(path)
    return DoomSet(name, path, about["counts"])


def _kept(path: Path, parameters: dict[str, Any]) -> DoomSet:
    """The set that is there, if it is what was asked for."""
    meta_file = path / "META.json"
    if not meta_file.is_file():
        raise FovealError(
            f"{path} exists and is not a set that foveal made (no META.json)",
            hint="another folder, or move that one away",
        )
    meta = read_json(meta_file)
    other = [f"{k} {meta.get(k)!r}, not {v!r}" for k, v in parameters.items() if meta.get(k) != v]
    if other:
        raise FovealError(
            f"{path} was made with other parameters: {'; '.join(other)}",
            hint=f"another folder, or remove {path} to make it anew",
        )
    return DoomSet(parameters["set"], path, meta["counts"], kept=True)
