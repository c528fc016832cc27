"""A combination beside each of its parts, apples to apples: rotation+jigsaw+colorization.

    python benchmarks/multitask.py [--parts A,B,...] [--updates U] [--seeds N] [--width W]
                                   [--data FOLDER] [--runs FOLDER]

Two controls, since "joint beats single" may mean either. With U updates of a part alone:

* equal updates per task: the combination has U updates of every part, n U in all;
* equal total updates: the combination has U updates in all, U / n of every part.

Every update of every run is of ``--batch`` pictures, under one optimiser and one schedule, on the
network of the small recipes, ``--width`` times as wide. Measured on Doom objects with the view of
each recipe: kNN (k = 20) and a linear probe. Differences are paired over test pictures, averaged
over seeds, with 95 % bootstrap intervals over test pictures; the spread over seeds stands beside
them. Runs continue where they stopped; the table is written anew after every run, so it can be
looked at any time.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

import foveal
from _whole import pretrain
from foveal.data.splits import load_splits
from foveal.engine.runfolder import environment
from foveal.evaluation.bench import Bench
from foveal.evaluation.features import Store
from foveal.evaluation.knn import knn
from foveal.evaluation.linear import linear
from foveal.evaluation.probe import Problem
from foveal.evaluation.run import encoder_of
from foveal.metrics.bootstrap import difference_interval
from foveal.recipe import Recipe, override
from foveal.recipes import get_recipe
from foveal.recipes._combine import combined

ROOT = Path(__file__).parents[1]
PROBES = {"knn": knn, "linear": linear}
PER_TASK, IN_ALL = "combination, equal updates per task", "combination, equal total updates"


def asked(doc: str, **numbers: int) -> argparse.Namespace:
    """What the command says; ``multitask_scenes.py`` has more ``numbers`` to be told."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--parts", default="rotation,jigsaw,colorization")
    parser.add_argument("--updates", type=int, default=1200, help="U")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--width", type=float, default=1.0, help="of the network")
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "doom")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "multitask")
    for name, value in numbers.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    return parser.parse_args()


def main() -> None:
    arguments = asked(__doc__)
    foveal.make_doom(arguments.data, what=("objects",), progress=print)
    objects, arms = arguments.data / "objects", recipes(arguments)
    hits: dict[str, dict[int, dict[str, np.ndarray]]] = {arm: {} for arm in arms}
    # Seed by seed, so that a table can be made after the first.
    for seed, (arm, recipe) in itertools.product(range(arguments.seeds), arms.items()):
        hits[arm][seed] = measured(trained(recipe, seed, arguments), seed, objects)
        shown = {p: round(float(h.mean()), 4) for p, h in hits[arm][seed].items()}
        print(json.dumps({"arm": arm, "seed": seed, **shown}), flush=True)
        (arguments.runs / "table.md").write_text(table(hits, arguments), encoding="utf-8")
    print(table(hits, arguments))


def trained(recipe: Recipe, seed: int, arguments: argparse.Namespace) -> Path:
    """The run of an arm and a seed, trained where it is not there yet."""
    run: Path = arguments.runs / f"{recipe.method}-{recipe.epochs:.4g}-{seed}"
    pretrain(arguments.data / "objects" / "train", run, recipe=recipe, changes={"seed": seed})
    return run


def recipes(arguments: argparse.Namespace) -> dict[str, Recipe]:
    """The recipe of every arm of the comparison."""
    parts, updates, batch = arguments.parts.split(","), arguments.updates, arguments.batch
    pictures = len(load_splits(arguments.data / "objects", seed=0, channels=3)[0])
    small = [get_recipe(f"{part}/doom") for part in parts]

    def arm(recipe: Recipe, steps: int) -> Recipe:
        epochs = steps * batch / pictures
        return override(
            recipe,
            {
                "epochs": epochs,
                "batch": batch,
                "schedule": {"warmup": epochs / 20},
                "optimiser": {"name": "adamw", "lr": 1e-3, "scaling": "none"},
                "network": {"width": arguments.width},
                "machine": {"monitor_every": 1000.0, "cores": 1},
            },
        )

    alone = {part: arm(recipe, updates) for part, recipe in zip(parts, small, strict=True)}
    joint = combined(list(alone.values()))
    return {
        **alone,
        PER_TASK: arm(joint, updates * len(parts)),
        IN_ALL: arm(joint, updates),
    }


def measured(run: Path, seed: int, objects: Path) -> dict[str, np.ndarray]:
    """Which test pictures each probe gets right, of the run and of its random initialisation."""
    kept = run / "hits.npz"
    if not kept.is_file():
        encoder, (train, test) = encoder_of(run), load_splits(objects, seed=0, channels=3)
        # One store for all runs, which share the features of random initialisation.
        bench = Bench(encoder, train, test, Store(run.parent / "features"), init_seed=seed)
        found = {}
        for suffix, split in (("", bench.trained), (" of random init", bench.untrained)):
            problem = Problem(
                torch.from_numpy(np.asarray(split.train.x)),
                torch.from_numpy(split.train.labels),
                torch.from_numpy(np.asarray(split.test.x)),
                bench.classes,
            )
            for name, probe in PROBES.items():
                scores, _ = probe(problem)
                found[name + suffix] = scores.argmax(1).numpy() == split.test.labels
        np.savez(run / "hits.tmp.npz", **found)
        (run / "hits.tmp.npz").replace(kept)
    return dict(np.load(kept))


def table(hits: dict[str, dict[int, dict[str, np.ndarray]]], arguments: Any) -> str:
    """What is there so far, as Markdown."""
    about = environment()
    lines = [
        "| run | seeds | " + " | ".join(f"{p} | random init" for p in PROBES) + " |",
        "|---|---:|" + "---:|---:|" * len(PROBES),
    ]
    for arm, seeds in hits.items():
        cells = [_mean(seeds, p + s) for p in PROBES for s in ("", " of random init")]
        lines.append(f"| {arm} | {len(seeds)} | {' | '.join(cells)} |")
    lines += ["", "| combination minus part | " + " | ".join(PROBES) + " |"]
    lines += ["|---|" + "---:|" * len(PROBES)]
    parts = [arm for arm in hits if arm not in (PER_TASK, IN_ALL)]
    for joint, part in itertools.product((PER_TASK, IN_ALL), parts):
        cells = [_difference(hits[joint], hits[part], p) for p in PROBES]
        lines.append(f"| {joint.removeprefix('combination, ')}: {part} | {' | '.join(cells)} |")
    return "\n".join(
        [
            *lines,
            "",
            "Percent of test pictures, means over seeds; in brackets 95 % intervals over test "
            "pictures, then the lowest and highest seed.",
            "",
            f"Command: `python benchmarks/multitask.py --updates {arguments.updates} "
            f"--batch {arguments.batch} --width {arguments.width:g} --seeds {arguments.seeds}` · "
            f"Machine: "
            f"{about['processor']}, {about['cores']} cores, torch {about['versions']['torch']}",
            "",
        ]
    )


def _mean(seeds: dict[int, dict[str, np.ndarray]], name: str) -> str:
    return f"{100 * np.mean([h[name].mean() for h in seeds.values()]):.1f}" if seeds else "-"


def _difference(joint: Any, part: Any, name: str) -> str:
    """Over the seeds that both have."""
    both = sorted(set(joint) & set(part))
    if not both:
        return "-"
    a, b = (np.stack([x[s][name] for s in both]).astype(np.float64) for x in (joint, part))
    low, high = difference_interval(a.mean(0), b.mean(0), seed=0)
    by_seed = 100 * (a.mean(1) - b.mean(1))
    return (
        f"{by_seed.mean():+.1f} [{100 * low:+.1f}, {100 * high:+.1f}] "
        f"({by_seed.min():+.1f} to {by_seed.max():+.1f})"
    )


if __name__ == "__main__":
    main()
