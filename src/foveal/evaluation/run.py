"""The verb ``evaluate``: protocols over one encoder and one labelled data set."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.backbones.embedding import at_layer
from foveal.backbones.encoder import Encoder
from foveal.core.files import read_json, write_json
from foveal.data.splits import load_splits
from foveal.engine.runfolder import RunFolder
from foveal.engine.screen import ProgressScreen
from foveal.errors import FovealError
from foveal.evaluation.asked import Asked
from foveal.evaluation.bench import Bench
from foveal.evaluation.changes import changes_of
from foveal.evaluation.features import Store, on_accelerator
from foveal.evaluation.finetune import parse_labels
from foveal.evaluation.own_data import OWN_DATA, own_settings
from foveal.evaluation.protocols import TUNED, check_fits, check_reads_pooled, get_protocol
from foveal.evaluation.result import Result
from foveal.evaluation.settings import ProbeSettings
from foveal.evaluation.suites import DEFAULT, LABELS
from foveal.evaluation.tuning import Tuning, get_tuning
from foveal.exporting.weights import load_encoder, read_about
from foveal.recipe import validated

if TYPE_CHECKING:
    from rich.console import Console

WORLD = ("objects", "scenes")
"""Parts of what ``foveal data doom`` writes that have labels."""


def evaluate(
    run_or_file: str | Path | Encoder,
    data: Any,
    *,
    protocols: Sequence[str] = DEFAULT,
    seed: int = 0,
    k: int = 20,
    select: str = "cv",
    layer: str = "pooled",
    labels: Sequence[str | float] = LABELS,
    tuning: str | Tuning = "small",
    changes: Mapping[str, Any] | None = None,
    console: Console | None = None,
    quiet: bool = True,
) -> list[Result]:
    """Measures a network beside random initialisation and raw pixels or a trivial prediction.

    The test split is measured on once and chooses nothing. Features are kept in ``RUN/features``
    (which may be deleted at any time), results in ``RUN/results/<protocol>.json`` (or beside an
    exported folder's weights): those of the same weights on other data, and of its embedding, stay,
    everything else there is replaced.

    Args:
        run_or_file: A run folder, an exported file, or an Encoder.
        data: See ``foveal.data.splits.load_splits``; for what is asked of every pixel
            ``foveal.data.scenes.open_scenes``; for ``matching`` pictures or sequences.
        protocols: Of ``foveal.evaluation.protocols.PROTOCOLS`` and
            ``foveal.evaluation.own_data.OWN_DATA``.
        seed: Of splits, intervals and, where the file does not say, the random initialisation.
        k: Neighbours of kNN.
        select: ``cv``, or ``oracle``: ``svm_lowshot`` chooses on the test pictures.
        layer: ``pooled``, or ``embedding``: what the run's method compared pictures by.
        labels: See ``parse_labels``.
        tuning: How networks are fine-tuned: a recipe or its name.
        changes: Settings of the protocols that train: values of the recipe of that name, and of
            those on scenes, e.g. ``{"finetune": True, "epochs": 8}``; each takes what it knows.
        console: Where the progress of fine-tuning is shown; None is standard error.
        quiet: Show nothing.

    Raises:
        FovealError: An unknown protocol or choice, data without labels, a network that evaluation
            changes.
    """
    if select not in ("cv", "oracle"):
        raise FovealError(f"select={select!r}: what costs are chosen on", hint="cv or oracle")
    names = list(dict.fromkeys(protocols))
    steps = {name: get_protocol(name) for name in names if name not in OWN_DATA}
    own = changes_of(names, changes)
    settings = {name: own_settings(name, own[name]) for name in names if name in OWN_DATA}
    of_probes = next((own[name] for name in steps if name not in TUNED), {})
    if not isinstance(tuning, Tuning):
        tuning = get_tuning(tuning, next((own[name] for name in names if name in TUNED), None))
    subsets = parse_labels([str(value) for value in labels], seed)
    folder = run_of(run_or_file)
    kept = None if isinstance(run_or_file, Encoder) else results_folder(run_or_file)
    encoder = encoder_of(run_or_file, layer)
    if layer != "pooled":
        check_reads_pooled(names)
    init_seed = _init_seed(run_or_file, seed)
    model = "encoder" if isinstance(run_or_file, Encoder) else str(run_or_file)
    say = ProgressScreen(console, quiet=quiet).say
    results: list[Result] = []
    with store_of(folder) as store:
        if steps:
            if len(parts := world_parts(data)) > 1:
                raise FovealError(
                    f"{data} holds several data sets",
                    hint=f"--data {parts[0]}; or --suite doom for all of them",
                )
            train, test = load_splits(data, seed=seed, channels=encoder.channels)
            bench = Bench(
                encoder, train, test, store, seed=seed, init_seed=init_seed, k=k, select=select,
                model=model, labels=subsets, tuning=tuning, results=kept, console=console,
                quiet=quiet, settings=validated(ProbeSettings, of_probes, "a probe"),
            )  # fmt: skip
            for name in steps:
                check_fits(name, bench)
        for i, name in enumerate(names, 1):
            if len(names) > 1:
                say(f"measuring {name} ({i} of {len(names)})")
            if name in settings:
                asked = Asked(encoder, data, store, seed, init_seed, model, console, quiet)
                found = OWN_DATA[name].run(asked, settings[name])
            else:
                found = steps[name](bench)
            if kept is not None:
                for protocol, some in groupby(found, lambda r: r.protocol):
                    _keep(kept / f"{protocol}.json", list(some))
            results += found
    return results


def encoder_of(run_or_file: str | Path | Encoder, layer: str = "pooled") -> Encoder:
    """The encoder of a run or file, its features those of a layer, where it runs fastest."""
    if isinstance(run_or_file, Encoder):
        if layer != "pooled":
            raise FovealError(f"an Encoder has no layer '{layer}'", hint="a run folder")
        return run_or_file
    return on_accelerator(at_layer(load_encoder(run_or_file), run_or_file, layer))


def world_parts(data: Any) -> list[str]:
    """The labelled sets in the folder of a Doom world, which would be taken for classes."""
    if not isinstance(data, str | Path) or (Path(data).expanduser() / "train").is_dir():
        return []
    parts = [Path(data).expanduser() / name for name in WORLD]
    # A class may be called so, too; it holds pictures.
    marks = ("META.json", "train", "ImageSets")
    return [str(part) for part in parts if any((part / mark).exists() for mark in marks)]


def _init_seed(run_or_file: str | Path | Encoder, seed: int) -> int:
    """The seed of the run the weights come from, where their file says."""
    if isinstance(run_or_file, Encoder):
        return seed
    return int(read_about(run_or_file).get("recipe", {}).get("seed", seed))


def run_of(run_or_file: str | Path | Encoder) -> RunFolder | None:
    """The run folder, if it is one."""
    if isinstance(run_or_file, Encoder):
        return None
    folder = RunFolder(run_or_file)
    return folder if folder.exists else None


def results_folder(run_or_file: str | Path) -> Path | None:
    """Where results are kept: in a run or an exported folder; beside a single file they are not."""
    path = Path(run_or_file)
    return RunFolder(path).results if path.is_dir() else None


@contextmanager
def store_of(folder: RunFolder | None) -> Iterator[Store]:
    """The run's feature store, or one that is gone afterwards."""
    if folder is not None:
        yield Store(folder.features)
        return
    with tempfile.TemporaryDirectory(prefix="foveal-features-") as temporary:
        yield Store(Path(temporary))


def _keep(path: Path, found: Sequence[Result]) -> None:
    """Writes results of one protocol beside those of the same weights on other data or layers."""
    new = [r.to_json() for r in found]
    old = read_json(path) if path.is_file() else []
    kept = [r for r in old if _about(r)[0] == _about(new[0])[0] and _about(r) != _about(new[0])]
    write_json(path, kept + new)


def _about(result: dict[str, Any]) -> tuple[str, str, bool]:
    """(weights, test data, whether of the embedding) of a result."""
    about = result["configuration"]
    embedded = about.get("layer") == "embedding"
    return about["weights"], about["data"]["test"]["fingerprint"], embedded
