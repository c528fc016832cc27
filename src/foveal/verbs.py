"""The verbs of foveal as Python functions: same names and meaning as in the shell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.backbones.encoder import Encoder
from foveal.data.scan import scan as scan
from foveal.engine.dataspeed import bench_data as bench_data
from foveal.engine.pretrain import Trained, Wish, train
from foveal.errors import FovealError
from foveal.recipe import Recipe, parse_overrides

if TYPE_CHECKING:
    from rich.console import Console

    from foveal.evaluation.predict import Predictions
    from foveal.evaluation.result import Result
    from foveal.evaluation.search import Search
    from foveal.evaluation.side_by_side import Comparison
    from foveal.exporting.formats import ExportReport
    from foveal.motion.make import Made
    from foveal.studies.runner import Study

__all__ = [
    "bench_data",
    "compare",
    "embed",
    "evaluate",
    "export",
    "load",
    "make_doom",
    "make_motion",
    "predict",
    "pretrain",
    "scan",
    "search",
    "study",
]


def pretrain(
    data: Any,
    out: str | Path,
    *,
    method: str | None = None,
    recipe: str | Recipe | None = None,
    backbone: str | None = None,
    epochs: float | None = None,
    minutes: float | None = None,
    init: str | None = None,
    adapt: bool = False,
    domain: str | None = None,
    log: str | None = None,
    changes: Mapping[str, Any] | Sequence[str] = (),
    console: Console | None = None,
    quiet: bool = False,
) -> Trained:
    """Learns features from pictures; labels, where folders hold any, are not used.

    ``method="supervised"`` and ``"s4l"`` do use them, as the recipe's ``labels`` choose.

    Running it again with the same arguments continues a run that was interrupted, bit for bit
    (except under ``minutes``), or says that it is finished.

    Args:
        data: Folder, glob, list file, ``.npy``/``.npz``, torch dataset, or sequence of pictures.
        out: The run folder.
        method: A method's name; None chooses one. ``foveal.methods.list_methods()`` names them.
        recipe: A recipe's name (``byol/doom``) or a Recipe, instead of ``method``.
        backbone: The trunk's name.
        epochs: Passes over the data.
        minutes: A time budget instead; the learning-rate schedule ends on time.
        init: Weights to start from: a file, a run folder or ``timm/NAME`` (which may download).
        adapt: The weights of ``init`` are good already: heads first, then all at low rates, and
            never to something worse than the start. ``recipe.Adapt`` has the settings.
        domain: ``microscopy``, ``radiology`` or ``satellite``: views as such pictures need them.
        log: ``tensorboard``: metrics also go to ``RUN/tensorboard`` (extra ``tensorboard``).
        changes: Recipe values, nested or as ``["optimiser.lr=0.1"]``.
        console: Where progress is written; None is standard error.
        quiet: Write nothing.

    Returns:
        The run. ``outcome.finished`` is False when a stop signal ended it early.

    Raises:
        FovealError: Nothing to train on, a wrong option, a different configuration in ``out``.
    """
    if not isinstance(changes, Mapping):
        changes = parse_overrides(changes)
    wish = Wish(method, recipe, backbone, epochs, minutes, init, adapt, domain, log, changes)
    trained = train(data, out, wish, console=console, quiet=quiet)
    _hand_over(trained)
    return trained


def _hand_over(trained: Trained) -> None:
    """Writes what a run leaves behind (rank 0 only): the backbone, the end, the report."""
    from foveal import __version__
    from foveal.backbones.classifier import save_head
    from foveal.backbones.embedding import save_embedding
    from foveal.core import ranks
    from foveal.exporting.weights import save_encoder
    from foveal.report.feature_map import write_map
    from foveal.report.page import write_report
    from foveal.report.pictures import take_gallery, write_neighbour_sheet

    folder, recipe = trained.folder, trained.recipe
    if ranks.rank() != 0:
        return
    if trained.outcome is not None and trained.encoder is not None and trained.table is not None:
        bits = trained.table.source.bits
        about = {"recipe": recipe.to_json(), "version": __version__, "bits": bits}
        if trained.outcome.kept is not None:
            about["kept"] = trained.outcome.kept
        save_encoder(trained.encoder, folder.backbone_file, about)
        if trained.classifier is not None:
            save_head(trained.classifier, trained.table.source.classes or [], folder.path)
        if trained.embedding is not None:
            save_embedding(trained.embedding, folder.path)
        gallery = take_gallery(
            trained.encoder, trained.table, fraction=recipe.evaluation.fraction, seed=recipe.seed
        )
        write_neighbour_sheet(gallery, folder.neighbours_file)
        write_map(gallery, trained.table, folder.map_sheet, folder.map_file, seed=recipe.seed)
        # Only now: a run that is killed before this does the rest again.
        if trained.outcome.finished:
            folder.finish(trained.outcome)
    elif folder.report_file.is_file():
        return
    write_report(folder.path)


def evaluate(
    run_or_file: str | Path | Encoder,
    data: Any,
    *,
    protocols: Sequence[str] | None = None,
    suite: str | None = None,
    seed: int = 0,
    k: int = 20,
    select: str = "cv",
    layer: str = "pooled",
    labels: Sequence[str | float] | None = None,
    tuning: str | None = None,
    changes: Mapping[str, Any] | Sequence[str] = (),
    console: Console | None = None,
    quiet: bool = True,
) -> list[Result]:
    """Measures a network on labelled pictures, beside random initialisation and raw pixels.

    Args:
        run_or_file: A run folder, an exported file, or an Encoder.
        data: Labelled pictures: ``train/`` and ``test/`` (or ``val/``) class folders, or class
            folders alone, of which a fifth is then held out. Scenes for the protocols that
            measure every pixel.
        protocols: Any of ``foveal.evaluation.protocols.PROTOCOLS`` and
            ``foveal.evaluation.own_data.OWN_DATA``; None: kNN, linear and health.
        suite: Instead, a list of them by name, of ``foveal.evaluation.suites.SUITES``. ``data``
            may then be a list of data sets, or a Doom world, and each protocol is asked of every
            one that holds what it needs.
        seed: Of the random initialisation where the file does not say, of splits and intervals.
        k: Neighbours of kNN.
        select: What ``svm_lowshot`` chooses its costs on: training pictures (``cv``), or the test
            pictures as its paper does (``oracle``, and the metric says so).
        layer: ``pooled``, or ``embedding``: what the run's method compared pictures by (NPID's and
            PIRL's 128 numbers), for the protocols that read one vector a picture.
        labels: For ``fewlabels``: shares (``"0.01"``), numbers a class (``"13"``) and files of
            names, one subset each; None: 1 % and 10 %.
        tuning: How networks are fine-tuned, of ``foveal.evaluation.tuning.TUNINGS``; None: small.
        changes: Settings of protocols that train: values of that recipe, and of the protocols on
            scenes; nested (``{"finetune": True}``) or as ``["epochs=8", "optimiser.lr=0.1"]``.
        console: Where the progress of fine-tuning is written; None is standard error.
        quiet: Write nothing.

    Returns:
        One result per protocol and metric; also written to ``RUN/results``, and into the report.
    """
    from foveal.evaluation.run import evaluate as run_protocols
    from foveal.evaluation.run_suite import evaluate_suite
    from foveal.evaluation.suites import Suite, get_suite
    from foveal.report.page import write_report

    if not isinstance(changes, Mapping):
        changes = parse_overrides(changes)
    if suite is not None and protocols is not None:
        raise FovealError(
            "a suite is a list of protocols: give one of the two", hint="--suite doom"
        )
    chosen = Suite() if suite is None else get_suite(suite)
    options: dict[str, Any] = {
        "seed": seed, "k": k, "select": select, "layer": layer,
        "labels": labels or chosen.labels, "tuning": tuning or chosen.tuning, "changes": changes,
        "console": console, "quiet": quiet,
    }  # fmt: skip
    if suite is None:
        results = run_protocols(
            run_or_file, data, protocols=protocols or chosen.protocols, **options
        )
    else:
        results = evaluate_suite(run_or_file, data, chosen, **options)
    if not isinstance(run_or_file, Encoder) and (Path(run_or_file) / "recipe.json").is_file():
        write_report(run_or_file)
    return results


def compare(runs: Sequence[str | Path], *, out: str | Path | None = None) -> Comparison:
    """Puts what ``evaluate`` found for several runs side by side; measures nothing.

    Results that were not measured alike stand in tables of their own, and a warning says why.

    Args:
        runs: Run folders, exported folders, or files that ``foveal evaluate --json`` wrote.
        out: Also write an HTML page.
    """
    from foveal.evaluation.side_by_side import compare as put_side_by_side
    from foveal.report.compare_page import write_compare_page

    found = put_side_by_side(runs)
    if out is not None:
        write_compare_page(found, out)
    return found


def study(
    kind: str,
    data: Any,
    out: str | Path,
    *,
    methods: Sequence[str] = (),
    backbones: Sequence[str] = (),
    widths: Sequence[float] = (),
    sizes: Sequence[int] = (),
    seeds: int = 3,
    axes: Mapping[str, Sequence[Any]] | Sequence[str] = (),
    recipe: str = "small",
    epochs: float | None = None,
    equal: str = "steps",
    labelled: Any = None,
    measure: str = "knn/top1",
    changes: Mapping[str, Any] | Sequence[str] = (),
    dry_run: bool = False,
    console: Console | None = None,
    quiet: bool = False,
) -> Study:
    """Trains and measures a grid of runs, and says what a paper asked of such a grid.

    What is done is not done again: the same call continues a study that was interrupted, and one
    with more values on an axis adds the runs they need. ``OUT/study.html`` holds what was found.

    Args:
        kind: ``data-scaling``: does the score grow with the logarithm of the number of pictures
            (Sun et al., ICCV 2017)? ``architectures``: does the best network depend on the method
            (Kolesnikov et al., CVPR 2019)? ``hardness``: does a harder pretext task help, and
            which networks (Goyal et al., ICCV 2019)?
        data: What is learned from.
        out: The study's folder; the runs are under ``cells``.
        methods: One or several.
        backbones: Trunks; nothing given: the recipes' own.
        widths: Of the trunks; nothing given: the recipes' own.
        sizes: Numbers of pictures; the smaller subsets are parts of the larger ones.
        seeds: How many runs of each, from seed 0.
        axes: Values of any other recipe key, by name or as ``["labels.flip=0,0.2"]``.
        recipe: Which recipe of each method: ``small``, ``doom``, ...
        epochs: Passes over the data, at the largest size; None: the recipe's.
        equal: What runs on fewer pictures have in common with the others: ``steps`` or ``epochs``.
        labelled: What is measured on; None: ``data``.
        measure: ``protocol/metric``.
        changes: Recipe values of all runs.
        dry_run: Only say which runs there are and how long they take; a few seconds of training
            for each network that was not timed yet.
        console: Where progress goes.
        quiet: Say nothing.
    """
    from foveal.engine.screen import ProgressScreen
    from foveal.report.study_page import write_study_page
    from foveal.studies.grid import make_grid, parse_axes
    from foveal.studies.runner import Runner

    if not isinstance(changes, Mapping):
        changes = parse_overrides(changes)
    if not isinstance(axes, Mapping):
        axes = parse_axes(axes)
    pictures = len(scan(data).good) if kind == "data-scaling" and not sizes else None
    grid = make_grid(
        kind, methods=methods, backbones=backbones, widths=widths, sizes=sizes, seeds=seeds,
        axes=axes, recipe=recipe, epochs=epochs, equal=equal, changes=changes, pictures=pictures,
    )  # fmt: skip
    runner = Runner(
        out, grid, data, data if labelled is None else labelled, measure,
        pretrain=pretrain, evaluate=evaluate, say=ProgressScreen(console, quiet=quiet).say,
    )  # fmt: skip
    if dry_run:
        return runner.study(runner.plan(trial=True))
    done = runner.run()
    write_study_page(done, done.path / "study.html")
    return done


def embed(
    run_or_file: str | Path | Encoder, data: Any, out: str | Path, *, layer: str = "pooled"
) -> Path:
    """Writes the pooled features of pictures to ``out`` (.npz: features, names, labels).

    ``layer="embedding"`` writes what the run's method compared pictures by instead.
    """
    from foveal.evaluation.embed import embed as write_features

    return write_features(run_or_file, data, out, layer=layer)


def search(
    run_or_file: str | Path | Encoder,
    data: Any,
    query: Any,
    *,
    top: int = 8,
    layer: str = "pooled",
    out: str | Path | None = None,
) -> Search:
    """Finds the pictures of ``data`` most similar to each of ``query``.

    Args:
        run_or_file: A run folder, an exported file, or an Encoder.
        data: The pile to search.
        query: A picture, or several (folder, glob, list).
        top: How many to find for each.
        layer: ``pooled``, or ``embedding``: what the run's method compared pictures by.
        out: Also write an HTML page of the pictures.
    """
    from foveal.evaluation.search import search as find
    from foveal.report.search_page import write_search_page

    found = find(run_or_file, data, query, top=top, layer=layer)
    if out is not None:
        write_search_page(found, out)
    return found


def predict(
    run: str | Path, data: Any, *, crops: int = 1, turns: int = 1, out: str | Path | None = None
) -> Predictions:
    """The class of every picture, by the classifier a run with labels left.

    Args:
        run: A finished run of ``supervised`` or ``s4l``.
        data: Pictures.
        crops: 1: the centre view; 5: also the corners, logits averaged.
        turns: 1: upright; 4: averaged over quarter turns.
        out: Also write a .csv of name, label, probability: ``labels.predicted`` of another run.
    """
    from foveal.evaluation.predict import predict as predict_classes

    return predict_classes(run, data, crops=crops, turns=turns, out=out)


def export(run_or_file: str | Path, *, format: str, out: str | Path) -> ExportReport:
    """Writes a backbone for use elsewhere, after comparing its outputs with the original's.

    Args:
        run_or_file: A run folder or an exported file.
        format: ``timm`` (``timm.create_model`` loads it), ``torch`` (``torch.export``), ``onnx`` or
            ``hf`` (a Hugging Face style folder with a model card).
        out: The folder to write.
    """
    from foveal.exporting.formats import export as write_export

    return write_export(run_or_file, format=format, out=out)


def load(run_or_file: str | Path) -> Encoder:
    """The encoder of a run or of an exported file, in evaluation mode."""
    from foveal.exporting.weights import load_encoder

    return load_encoder(run_or_file)


def make_doom(out: str | Path, **arguments: Any) -> dict[str, Any]:
    """Renders the Doom world: see ``foveal.benchmarks.doom.make_doom``."""
    from foveal.benchmarks.doom import make_doom as render

    return render(out, **arguments)


def make_motion(video: str | Path, out: str | Path, **arguments: Any) -> Made:
    """Segments what moves in videos: see ``foveal.motion.make.make_motion``."""
    from foveal.motion.make import make_motion as segment_videos

    return segment_videos(video, out, **arguments)
