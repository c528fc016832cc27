"""The main job on real input, as a user would type it.

    python benchmarks/demo.py [FOLDER] [--seed S] [--pictures SHARE] [--epochs E]

Renders a labelled test bed of pictures (Freedoom's monsters and things, cut from frames; labels
are used for measuring only), learns from its training pictures without labels, measures the
result beside random initialisation and raw pixels, and exports the backbone. Opens no network.
The budget is a number of views, not a time: the result does not depend on how busy the machine is.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

FOVEAL = Path(sys.executable).with_name("foveal")


def run(*words: object) -> None:
    """Shows a command and runs it."""
    command = [str(w) for w in words]
    print(f"\n$ foveal {shlex.join(command)}", flush=True)
    subprocess.run([str(FOVEAL), *command], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default="demo", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=float, default=0.5, help="share of the usual count")
    parser.add_argument("--epochs", type=float, default=16)
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    began = time.monotonic()
    objects, trained = folder / "doom" / "objects", folder / f"run-{arguments.seed}"
    run("data", "doom", folder / "doom", "--what", "objects", "--size", arguments.pictures)
    run("scan", objects / "train")
    run(
        "pretrain", objects / "train", "--out", trained, "--recipe", "simclr/doom",
        "--epochs", arguments.epochs, f"seed={arguments.seed}",
    )  # fmt: skip
    if not (trained / "finished.json").is_file():
        sys.exit("stopped; the same command continues")
    run("evaluate", trained, "--data", objects)
    exported = folder / f"exported-{arguments.seed}"
    if not exported.exists():
        run("export", trained, "--format", "torch", "--out", exported)
    _check(trained)
    minutes = (time.monotonic() - began) / 60
    print(f"\n{minutes:.1f} minutes. Open {trained / 'report.html'}")


def _check(trained: Path) -> None:
    """The demo proves what the README claims, or fails."""
    results = [r for path in (trained / "results").glob("*.json") for r in _load(path)]
    knn = next(r for r in results if r["protocol"] == "knn" and r["metric"] == "top1")
    for name, margin in (("random_init", 0.12), ("pixels", 0.04)):
        gain = knn["value"] - knn["baselines"][name]["value"]
        low = knn["baselines"][name]["difference_interval"][0]
        print(f"kNN over {name}: {100 * gain:+.1f} points, interval from {100 * low:+.1f}")
        if gain < margin or low <= 0:
            sys.exit(f"the demo did not reach its margin of {100 * margin:.0f} points over {name}")


def _load(path: Path) -> list[dict[str, object]]:
    found = json.loads(path.read_text())
    return found if isinstance(found, list) else [found]


if __name__ == "__main__":
    main()
