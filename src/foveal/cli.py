"""The shell: ``foveal VERB``. Every verb is a Python function of the same name in ``foveal``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal import __version__
from foveal.errors import FovealError

if TYPE_CHECKING:
    from rich.console import Console

# torch is imported inside the verbs: `foveal --help` must stay under half a second.

app = typer.Typer(
    name="foveal",
    help="Learn visual features from images that nobody labelled.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data_app = typer.Typer(help="Make data sets on this machine.", no_args_is_help=True)
app.add_typer(data_app, name="data")
bench_app = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True)
app.add_typer(bench_app, name="bench")

DataArgument = Annotated[
    str, typer.Argument(metavar="DATA", help="Folder, glob, list file, .npy or .npz.")
]
RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN_OR_FILE", help="A run folder or an exported file.")
]
LayerOption = Annotated[
    str, typer.Option(help="pooled, or embedding: what the run's method compared pictures by.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


def _version(value: bool) -> None:
    if value:
        typer.echo(f"foveal {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def scan(data: DataArgument, as_json: JsonOption = False) -> None:
    """Tell what is in a pile of pictures, before anything is trained."""
    from foveal.data.scan import render
    from foveal.data.scan import scan as look

    report = look(data)
    _print(report.to_json() if as_json else render(report), as_json)


@app.command()
def pretrain(
    data: DataArgument,
    out: Annotated[Path, typer.Option("--out", metavar="RUN", help="The run folder.")],
    changes: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Recipe values, e.g. optimiser.lr=0.1."),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="A method, e.g. byol; several joined by +.")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="A recipe, e.g. byol/doom.")] = None,
    backbone: Annotated[str | None, typer.Option(help="A trunk, e.g. resnet18.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the data.")] = None,
    minutes: Annotated[float | None, typer.Option(help="A time budget; ends on time.")] = None,
    init: Annotated[
        str | None, typer.Option(help="Weights to start from: a file, a run, timm/NAME.")
    ] = None,
    adapt: Annotated[
        bool,
        typer.Option("--adapt", help="Continue carefully from --init, never to something worse."),
    ] = False,
    domain: Annotated[
        str | None,
        typer.Option(help="microscopy, radiology or satellite: views as such pictures need them."),
    ] = None,
    log: Annotated[
        str | None, typer.Option(help="tensorboard: metrics also go to RUN/tensorboard.")
    ] = None,
) -> None:
    """Learn features from pictures; run it again to continue. Labels are not used."""
    from foveal.verbs import pretrain as run

    trained = run(
        data, out, method=method, recipe=recipe, backbone=backbone, epochs=epochs,
        minutes=minutes, init=init, adapt=adapt, domain=domain, log=log, changes=changes or [],
        console=_console(),
    )  # fmt: skip
    folder = trained.folder
    if trained.outcome is None:
        return
    if not trained.outcome.finished:
        _say(
            f"stopped by {trained.outcome.stopped_by} after step {trained.outcome.steps}; "
            "the same command continues"
        )
        return
    _say(
        f"{trained.outcome.seen:,} pictures in {trained.outcome.seconds / 60:.1f} min\n"
        f"report    {folder.report_file}\n"
        f"backbone  {folder.backbone_file}\n"
        f"next      foveal evaluate {folder.path} --data LABELLED"
    )


@app.command()
def evaluate(
    run_or_file: RunArgument,
    data: Annotated[
        list[str],
        typer.Option(
            "--data",
            metavar="LABELLED",
            help="Class folders, train/ and test/, VOC's or COCO's layout; scenes; pictures. A "
            "suite takes several --data.",
        ),
    ],
    changes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Settings: metric=mean_per_class of probes, pool=max of endpoints; epochs=10 of "
            "protocols that train, on scenes, and of matching.",
        ),
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(help="Comma-separated protocols; knn,linear,health if not said.")
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="Protocols by name: goyal, simclr or doom.")
    ] = None,
    k: Annotated[int, typer.Option(min=1, help="Neighbours of kNN.")] = 20,
    select: Annotated[
        str, typer.Option(help="svm_lowshot: cv, or oracle (costs chosen on the test pictures).")
    ] = "cv",
    layer: LayerOption = "pooled",
    labels: Annotated[
        str | None,
        typer.Option(
            help="Of fewlabels: shares, numbers a class, files of names; 0.01,0.1 if not said."
        ),
    ] = None,
    tuning: Annotated[
        str | None,
        typer.Option(help="How to fine-tune: small (if not said), simclr, rotnet, ..."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of splits, baselines and intervals.")] = 0,
    finetune: Annotated[
        bool, typer.Option("--finetune", help="Train the network too (protocols on scenes).")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure what was learned, beside random initialisation and raw pixels."""
    from foveal.evaluation.result import table
    from foveal.verbs import evaluate as run

    if suite is None and len(data) > 1:
        raise FovealError(f"{len(data)} data sets and one can be measured on", hint="--suite doom")
    results = run(
        run_or_file, data[0] if len(data) == 1 else data,
        protocols=protocol and _names(protocol), suite=suite, k=k, seed=seed, select=select,
        layer=layer, labels=labels and _names(labels), tuning=tuning,
        changes=[*(changes or []), *(["finetune=true"] if finetune else [])],
        console=_console(), quiet=False,
    )  # fmt: skip
    _print([r.to_json() for r in results] if as_json else table(results), as_json)


@app.command()
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...", help="Run folders, exported folders, files of evaluate --json."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="PAGE.html", help="Also write a page of it.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Put the results of several runs side by side; what was measured unlike is named."""
    from foveal.report.compare_text import render
    from foveal.verbs import compare as run

    found = run(runs, out=out)
    _print(found.to_json() if as_json else render(found), as_json)
    if out is not None and not as_json:
        _say(f"page  {out}")


@app.command()
def study(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="data-scaling, architectures or hardness.")
    ],
    data: DataArgument,
    out: Annotated[Path, typer.Option("--out", metavar="STUDY", help="The study's folder.")],
    changes: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Recipe values of all runs."),
    ] = None,
    method: Annotated[str, typer.Option(help="Comma-separated methods.")] = "",
    backbone: Annotated[str, typer.Option(help="Comma-separated trunks.")] = "",
    width: Annotated[str, typer.Option(help="Comma-separated widths.")] = "",
    sizes: Annotated[str, typer.Option(help="Comma-separated numbers of pictures.")] = "",
    axis: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=A,B,C", help="Another axis, e.g. labels.flip=0,0.2."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each, from seed 0.")] = 3,
    recipe: Annotated[str, typer.Option(help="Which recipe of each method.")] = "small",
    epochs: Annotated[
        float | None, typer.Option(help="Passes over the data, at the largest size.")
    ] = None,
    equal: Annotated[
        str, typer.Option(help="Fewer pictures: as many steps, or as many epochs.")
    ] = "steps",
    labelled: Annotated[
        str | None, typer.Option(metavar="LABELLED", help="What is measured on; else DATA.")
    ] = None,
    measure: Annotated[str, typer.Option(help="PROTOCOL/METRIC.")] = "knn/top1",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say which runs, and how long they take.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train and measure a grid of runs; run it again to continue. What follows is printed."""
    from foveal.report.study_text import render, render_plan
    from foveal.verbs import study as run

    done = run(
        kind, data, out, methods=_names(method), backbones=_names(backbone),
        widths=[float(w) for w in _names(width)], sizes=[int(n) for n in _names(sizes)],
        axes=axis or [], seeds=seeds, recipe=recipe, epochs=epochs, equal=equal,
        labelled=labelled, measure=measure, changes=changes or [], dry_run=dry_run,
        console=_console(),
    )  # fmt: skip
    if as_json:
        _print(done.to_json(), as_json)
        return
    _print(render_plan(done.grid, done.plan) if dry_run else render(done), as_json)
    if done.stopped:
        _say("stopped; the same command continues")
    elif not dry_run:
        _say(f"page  {done.path / 'study.html'}")


@app.command()
def embed(
    run_or_file: RunArgument,
    data: Annotated[str, typer.Option("--data", help="Pictures.")],
    out: Annotated[Path, typer.Option("--out", help="The .npz file to write.")],
    layer: LayerOption = "pooled",
) -> None:
    """Write the features of pictures to a file."""
    from foveal.verbs import embed as run

    _say(f"features, names and labels in {run(run_or_file, data, out, layer=layer)}")


@app.command()
def search(
    run_or_file: RunArgument,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="A picture, folder, glob or list.")],
    data: Annotated[str, typer.Option("--data", help="The pile to search.")],
    top: Annotated[int, typer.Option(min=1, help="How many to find for each query.")] = 8,
    layer: LayerOption = "pooled",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="PAGE.html", help="Also write a page of them.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find the pictures of a pile that look most like a given one."""
    from foveal.verbs import search as run

    done = run(run_or_file, data, query, top=top, layer=layer, out=out)
    if as_json:
        _print([f.to_json() for f in done.found], as_json)
        return
    for found in done.found:
        _say(f"{found.query}\n  similarity  as similar by chance")
        for m in found.matches:
            _say(f"  {m.similarity:10.3f}  {100 * m.chance:17.3f} %  {m.name}")
    for bad in done.bad:
        typer.echo(f"could not be read: {bad.name}: {bad.reason}", err=True)
    if out is not None:
        _say(f"page  {out}")


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run that learned classes.")],
    data: Annotated[str, typer.Option("--data", help="Pictures.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE.csv", help="The table to write.")],
    crops: Annotated[int, typer.Option(help="1, or 5 with the corners; averaged.")] = 1,
    turns: Annotated[int, typer.Option(help="1, or 4 quarter turns; averaged.")] = 1,
) -> None:
    """Write the class of every picture, by a run of supervised or s4l, to a table."""
    from foveal.verbs import predict as run_classifier

    found = run_classifier(run, data, crops=crops, turns=turns, out=out)
    for bad in found.bad:
        typer.echo(f"could not be read: {bad.name}: {bad.reason}", err=True)
    _say(f"classes of {len(found.names):,} pictures in {out}")


@app.command()
def export(
    run_or_file: RunArgument,
    format: Annotated[
        str, typer.Option("--format", help="timm, torch, onnx, hf, torchvision or detectron2.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="PATH", help="The folder to write.")],
) -> None:
    """Write the backbone for use elsewhere; verified before success is reported."""
    from foveal.verbs import export as run

    _say(str(run(run_or_file, format=format, out=out)))


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(help="Show one recipe in full.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the recipes, or show one."""
    from foveal.recipes import describe, get_recipe, list_recipes

    if name is not None:
        if as_json:
            _print(get_recipe(name).to_json(), as_json)
            return
        about = describe(name)
        _say(f"{about.name}: {about.about}\n\ncommand   {about.command}\nminutes   {about.minutes}")
        _say(f"machine   {about.machine}\nexpected  {about.expected}\n")
        _say(json.dumps(get_recipe(name).to_json(), indent=2))
        return
    found = [describe(each) for each in list_recipes()]
    if as_json:
        _print([vars(d) for d in found], as_json)
        return
    for d in found:
        _say(f"{d.name:22s} {d.about}")


@data_app.command()
def doom(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write.")],
    what: Annotated[
        str, typer.Option(help="Comma-separated sets.")
    ] = "pile,clips,objects,scenes,watch",
    size: Annotated[float, typer.Option(help="Share of the usual counts.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Another seed, another world.")] = 0,
) -> None:
    """Render pictures of the Doom world, with labels to measure by (needs foveal[worlds])."""
    from foveal.verbs import make_doom

    for made in make_doom(
        out, what=tuple(_names(what)), size=size, seed=seed, progress=_say
    ).values():
        _say(str(made))


@data_app.command()
def motion(
    video: Annotated[
        Path,
        typer.Argument(metavar="VIDEO", help="A video, a folder of them, or folders of frames."),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write.")],
) -> None:
    """Segment what moves in videos, to learn from with --method motion_segments.

    Run it again to continue. Needs foveal[motion].
    """
    from foveal.verbs import make_motion

    _say(str(make_motion(video, out, progress=_say)))


@bench_app.command("data")
def bench_data(
    data: DataArgument,
    size: Annotated[
        int | None, typer.Option(min=1, help="Side of the views in px; else as pretrain chooses.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Tell how quickly pictures become batches, what bounds it and what to change."""
    from foveal.engine.dataspeed import render
    from foveal.verbs import bench_data as measure

    found = measure(data, size=size)
    _say(json.dumps(found.to_json(), indent=2) if as_json else render(found))


def _console() -> Console:
    from rich.console import Console

    return Console(stderr=True)


def _names(text: str) -> list[str]:
    """What stands between commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _say(text: str) -> None:
    typer.echo(text)


def _print(value: Any, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    console = Console()
    # In a file or a pipe nothing has to fit on a screen.
    (console if console.is_terminal else Console(width=120)).print(value)


def main() -> None:
    """The entry point: errors for a person, without a traceback."""
    try:
        app()
    except FovealError as error:
        typer.secho(f"foveal: {error.message}", err=True, fg="red")
        if error.hint:
            typer.echo(f"   try: {error.hint}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
