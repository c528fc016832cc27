"""Adapting a backbone: learned on some of the Doom maps, continued on others.

    python benchmarks/adapt.py OUT --run runs/simclr-0 --data doom/objects/test

The run is that of `benchmarks/proofs.py --only simclr`, which saw the maps of doom/objects/train.
On the maps of doom/objects/test it is measured as it is, continued as if its weights were any
(--init), continued carefully (--init --adapt), and so at a ruinous rate. Measured is kNN on the
pictures of two of these maps, that nothing was trained on. Finished runs in OUT are kept.
"""

import argparse
import shutil
from pathlib import Path

import foveal
from _whole import pretrain
from foveal.core.files import read_json
from foveal.engine.runfolder import RunFolder

HELD_OUT = {28, 32}
RECIPE = "simclr/doom"


def split(pictures: Path, out: Path) -> None:
    """Copies pictures (class/mapNN_*.png) to ``train`` and ``test``."""
    for path in sorted(pictures.glob("*/map*.png")):
        part = "test" if int(path.name[3:5]) in HELD_OUT else "train"
        folder = out / part / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--run", type=Path, required=True, help="the weights to start from")
    parser.add_argument("--data", type=Path, required=True, help="doom/objects/test")
    parser.add_argument("--epochs", type=float, default=2.0)
    asked = parser.parse_args()
    pictures = asked.out / "pictures"
    if not pictures.exists():
        split(asked.data, pictures)
    looks = {"machine": {"monitor_every": asked.epochs / 4}}
    heads = {"heads": asked.epochs / 4}
    runs: dict[str, dict[str, object]] = {
        "--init": {},
        "--init --adapt": {"adapt": heads},
        "--init --adapt adapt.lr=30": {"adapt": {**heads, "lr": 30.0}},
    }
    print("| | kNN at the start | by quarters | CKA to the start | kNN, held-out maps |")
    print("|---|---:|---:|---:|---:|")
    print(f"| as it is | | | | {held_out(asked.run, pictures)} |", flush=True)
    for i, (name, changes) in enumerate(runs.items()):
        run = asked.out / f"run-{i}"
        pretrain(
            pictures / "train", run, recipe=RECIPE,
            changes={"epochs": asked.epochs, "init": str(asked.run), **looks, **changes},
        )  # fmt: skip
        log = RunFolder(run).metrics()
        start, *quarters = (f"{100 * r['knn']:.1f}" for r in log if r["kind"] == "online")
        cka = [f"{r['cka_to_start']:.2f}" for r in log if "cka_to_start" in r]
        shown = f"{start} | {', '.join(quarters)} | {', '.join(cka[1:])}"
        print(f"| `{name}` | {shown} | {held_out(run, pictures)} |", flush=True)
        if kept := read_json(run / "finished.json")["kept"]:
            print(f"({kept})", flush=True)


def held_out(run: Path, pictures: Path) -> str:
    """kNN top-1 on the maps nothing was trained on, in percent, with its interval."""
    found = foveal.evaluate(run, pictures, protocols=["knn"])
    (knn,) = [r for r in found if r.metric == "top1"]
    low, high = knn.interval
    return f"{100 * knn.value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


if __name__ == "__main__":
    main()
