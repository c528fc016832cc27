"""Adapting a backbone: learned on one part of the Doom maps, continued on another.

    python benchmarks/adapt.py OUT --data doom/objects/train

SimCLR learns on maps 1 to 15; on maps 17 to 31 it is measured as it is, continued as if the
weights were any (--init), continued carefully (--init --adapt), and learned anew. Measured is kNN
on pictures of three maps of the second part that nothing was trained on. Finished runs in OUT are
kept.
"""

import argparse
import shutil
from pathlib import Path

import foveal

HELD_OUT = {22, 27, 30}
RECIPE = "simclr/doom"


def split(pictures: Path, out: Path) -> None:
    """Copies pictures (class/mapNN_*.png) to ``first``, ``second/train`` and ``second/test``."""
    for path in sorted(pictures.glob("*/map*.png")):
        number = int(path.name[3:5])
        part = "first" if number <= 15 else "second/test" if number in HELD_OUT else "second/train"
        folder = out / part / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder)


def row(name: str, run: Path, second: Path) -> str:
    """A line of the table: before and after by the online probe, and on the held-out maps."""
    (knn,) = [r for r in foveal.evaluate(run, second, protocols=["knn"]) if r.metric == "top1"]
    low, high = knn.interval
    start = end = drift = "-"
    log = foveal.engine.runfolder.RunFolder(run).metrics()
    if name != "as it is":
        online = [r["knn"] for r in log if r["kind"] == "online"]
        start, end = (f"{100 * x:.1f}" for x in (online[0], online[-1]))
        cka = [r["cka_to_start"] for r in log if "cka_to_start" in r]
        drift = f"{cka[-1]:.2f}" if cka else "-"
    held_out = f"{100 * knn.value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    return f"| {name} | {start} | {end} | {drift} | {held_out} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="doom/objects/train")
    parser.add_argument("--epochs", type=float, default=6.0, help="on the first part")
    parser.add_argument("--more", type=float, default=4.0, help="on the second part")
    asked = parser.parse_args()
    pictures, out = asked.out / "pictures", asked.out
    if not pictures.exists():
        split(asked.data, pictures)
    second = pictures / "second"
    first = out / "first"
    settings = {"machine": {"monitor_every": asked.more / 4}}
    foveal.pretrain(pictures / "first", first, recipe=RECIPE, epochs=asked.epochs)
    plans = {
        "learned anew": {},
        "--init": {"init": str(first)},
        "--init --adapt": {"init": str(first), "adapt": True},
        # Far too high a rate, to see what is kept.
        "--init --adapt, lr x 300": {"init": str(first), "adapt": True, "lr": 300.0},
    }
    rows = [row("as it is", first, second)]
    for name, plan in plans.items():
        changes = dict(settings)
        if plan.get("adapt"):
            changes["adapt"] = {"heads": asked.more / 4, "lr": 0.1 * plan.pop("lr", 1.0)}
        run = out / name.replace(" ", "").replace(",", "-").replace(".", "")
        trained = foveal.pretrain(
            second / "train", run, recipe=RECIPE, epochs=asked.more, changes=changes, **plan
        )
        kept = trained.outcome and trained.outcome.kept
        rows.append(row(name, run, second) + (f" {kept}" if kept else ""))
    print("| | kNN at the start | at the end | CKA to the start | kNN on held-out maps |")
    print("|---|---:|---:|---:|---:|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
