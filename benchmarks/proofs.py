"""Every method learns: trains all small recipes and writes the table of what was measured.

    python benchmarks/proofs.py [--only METHOD,...] [--seeds N] [--data FOLDER] [--runs FOLDER]

The protocol is the same for every method: Doom objects, the recipe's own budget, kNN (k = 20) on
frozen features of the centre view, beside the same network at random initialisation. A method
passes with at least 5 points over random initialisation and a 95 % interval above 0, for every
seed. Results are kept per run, so the table can be made again from finished runs; it ends with
status 1 where a method fails.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
from pathlib import Path
from typing import Any

import foveal
from foveal.engine.runfolder import RunFolder, environment
from foveal.methods import get_method, list_methods

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs" / "methods" / "index.md"
MARGIN = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(list_methods()))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "doom")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "proofs")
    arguments = parser.parse_args()
    objects = arguments.data / "objects"
    foveal.make_doom(arguments.data, what=("objects",), progress=print)
    rows = []
    for method in arguments.only.split(","):
        for seed in range(arguments.seeds):
            rows.append(prove(method, seed, objects, arguments.runs / f"{method}-{seed}"))
            print(json.dumps(rows[-1]), flush=True)
    write_table(rows, arguments)
    failed = [r for r in rows if not r["passed"]]
    if failed:
        sys.exit(f"no proof: {', '.join(r['method'] for r in failed)}")


def prove(method: str, seed: int, objects: Path, out: Path) -> dict[str, Any]:
    """Trains one small recipe (or continues it) and measures it."""
    foveal.pretrain(objects / "train", out, recipe=f"{method}/doom", changes={"seed": seed})
    folder = RunFolder(out)
    result = next(
        r for r in foveal.evaluate(out, objects, protocols=["knn"], seed=seed) if r.metric == "top1"
    )
    start = result.baselines["random_init"]
    outcome = json.loads(folder.finished_file.read_text())
    gain, low = result.value - start["value"], start["difference_interval"][0]
    return {
        "method": method,
        "seed": seed,
        "knn": result.value,
        "interval": result.interval,
        "random_init": start["value"],
        "pixels": result.baselines["pixels"]["value"],
        "gain": gain,
        "gain_interval": start["difference_interval"],
        "seen": outcome["seen"],
        "minutes": outcome["seconds"] / 60,
        "n": result.n,
        "passed": gain >= MARGIN and low > 0,
    }


def write_table(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    """docs/methods/index.md."""
    about = environment()
    machine = f"{about['processor']}, {about['cores']} cores, torch {about['versions']['torch']}"
    command = "python benchmarks/proofs.py"
    if arguments.seeds != 1:
        command += f" --seeds {arguments.seeds}"
    lines = [
        "# Methods, and the proof that each learns",
        "",
        "Written by `make proofs`; do not edit. One protocol for all: Doom objects (see",
        "[the Doom world](../doom.md)), the method's small recipe, kNN with k = 20 on frozen",
        "features of the centre view. Beside it the same network at random initialisation, its",
        "batch-norm statistics estimated on the training pictures, and raw pixels. A method is",
        f"listed only with at least {MARGIN * 100:.0f} points over random initialisation and a",
        "95 % interval above 0. These are numbers of a small test bed: they say that a method",
        "learns, not which method is best on your pictures.",
        "",
        "| method | seed | kNN | random init | raw pixels | over random init | pictures | min |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for r in rows:
        low, high = r["interval"]
        g0, g1 = r["gain_interval"]
        page = f"[{get_method(r['method']).title}]({r['method']}.md)"
        lines.append(
            f"| {page} | {r['seed']} | **{_p(r['knn'])}** [{_p(low)}, {_p(high)}] "
            f"| {_p(r['random_init'])} | {_p(r['pixels'])} "
            f"| {100 * r['gain']:+.1f} [{100 * g0:+.1f}, {100 * g1:+.1f}] "
            f"| {r['seen']:,} | {r['minutes']:.0f} |"
        )
    lines += [
        "",
        f"Accuracy in percent on {rows[0]['n']:,} test pictures from maps that training never saw;",
        "in brackets 95 % intervals by bootstrap over test pictures. Minutes are of a shared",
        "machine and say little.",
        "",
        f"Command: `{command}` · Machine: {machine} · Date: {_today()}",
        "",
    ]
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    TABLE.write_text("\n".join(lines), encoding="utf-8")


def _p(share: float) -> str:
    return f"{100 * share:.1f}"


def _today() -> str:
    # Reproducible builds may fix the date.
    fixed = os.environ.get("SOURCE_DATE_EPOCH")
    now = datetime.datetime.fromtimestamp(int(fixed), datetime.UTC) if fixed else None
    return (now or datetime.datetime.now(datetime.UTC)).date().isoformat()


if __name__ == "__main__":
    main()
