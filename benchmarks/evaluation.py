"""What every protocol says of one trained network: writes the table of docs/evaluation.md.

    python benchmarks/evaluation.py RUN --data DOOM [--only PROTOCOL,...] [--kept]

RUN is a finished run on Doom objects, e.g. of ``make proofs``: runs/proofs/simclr-0; DOOM is what
``foveal data doom`` wrote. Each protocol measures the trained network, the same network at random
initialisation and what looks at nothing, on the same pictures; where the trained one does not win,
the table says so. Budgets of what trains are short (``STEPS``). The table shows what RUN/results
holds and is written after every step; ``--kept`` measures nothing, ``--only`` runs the steps of
these protocols. What is interrupted goes on where it was.
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
from _doom_made import made
from foveal.core.files import read_json
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
        part: Of the Doom world; a set of ``_doom_made``; or ``doom``, where agents act.
        changes: ``KEY=VALUE``.
        options: ``labels``, ``tuning``.
    """

    protocols: tuple[str, ...]
    part: str = "objects"
    changes: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


STEPS = (
    Step(("knn", "linear", "ridge", "sgd", "mlp", "mlp_rotnet", "tencrop", "health")),
    Step(("svm", "retrieval", "episodes", "clusters")),
    Step(("svm_lowshot",), changes=("shots=32",)),
    Step(("svm", "linear"), "scenes"),
    Step(("segmentation", "depth", "normals"), "scenes", ("epochs=2",)),
    Step(("endpoints",), changes=("directions=128",)),
    Step(("lasso",)),
    Step(("corruptions",), "corrupted"),
    Step(("instances",), "copies"),
    Step(("matching",), "scenes", ("pictures=6",)),
    Step(("svm_quadrants", "svm_pyramid"), options={"labels": ["0.01"]}),
    Step(("fewlabels",), changes=("steps=100",)),
    Step(("fewlabels",), changes=("freeze=stage2", "reads=stage2", "steps=60",
                                  "schedule.milestones=[21,42,51]"),
         options={"tuning": "rotnet", "labels": ["20"]}),
    Step(("finetune",), changes=("steps=200",)),
    Step(("finetune",), "scenes", ("epochs=2", "crops=4", "batchnorm=frozen")),
    Step(("retrain_after", "finetune_after"),
         changes=("epochs=0.15", 'after=["stage2"]')),
    Step(("detection",), "scenes", ("size=192", "steps=1600", "batch=2", "rois=32",
                                    "proposals=100")),
    Step(("navigation",), "doom", ("frames=12288",)),
)  # fmt: skip
# Of protocols with many figures, those shown.
SHOWN = {
    "segmentation": ("mean_iou", "accuracy"),
    "depth": ("delta1", "rel", "rms"),
    "normals": ("mean", "median", "within_11"),
    "detection": ("ap50_envelope", "ap50_eleven_point"),
    "clusters": ("nmi_arithmetic", "ami", "purity", "hungarian"),
}


def main() -> None:
    """Runs every step and writes the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "doom")
    parser.add_argument("--only", default="", help="steps of these protocols, comma-separated")
    parser.add_argument("--kept", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    only = set(filter(None, arguments.only.split(",")))
    for step in () if arguments.kept else STEPS:
        if only and not only & set(step.protocols):
            continue
        began = time.process_time()
        foveal.evaluate(
            arguments.run,
            place(arguments.data, step.part),
            protocols=step.protocols,
            changes=list(step.changes),
            console=Console(stderr=True),
            quiet=False,
            **step.options,
        )
        print(f"{step.protocols} {time.process_time() - began:.0f} CPU seconds", flush=True)
        write(arguments)
    write(arguments)


def place(data: Path, part: str) -> Path | str:
    """What a step is measured on."""
    if part == "doom":
        return part
    return made(data, part) if part in ("copies", "corrupted") else data / part


def write(arguments: argparse.Namespace) -> None:
    """Puts the table between the marks of the page."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    body = "\n".join(page(arguments.run, arguments.data))
    PAGE.write_text(f"{before}{BEGIN}\n{body}\n{END}{after}", encoding="utf-8")


def kept(run: Path, data: Path) -> dict[str, list[Result]]:
    """What is shown of the results of a run, by the part of the world they are of."""
    found: dict[str, list[Result]] = {}
    for file in RunFolder(run).results.glob("*.json"):
        for r in map(Result.from_json, read_json(file)):
            test = Path(r.configuration["data"]["test"]["name"])
            part = test.relative_to(data).parts[0].split()[0] if data in test.parents else ""
            if r.protocol == "navigation":
                part = str(test)
            shown = SHOWN.get(r.protocol)
            pooled = r.configuration.get("layer") != "embedding"
            if part and pooled and (shown is None or r.metric in shown):
                found.setdefault(part, []).append(r)
    order = list(dict.fromkeys(name for step in STEPS for name in step.protocols))
    for some in found.values():
        some.sort(key=lambda r: (_place(r.protocol, order), r.protocol))
    parts = list(dict.fromkeys(step.part for step in STEPS))
    return dict(sorted(found.items(), key=lambda x: (*parts, x[0]).index(x[0])))


def _place(protocol: str, order: Sequence[str]) -> int:
    """Of a protocol, or of the one it is a part of (``fewlabels-1%-linear``)."""
    name = protocol.replace("-after-", "_after-").partition("-")[0]
    return order.index(name) if name in order else len(order)


def page(run: Path, data: Path) -> Iterable[str]:
    """The lines between the marks."""
    about = environment()
    machine = f"{about['processor']}, {about['cores']} cores, torch {about['versions']['torch']}"
    recipe, found = RunFolder(run).recipe(), kept(run, data)
    yield (
        f"A small network trained by {recipe.method} on Doom objects without labels "
        f"(`{recipe.method}/doom`, seed {recipe.seed}), measured on maps that training never saw. "
        "Shares in percent; in brackets the 95 % interval. *Over random init* is paired, and "
        "positive where an error fell."
    )
    for part, results in found.items():
        counted = dict.fromkeys(r.counted for r in results if r.baselines)
        yield from ("", f"`{part}`: {'; '.join(counted)}.", "")
        yield "| protocol | metric | trained | random init | beside | over random init | wins |"
        yield "|---|---|---:|---:|---:|---:|---|"
        yield from (row(r) for r in results if r.baselines)
        if health := [r for r in results if not r.baselines]:
            yield from ("", "| health, without labels | trained | random init |", "|---|---:|---:|")
            yield from map(health_row, health)
    yield from ("", verdict([r for some in found.values() for r in some if r.baselines]), "")
    yield (
        "Of a fine-tuned row *random init* is the same training from a random start (of RotNet's "
        "few labels, 20 a class, that of all layers) and the epochs are named: budgets are short. "
        "*Beside*: raw pixels, or a prediction that looks at nothing. One run of one seed. "
        "End points are cut to 128 directions; what else is not the default is in the script's "
        "`STEPS`."
    )
    yield ""
    yield (
        f"Command: `python benchmarks/evaluation.py {run.name} --data {data.name}` · Machine: "
        f"{machine} · Date: {datetime.datetime.now(datetime.UTC).date().isoformat()}"
    )


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
        f"| {r.protocol}{epochs(r)} | {metric_words(r.metric)}{unit} "
        f"| **{figure(r.value, r.unit)}**{interval(r)} | {figure(start['value'], r.unit)} "
        f"| {beside or '-'} | {figure(gain(r, start['difference']), r.unit, '+')} "
        f"[{figure(low, r.unit, '+')}, {figure(high, r.unit, '+')}] | {wins(r)} |"
    )


def health_row(r: Result) -> str:
    """Of a figure that is neither good nor bad by itself."""
    untrained = r.configuration.get("random_init_value")
    return f"| {r.metric} | {r.value:.3f} | {'-' if untrained is None else f'{untrained:.3f}'} |"


def epochs(r: Result) -> str:
    """How long a network was trained for a row."""
    if "steps" in r.configuration:  # detection
        seen = r.configuration["steps"] * r.configuration["training"]["batch"]
        seen /= r.configuration["data"]["train"]["n"]
    elif r.configuration.get("mode", "").startswith("trained"):
        seen = r.configuration["chosen"]["trained"]["epochs"]
    else:
        return ""
    return f" ({seen:.3g} {'epoch' if seen == 1 else 'epochs'})"


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
