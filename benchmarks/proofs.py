"""Every method learns: trains all small recipes and writes the table of what was measured.

    python benchmarks/proofs.py [--only METHOD,...] [--seeds N] [--finished]
                                [--data FOLDER] [--runs FOLDER]

The protocol is the same for every method: Doom objects, the recipe's own budget, kNN (k = 20) on
frozen features of the centre view, beside the same network at random initialisation. A method
passes with at least 5 points over random initialisation and a 95 % interval above 0, for every
seed. Linear accuracy (L-BFGS, strength chosen on held-out training pictures) is shown beside it,
and the same network trained with labels as the yardstick. Every row is kept in
docs/methods/proofs.json with its machine and date until the method is run again, and the table is
made of all rows: ``--only`` replaces those it names. Runs are kept too: ``--finished`` trains and
measures nothing, it takes the rows from finished runs. It ends with status 1 where a method that
was asked for fails; a method that has not been run is listed as such.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from pathlib import Path
from typing import Any

import foveal
from _whole import pretrain
from foveal.benchmarks.released import golden_files
from foveal.engine.runfolder import RunFolder
from foveal.exporting.formats import results_of
from foveal.methods import get_method, list_methods
from foveal.methods.base import FAMILIES

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs" / "methods" / "index.md"
KEPT = ROOT / "docs" / "methods" / "proofs.json"
MARGIN = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(list_methods()))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--finished", action="store_true", help="train nothing")
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "doom")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "proofs")
    arguments = parser.parse_args()
    objects = arguments.data / "objects"
    foveal.make_doom(arguments.data, what=("objects",), progress=print)
    rows = []
    for method in arguments.only.split(","):
        for seed in range(arguments.seeds):
            run = arguments.runs / f"{method}-{seed}"
            if not arguments.finished:
                rows.append(prove(method, seed, objects, run))
            elif RunFolder(run).finished:
                rows.append(row(method, seed, run, results_of(run)))
            else:
                continue
            print(json.dumps(rows[-1]), flush=True)
    if not rows:
        sys.exit(f"no finished run in {arguments.runs}")
    write_table(keep(rows))
    failed = [r for r in rows if not r["passed"]]
    if failed:
        sys.exit(f"no proof: {', '.join(r['method'] for r in failed)}")


def prove(method: str, seed: int, objects: Path, out: Path) -> dict[str, Any]:
    """Trains one small recipe (or continues it) and measures it."""
    pile = masks(objects.parent) if get_method(method).needs_masks else objects / "train"
    pretrain(pile, out, recipe=f"{method}/doom", changes={"seed": seed})
    found = foveal.evaluate(out, objects, protocols=["knn", "linear"], seed=seed)
    return row(method, seed, out, [r.to_json() for r in found])


def row(method: str, seed: int, run: Path, results: list[dict[str, Any]]) -> dict[str, Any]:
    """One line of the table; linear figures are None where none were measured."""
    # A run may have been measured on other pictures, too.
    top1 = {r["protocol"]: r for r in results if r["metric"] == "top1" and _on_objects(r)}
    knn, linear = top1["knn"], top1.get("linear")
    start = knn["baselines"]["random_init"]
    folder = RunFolder(run)
    outcome = json.loads(folder.finished_file.read_text())
    about = json.loads(folder.environment_file.read_text())
    torch = about["versions"]["torch"]
    day = datetime.date.fromtimestamp(folder.finished_file.stat().st_mtime)
    gain, low = start["difference"], start["difference_interval"][0]
    return {
        "method": method,
        "seed": seed,
        "knn": knn["value"],
        "interval": knn["interval"],
        "random_init": start["value"],
        "pixels": knn["baselines"]["pixels"]["value"],
        "gain": gain,
        "gain_interval": start["difference_interval"],
        "linear": linear and linear["value"],
        "linear_random_init": linear and linear["baselines"]["random_init"]["value"],
        "linear_pixels": linear and linear["baselines"]["pixels"]["value"],
        "seen": outcome["seen"],
        "minutes": outcome["seconds"] / 60,
        "n": knn["n"],
        "passed": gain >= MARGIN and low > 0,
        "machine": f"{about['processor']}, {about['cores']} cores, torch {torch}",
        "date": day.isoformat(),
    }


def keep(new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All rows, the new ones in the place of older ones of the same method and seed."""
    old = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else []
    rows = {(r["method"], r["seed"]): r for r in old if r["method"] in list_methods()}
    rows |= {(r["method"], r["seed"]): r for r in new}
    kept = [rows[key] for key in sorted(rows)]
    KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return kept


def _on_objects(result: dict[str, Any]) -> bool:
    about = result["configuration"]
    parts = Path(about["data"]["test"]["name"]).parts[-2:]
    return parts == ("objects", "test") and about["layer"] == "pooled"


def masks(doom: Path) -> Path:
    """Motion masks of the Doom world's training clips; kept once made."""
    foveal.make_doom(doom, what=("watch",), progress=print)
    return foveal.make_motion(doom / "watch/train/JPEGImages", doom / "motion", progress=print).path


def write_table(rows: list[dict[str, Any]]) -> None:
    """docs/methods/index.md, in the order of the survey's taxonomy."""
    lines = [
        "# Methods, and the proof that each learns",
        "",
        "Written by `make proofs`; do not edit. One protocol for all: Doom objects (see",
        "[the Doom world](../doom.md)), the method's small recipe, kNN with k = 20 and a linear",
        "probe (L-BFGS, strength chosen on held-out training pictures) on frozen features of the",
        "centre view. Beside them the same network at random initialisation, its batch-norm",
        "statistics estimated on the training pictures, read the same way. Jigsaw, relative patch",
        "location and CPC read pictures in tiles, as they were trained; an untrained network may",
        "be better in whole pictures: their pages say how much. Recipes read at 40 to 96 pixels,",
        "and larger pictures alone give more: compare a row with its own random initialisation,",
        "not with other rows. A method is proven with at least "
        f"{MARGIN * 100:.0f} points of kNN over random",
        "initialisation and a 95 % interval above 0.",
        "These are numbers of a small test bed: they say that a method learns, not which method",
        "is best on your pictures. The order is that of the survey of Jing and Tian (section 2).",
        "",
    ]
    for family, title in FAMILIES.items():
        some = [r for r in rows if get_method(r["method"]).family == family]
        if some:
            lines += [f"## {title}", "", *_HEADER, *map(_line, some), ""]
    if missing := [m for m in list_methods() if m not in {r["method"] for r in rows}]:
        pages = ", ".join(f"[{get_method(m).title}]({m}.md)" for m in missing)
        lines += ["## Not run", "", f"No proof has been run to its end: {pages}.", ""]
    lines += _skipped()
    pixels = next((r["linear_pixels"] for r in rows if r["linear_pixels"] is not None), None)
    machines = sorted({r["machine"] for r in rows})
    lines += [
        "## Baselines",
        "",
        f"Raw pixels (their mean removed): kNN {_p(rows[0]['pixels'])}, linear {_p(pixels)}.",
        "The row *with labels* above is the same small network trained on the labels of the same",
        "pictures for a similar budget: what the other rows are short of.",
        "",
        f"Accuracy in percent on {rows[0]['n']:,} test pictures from maps that training never saw;",
        "in brackets 95 % intervals by bootstrap over test pictures. Minutes are of a shared",
        "machine and say little.",
        "",
        "Command: `python benchmarks/proofs.py --only METHOD`, rows kept in",
        "[proofs.json](proofs.json) with their machines: " + "; ".join(machines) + ".",
        "",
    ]
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    TABLE.write_text("\n".join(lines), encoding="utf-8")


def _skipped() -> list[str]:
    """Golden values whose files may not be carried here."""
    lines = [
        f"| [{get_method(file.method).title}]({file.method}.md) | {file.golden} "
        f"| `{file.name}` of {file.origin} |"
        for file in golden_files()
    ]
    return [
        "## Golden values that are skipped",
        "",
        "All other golden values of the papers of these methods are tests that run, but for four:",
        "",
        "- DeeperCluster's layout and sizes for 64 workers (95,920,128 pictures used, 31,216",
        "  iterations): here every batch mixes angles and clusters. The numbers of its",
        "  super-classes are a test.",
        "- BYOL's 312,784 steps of 1,000 epochs: for all methods steps are rounded up, as SimCLR",
        "  counts, which is one more.",
        "- Split-brain's maps at 227 pixels (55, 27, 27, 13, 13): the released test network drops",
        "  the padding of training, this one keeps it. CaffeNet has these maps; that is a test.",
        "- Jigsaw's random permutation lists (mean distance 8.019 of 100, 8.001 of 1,000): they",
        "  depend on the generator; the test allows 0.05 and 0.01.",
        "",
        "These need files of the authors that foveal may not carry; put into",
        "`~/.cache/foveal/released` (or `$FOVEAL_CACHE/released`) they are checked.",
        "",
        "| method | what is checked | file |",
        "|---|---|---|",
        *lines,
        "",
    ]


_HEADER = (
    "| method | seed | kNN | random init | over random init "
    "| linear | random init | pictures | min | date |",
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|---|",
)


def _line(r: dict[str, Any]) -> str:
    low, high = r["interval"]
    g0, g1 = r["gain_interval"]
    page = f"[{get_method(r['method']).title}]({r['method']}.md)"
    if not r["passed"]:
        page += " **unproven**"
    return (
        f"| {page} | {r['seed']} | **{_p(r['knn'])}** [{_p(low)}, {_p(high)}] "
        f"| {_p(r['random_init'])} | {100 * r['gain']:+.1f} [{100 * g0:+.1f}, {100 * g1:+.1f}] "
        f"| {_p(r['linear'])} | {_p(r['linear_random_init'])} "
        f"| {r['seen']:,} | {r['minutes']:.0f} | {r['date']} |"
    )


def _p(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


if __name__ == "__main__":
    main()
