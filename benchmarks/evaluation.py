"""What every protocol says of one trained network: writes the table of docs/evaluation.md.

    python benchmarks/evaluation.py RUN --data DOOM

RUN is a finished run on Doom objects, e.g. of ``make proofs``: runs/proofs/simclr-0; DOOM is what
``foveal data doom`` wrote. Each protocol measures the trained network, the same network at random
initialisation and what looks at nothing, on the same pictures; where the trained one does not win,
the table says so. Budgets of what trains are short (``STEPS``). What was measured before is taken
from RUN/features, and the page is written after every protocol.
"""

from __future__ import annotations

import argparse
import datetime
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

import foveal
from foveal.engine.runfolder import RunFolder, environment
from foveal.evaluation.result import TRIVIAL, Result, figure, metric_words

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "evaluation.md"
BEGIN, END = "<!-- begin: benchmarks/evaluation.py -->", "<!-- end: benchmarks/evaluation.py -->"


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        protocols: What is measured.
        part: Of the Doom world.
        changes: ``KEY=VALUE``.
        options: ``labels``, ``tuning``.
        metrics: Those shown; none named: all.
    """

    protocols: tuple[str, ...]
    part: str = "objects"
    changes: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    metrics: tuple[str, ...] = ()


STEPS = (
    Step(("knn", "linear", "ridge", "sgd", "mlp", "mlp_rotnet", "tencrop")),
    Step(("svm", "svm_lowshot", "retrieval", "episodes", "clusters")),
    Step(("endpoints",)),
    Step(("fewlabels",)),
    Step(("fewlabels",), changes=("freeze=stage2", "reads=stage2", "steps=600",
                                  "schedule.milestones=[210,420,510]"),
         options={"tuning": "rotnet", "labels": ["20", "100"]}),
    Step(("finetune",), changes=("epochs=3",)),
    Step(("retrain_after", "finetune_after"),
         changes=("epochs=1", 'after=["stage1","stage3"]')),
    Step(("svm", "linear"), "scenes"),
    Step(("finetune",), "scenes", ("epochs=10", "crops=10", "batchnorm=frozen")),
    Step(("segmentation",), "scenes", metrics=("mean_iou", "accuracy")),
    Step(("depth",), "scenes", metrics=("delta1", "rel", "rms")),
    Step(("normals",), "scenes", metrics=("mean", "median", "within_11")),
    Step(("detection",), "scenes", metrics=("ap50_eleven_point", "ap")),
    Step(("matching",), "scenes"),
)  # fmt: skip


def main() -> None:
    """Runs every step and writes the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "doom")
    parser.add_argument("--until", type=int, default=len(STEPS), help="so many steps alone")
    arguments = parser.parse_args()
    found: dict[str, list[Result]] = {}
    seconds = 0.0
    for step in STEPS[: arguments.until]:
        began = time.process_time()
        results = foveal.evaluate(
            arguments.run,
            arguments.data / step.part,
            protocols=step.protocols,
            changes=list(step.changes),
            console=Console(stderr=True),
            quiet=False,
            **step.options,
        )
        seconds += time.process_time() - began
        print(f"{step.protocols} {time.process_time() - began:.0f} s", flush=True)
        found.setdefault(step.part, []).extend(
            r for r in results if not step.metrics or r.metric in step.metrics
        )
        write(found, arguments)
    print(f"{seconds:.0f} CPU seconds")


def write(found: dict[str, list[Result]], arguments: argparse.Namespace) -> None:
    """Puts the table between the marks of the page."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    body = "\n".join(page(found, arguments))
    PAGE.write_text(f"{before}{BEGIN}\n{body}\n{END}{after}", encoding="utf-8")


def page(found: dict[str, list[Result]], arguments: argparse.Namespace) -> Iterable[str]:
    """The lines between the marks."""
    about = environment()
    machine = f"{about['processor']}, {about['cores']} cores, torch {about['versions']['torch']}"
    recipe = RunFolder(arguments.run).recipe()
    yield (
        f"A small network trained by {recipe.method} on Doom objects without labels "
        f"(`{recipe.method}/doom`, seed {recipe.seed}), measured on maps that training never saw. "
        "Shares in percent; in brackets the 95 % interval. *Over random init* is paired, and "
        "positive where an error fell."
    )
    for part, results in found.items():
        yield from ("", f"`{part}`: {', '.join(dict.fromkeys(r.counted for r in results))}.", "")
        yield "| protocol | metric | trained | random init | beside | over random init | wins |"
        yield "|---|---|---:|---:|---:|---:|---|"
        yield from map(row, results)
    yield from ("", verdict([r for some in found.values() for r in some]), "")
    yield (
        "`random init` of a fine-tuned row is the same training from a random start, of RotNet's "
        "few labels (20 and 100 a class) of all layers. *Beside*: raw pixels, a prediction that "
        "looks at nothing, or SIFT. Fine-tuning has short budgets: " + "; ".join(budgets()) + ". "
        "One run of one seed."
    )
    yield ""
    yield (
        f"Command: `python benchmarks/evaluation.py {arguments.run.name} --data "
        f"{arguments.data.name}` · Machine: {machine} · "
        f"Date: {datetime.datetime.now(datetime.UTC).date().isoformat()}"
    )


def budgets() -> Iterable[str]:
    """The steps with settings of their own."""
    for step in STEPS:
        if step.changes:
            tuning = step.options.get("tuning")
            words = [*([f"--tuning {tuning}"] if tuning else []), *step.changes]
            yield f"{' and '.join(step.protocols)} on {step.part} `{' '.join(words)}`"


def row(r: Result) -> str:
    """One line of a table."""
    start = r.baselines["random_init"]
    low, high = (gain(r, x) for x in start["difference_interval"])
    if low > high:
        low, high = high, low
    beside = " / ".join(
        f"{figure(r.baselines[name]['value'], r.unit)}"
        + ("" if name == "pixels" else f" ({TRIVIAL[name]})")
        for name in r.others
    )
    unit = f" ({r.unit})" if r.unit not in ("share", "") else ""
    return (
        f"| {r.protocol} | {metric_words(r.metric)}{unit} "
        f"| **{figure(r.value, r.unit)}**{interval(r)} | {figure(start['value'], r.unit)} "
        f"| {beside or '-'} | {figure(gain(r, start['difference']), r.unit, '+')} "
        f"[{figure(low, r.unit, '+')}, {figure(high, r.unit, '+')}] | {wins(r)} |"
    )


def interval(r: Result) -> str:
    """In brackets."""
    if r.interval is None:
        return ""
    low, high = (figure(x, r.unit) for x in r.interval)
    return f" [{low}, {high}]"


def gain(r: Result, difference: float) -> float:
    """Of a difference: positive is better."""
    return difference if r.higher_is_better else -difference


def surely_over(r: Result, name: str) -> bool:
    """Whether the whole interval of the difference is on the good side."""
    return min(gain(r, x) for x in r.baselines[name]["difference_interval"]) > 0


def wins(r: Result) -> str:
    """Over which baselines it is beyond doubt; **no** where over none."""
    names = {"random_init": "random init", **TRIVIAL}
    over = [names[name] for name in r.baselines if surely_over(r, name)]
    if len(over) == len(r.baselines):
        return "yes"
    return f"only over {', '.join(over)}" if over else "**no**"


def verdict(results: Sequence[Result]) -> str:
    """Where pretraining does not win over a random start, in words."""
    lost = [f"{r.protocol} {metric_words(r.metric)}" for r in results
            if not surely_over(r, "random_init")]  # fmt: skip
    if not lost:
        return "Pretraining wins over the random start in every row."
    return f"**Pretraining does not surely win over the random start in:** {', '.join(lost)}."


if __name__ == "__main__":
    main()
