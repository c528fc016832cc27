"""What every protocol says of one trained network: writes the table of docs/evaluation.md.

    python benchmarks/evaluation.py RUN [--data FOLDER] [--only PROTOCOL,...] [--epochs E]

RUN is a finished run on Doom objects, e.g. of ``make proofs``: runs/proofs/simclr-0. Each protocol
measures the trained network, the same network at random initialisation and raw pixels (on scenes a
prediction that looks at nothing) on the same pictures; where the trained one does not win, the
table says so. Fine-tuning on all labels gets few epochs (``--epochs``), few labels get what the
default recipe says. What was measured before is taken from RUN/features; with ``--only`` the other
protocols' rows are what RUN/results holds of them.
"""

from __future__ import annotations

import argparse
import datetime
import time
from pathlib import Path

from rich.console import Console

import foveal
from foveal.engine.runfolder import RunFolder, environment
from foveal.evaluation.dense.protocol import TASKS
from foveal.evaluation.protocols import PROTOCOLS
from foveal.evaluation.result import TRIVIAL, Result, figure
from foveal.exporting.formats import results_of

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "evaluation.md"
BEGIN, END = "<!-- begin: benchmarks/evaluation.py -->", "<!-- end: benchmarks/evaluation.py -->"
APART = ("finetune",)  # with its own number of epochs
ON_SCENES = (*TASKS, "detection")
WITHOUT = ("health",)  # figures without a baseline to win against


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "doom")
    every = [*(p for p in PROTOCOLS if p not in WITHOUT), *ON_SCENES]
    parser.add_argument("--only", default=",".join(every))
    parser.add_argument("--epochs", type=int, default=3, help="of fine-tuning on all labels")
    arguments = parser.parse_args()
    results: list[Result] = []
    for name in every:
        if name in arguments.only.split(","):
            began = time.process_time()
            results += measured(name, arguments)
            print(f"{name}: {time.process_time() - began:.0f} CPU seconds", flush=True)
        else:
            results += kept(name, arguments.run)
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    body = "\n".join(table(results, arguments))
    PAGE.write_text(f"{before}{BEGIN}\n{body}\n{END}{after}", encoding="utf-8")


def measured(name: str, arguments: argparse.Namespace) -> list[Result]:
    """Runs one protocol."""
    return foveal.evaluate(
        arguments.run,
        arguments.data / ("scenes" if name in ON_SCENES else "objects"),
        protocols=[name],
        changes={"epochs": arguments.epochs} if name in APART else {},
        console=Console(stderr=True),
        quiet=False,
    )


def kept(name: str, run: Path) -> list[Result]:
    """What the run folder holds of a protocol."""
    found = map(Result.from_json, results_of(run))
    return [r for r in found if r.protocol == name or r.protocol.startswith(f"{name}-")]


def table(results: list[Result], arguments: argparse.Namespace) -> list[str]:
    """The lines between the marks."""
    about = environment()
    machine = f"{about['processor']}, {about['cores']} cores, torch {about['versions']['torch']}"
    recipe = RunFolder(arguments.run).recipe()
    parts = {
        "objects": [r for r in results if r.trivial == "pixels"],
        "scenes": [r for r in results if r.trivial != "pixels"],
    }
    lines = [
        f"A small network trained by {recipe.method} on Doom objects without labels "
        f"(`{recipe.method}/doom`, seed {recipe.seed}), measured on maps that training never saw. "
        "Shares in percent, 95 % intervals in brackets; *over random init* is paired, and positive "
        "where an error fell.",
    ]
    for some in parts.values():
        if some:
            lines += ["", *section(some)]
    return [
        *lines,
        "",
        *verdict(results),
        f"Fine-tuning on all labels: {arguments.epochs} epochs. *Random init* of a fine-tuned row "
        "is the same schedule from a random start, *raw pixels* a linear probe with the same "
        "labels. One run of one seed.",
        "",
        f"Command: `python benchmarks/evaluation.py {arguments.run.name}` · Machine: {machine} · "
        f"Date: {datetime.datetime.now(datetime.UTC).date().isoformat()}",
    ]


def section(results: list[Result]) -> list[str]:
    """The table of one set of data."""
    data = results[0].configuration["data"]
    beside = "raw pixels" if results[0].trivial == "pixels" else "without looking"
    return [
        f"{'/'.join(Path(data['test']['name']).parts[-2:])}: {data['train']['n']:,} training "
        f"pictures, {data['test']['n']:,} test pictures.",
        "",
        f"| protocol | metric | trained | random init | {beside} | over random init | wins |",
        "|---|---|---:|---:|---:|---:|---|",
        *map(line, results),
    ]


def line(r: Result) -> str:
    """One row."""
    start, other = r.baselines["random_init"], r.baselines[str(r.trivial)]
    low, high = gain(r, "random_init")
    metric = r.metric if r.unit in ("share", "") else f"{r.metric} ({r.unit})"
    difference = start["difference"] * (1 if r.higher_is_better else -1)
    own = "" if r.interval is None else " [{}, {}]".format(*(figure(x, r.unit) for x in r.interval))
    return (
        f"| {r.protocol} | {metric} | **{figure(r.value, r.unit)}**{own} "
        f"| {figure(start['value'], r.unit)} | {figure(other['value'], r.unit)} "
        f"| {figure(difference, r.unit, '+')} "
        f"[{figure(low, r.unit, '+')}, {figure(high, r.unit, '+')}] | {wins(r)} |"
    )


def gain(r: Result, name: str) -> tuple[float, float]:
    """The interval of what was won over a baseline; positive is better."""
    low, high = r.baselines[name]["difference_interval"]
    return (low, high) if r.higher_is_better else (-high, -low)


def wins(r: Result) -> str:
    """Over which baselines it is beyond doubt; **no** where over none."""
    names = {"random_init": "random init", **TRIVIAL}
    over = [names[name] for name in r.baselines if gain(r, name)[0] > 0]
    if len(over) == len(r.baselines):
        return "yes"
    return f"only over {over[0]}" if over else "**no**"


def verdict(results: list[Result]) -> list[str]:
    """Where pretraining does not win over a random start, in words."""
    lost = [f"{r.protocol} {r.metric}" for r in results if gain(r, "random_init")[0] <= 0]
    if not lost:
        return ["Pretraining wins over the random start in every row.", ""]
    return [f"**Pretraining does not win over the random start in:** {', '.join(lost)}.", ""]


if __name__ == "__main__":
    main()
