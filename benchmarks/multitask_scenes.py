"""Detection and depth of the runs of ``multitask.py``: the combination beside its parts on scenes.

    python benchmarks/multitask_scenes.py [the options multitask.py was given]
                                          [--steps N] [--depth-epochs N]

The other columns of Doersch and Zisserman (ICCV 2017, tables 1 and 2), on the Doom scenes: VOC's
average precision (from 2010) of a Faster R-CNN on the frozen network, and delta1 of a frozen depth
head, the share of pixels whose depth is off by less than a quarter. Every network reads whole
pictures for detection; for depth those learned on tiles read tiles, as their recipes say. Random
initialisation is that of seed 0. Differences are paired over test pictures, averaged over seeds,
with 95 % bootstrap intervals over test pictures; the lowest and the highest seed stand beside
them. Runs that are not there are trained. What was computed is kept, and the table is written anew
after every run.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import foveal
from foveal.backbones.encoder import Encoder
from foveal.data.scenes import open_boxes, open_scenes
from foveal.engine.runfolder import environment
from foveal.evaluation.dense.bench import DenseBench
from foveal.evaluation.dense.settings import DenseSettings
from foveal.evaluation.detection.bench import DetectionBench
from foveal.evaluation.detection.settings import detection_settings
from foveal.evaluation.features import Store
from foveal.evaluation.run import encoder_of
from foveal.metrics.bootstrap import percentiles, resampled_sums
from foveal.metrics.detection import Found, mean_ap, resampled_mean_ap, voc_rankings
from multitask import IN_ALL, PER_TASK, asked, recipes, trained

COLUMNS = ("detection, AP50", "depth, delta1")
DETECTION = {"size": 192, "batch": 2, "rois": 32, "proposals": 100}


@dataclass(frozen=True)
class Figure:
    """A value, and the same on resamples of the test pictures."""

    value: float
    drawn: NDArray[np.float64]


def main() -> None:
    arguments = asked(__doc__, steps=400, depth_epochs=4)
    foveal.make_doom(arguments.data, what=("objects", "scenes"), progress=print)
    scenes, store = arguments.data / "scenes", Store(arguments.runs / "features")
    changes = {**DETECTION, "steps": arguments.steps}
    found: dict[str, dict[int, dict[str, Figure]]] = {}
    untrained: dict[str, dict[str, Figure]] = {}
    for seed, (arm, recipe) in itertools.product(
        range(arguments.seeds), recipes(arguments).items()
    ):
        encoder = encoder_of(trained(recipe, seed, arguments))
        for which in ("trained", "random_encoder") if seed == 0 else ("trained",):
            figures = {
                COLUMNS[0]: detection(encoder, scenes, store, changes, which),
                COLUMNS[1]: depth(encoder, scenes, store, arguments.depth_epochs, which),
            }
            if which == "trained":
                found.setdefault(arm, {})[seed] = figures
            else:
                untrained[arm] = figures
            shown = {name: round(100 * figure.value, 2) for name, figure in figures.items()}
            print(json.dumps({"arm": arm, "seed": seed, "network": which, **shown}), flush=True)
        text = table(found, untrained) + _command(sys.argv[1:])
        (arguments.runs / "scenes.md").write_text(text, encoding="utf-8")
    print(text)


def detection(
    encoder: Encoder, scenes: Path, store: Store, changes: Mapping[str, int], which: str
) -> Figure:
    """Average precision above an overlap of .5 of a detector on the frozen network."""
    train, test = open_boxes(scenes)
    bench = DetectionBench(encoder, train, test, store, detection_settings(changes))
    network = encoder if which == "trained" else bench.random_encoder
    rows, _ = bench.found(network)
    assert all(isinstance(row, Found) for row in rows), "a test picture could not be read"
    rankings = voc_rankings(bench.truth, [r for r in rows if r is not None], len(train.things))
    drawn = resampled_mean_ap(rankings, "envelope", seed=0)
    return Figure(mean_ap(rankings, "envelope"), drawn)


def depth(encoder: Encoder, scenes: Path, store: Store, epochs: int, which: str) -> Figure:
    """Share of the pixels whose depth is off by less than a quarter, of a frozen depth head."""
    train, test = open_scenes(scenes, "depth")
    bench = DenseBench(encoder, "depth", train, test, store, DenseSettings(epochs=epochs))
    sums, _ = bench.sums(encoder if which == "trained" else bench.random_encoder)
    assert not np.isnan(sums).any(), "a test picture could not be read"
    scores = bench.task.scores
    drawn = scores(resampled_sums(sums, seed=0))["delta1"]
    return Figure(float(scores(sums.sum(0))["delta1"]), drawn)


def table(
    found: Mapping[str, Mapping[int, Mapping[str, Figure]]],
    untrained: Mapping[str, Mapping[str, Figure]],
) -> str:
    """What is there so far, as Markdown."""
    lines = ["| run | seeds | " + " | ".join(f"{c} | random init" for c in COLUMNS) + " |"]
    lines += ["|---|---:|" + "---:|---:|" * len(COLUMNS)]
    for arm, seeds in found.items():
        cells = [
            f"{100 * np.mean([s[c].value for s in seeds.values()]):.1f} | "
            f"{100 * untrained[arm][c].value:.1f}"
            for c in COLUMNS
        ]
        lines.append(f"| {arm} | {len(seeds)} | {' | '.join(cells)} |")
    lines += ["", "| combination minus part | " + " | ".join(COLUMNS) + " |"]
    lines += ["|---|" + "---:|" * len(COLUMNS)]
    parts = [arm for arm in found if arm not in (PER_TASK, IN_ALL)]
    for joint, part in itertools.product((PER_TASK, IN_ALL), parts):
        both = sorted(set(found.get(joint, {})) & set(found[part]))
        if both:
            cells = [
                _difference([(found[joint][s][c], found[part][s][c]) for s in both])
                for c in COLUMNS
            ]
            name = joint.removeprefix("combination, ")
            lines.append(f"| {name}: {part} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n\n"


def _difference(pairs: list[tuple[Figure, Figure]]) -> str:
    by_seed = [100 * (a.value - b.value) for a, b in pairs]
    drawn = np.mean([a.drawn - b.drawn for a, b in pairs], axis=0)
    low, high = percentiles(drawn)
    return (
        f"{np.mean(by_seed):+.1f} [{100 * low:+.1f}, {100 * high:+.1f}] "
        f"({min(by_seed):+.1f} to {max(by_seed):+.1f})"
    )


def _command(given: list[str]) -> str:
    about = environment()
    return (
        f"Command: `python benchmarks/multitask_scenes.py {' '.join(given)}` · Machine: "
        f"{about['processor']}, {about['cores']} cores, torch {about['versions']['torch']} · "
        f"Date: {date.today().isoformat()}\n"
    )


if __name__ == "__main__":
    main()
