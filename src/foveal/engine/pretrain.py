"""From a pile of pictures and a wish to a trained run: resolve, scan, check, train."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from foveal.backbones.base import Backbone
from foveal.backbones.classifier import start_from
from foveal.backbones.encoder import Encoder
from foveal.backbones.loading import load_weights
from foveal.core.cores import share_cores
from foveal.data.badfiles import check_bad_share, write_bad_files
from foveal.data.kept import keep_decoded
from foveal.data.loader import Table
from foveal.data.scan import ScanReport, scan
from foveal.data.sources import Source, open_source
from foveal.engine.adapt import normalised_as_before
from foveal.engine.build import (
    build_method,
    build_table,
    check_channels,
    check_options,
    data_info,
    make_fabric,
    subset,
)
from foveal.engine.cachetier import as_recorded, check_ranks_agree, decided, pixels_of
from foveal.engine.labels import limited, seen_labels
from foveal.engine.plan import make_plan, options_for_domain, options_without_colour
from foveal.engine.runfolder import Outcome, RunFolder
from foveal.engine.screen import ProgressScreen
from foveal.engine.tensorboard import check_tensorboard
from foveal.engine.trainer import Trainer
from foveal.errors import FovealError
from foveal.methods import get_method
from foveal.methods.base import DataInfo, Method
from foveal.recipe import Labels, Recipe, override, validated
from foveal.recipes import get_recipe
from foveal.views.domains import get_domain


@dataclass(frozen=True)
class Trained:
    """What training left behind.

    Attributes:
        folder: The run folder.
        recipe: The resolved recipe.
        outcome: How it ended; None where the run was finished before.
        encoder: The trained encoder; None where the run was finished before.
        table: What it was trained on; None where the run was finished before.
        classifier: Of a method that learns classes: the layer on the encoder's features.
        embedding: Of a method that compares pictures by a linear layer on them: this layer.
    """

    folder: RunFolder
    recipe: Recipe
    outcome: Outcome | None
    encoder: Encoder | None
    table: Table | None
    classifier: nn.Linear | None = None
    embedding: nn.Linear | None = None


@dataclass(frozen=True)
class Wish:
    """What the user asked for; everything left open is chosen by the planner or the recipe.

    Attributes:
        method: A method's name.
        recipe: A recipe's name, ``method/variant``, or a Recipe.
        backbone: A trunk's name.
        epochs, minutes: The budget, one of them.
        init: Weights to start from.
        adapt: Continue carefully from ``init``, never to something worse.
        domain: A kind of pictures (``foveal.views.domains``), whose views are changed to fit.
        log: Where metrics go beside ``metrics.jsonl``: ``tensorboard``.
        changes: Nested recipe values, from ``key=value``.
    """

    method: str | None = None
    recipe: str | Recipe | None = None
    backbone: str | None = None
    epochs: float | None = None
    minutes: float | None = None
    init: str | None = None
    adapt: bool = False
    domain: str | None = None
    log: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.method and self.recipe:
            raise FovealError("--method and --recipe were both given", hint="one of them")
        if self.epochs is not None and self.minutes is not None:
            raise FovealError("--epochs and --minutes were both given", hint="one of them")
        known = self.init or self.changes.get("init") or getattr(self.recipe, "init", None)
        if self.adapt and not known:
            raise FovealError(
                "--adapt continues from good weights, and none were named",
                hint="--init with a file, a run folder or timm/NAME",
            )

    def explicit(self) -> dict[str, Any]:
        """The parts of a recipe that were asked for by name."""
        asked: dict[str, Any] = {}
        for name in ("epochs", "minutes", "init"):
            if getattr(self, name) is not None:
                asked[name] = getattr(self, name)
        if self.backbone is not None:
            asked["network"] = {"name": self.backbone}
        if self.adapt:
            asked["adapt"] = {}
        if self.log is not None:
            asked["machine"] = {"log": [self.log]}
        return asked


def train(
    data: Any, out: str | Path, wish: Wish, *, console: Console | None = None, quiet: bool = False
) -> Trained:
    """Trains, or continues, the run in ``out``.

    Args:
        data: Anything ``open_source`` takes.
        out: The run folder.
        wish: What the user asked for.
        console: Where progress goes.
        quiet: Say nothing.

    Returns:
        The run; ``outcome.finished`` is False when a stop signal ended it early.
    """
    folder = RunFolder(out)
    screen = ProgressScreen(console, quiet=quiet)
    source = open_source(data)
    if folder.exists:
        recipe = as_recorded(_requested(folder.recipe(), wish), folder.recipe())
        folder.check_same(recipe, source.fingerprint())
        if folder.finished:
            screen.say(f"{folder.path} is finished; nothing to do (another --out for a new run)")
            return Trained(folder, recipe, None, None, None)
    screen.say(f"scanning {source.root}: {len(source):,} files")
    report = scan(source)
    if folder.exists:
        reasons: list[str] = []
    else:
        recipe, reasons = resolve(wish, report, source)
    if recipe.channels not in (None, source.channels) or recipe.bits not in (None, source.bits):
        source = open_source(data, channels=recipe.channels, bits=recipe.bits)
        report = scan(source)
    check_bad_share(report.bad, report.scanned, recipe.max_bad)
    screen.say(_found(report, folder, get_method(recipe.method).needs_labels))
    recipe, why = decided(recipe, source)
    reasons += why
    if not folder.exists:
        recipe, why = normalised_as_before(recipe, source.channels)
        reasons += why
    for reason in reasons:
        screen.say(f"  {reason}")
    return _train(folder, recipe, source, report, reasons, screen)


def resolve(wish: Wish, report: ScanReport, source: Source) -> tuple[Recipe, list[str]]:
    """The recipe a wish comes to for the data at hand, and why."""
    if isinstance(wish.recipe, Recipe):
        return _requested(wish.recipe, wish), _about_domain(wish)
    if wish.recipe is not None:
        reasons = [f"recipe {wish.recipe}", *_about_domain(wish)]
        return _requested(get_recipe(wish.recipe), wish), reasons
    asked = {**wish.explicit(), **wish.changes}
    budget = {k: v for k in ("epochs", "minutes") if (v := asked.get(k)) is not None}
    plan = make_plan(
        report,
        method=wish.method,
        backbone=wish.backbone,
        budget=budget,
        labelled=_labelled(wish, report, source),
    )
    recipe, reasons = _requested(plan.recipe, wish), [*plan.reasons, *_about_domain(wish)]
    channels = recipe.channels or report.channels
    if channels != 3:
        options, off = options_without_colour(recipe.method, recipe.options)
        if off:
            recipe = recipe.model_copy(update={"options": options})
            what = "are grey" if channels == 1 else f"have {channels} channels"
            reasons.append(f"{', '.join(off)} off: the pictures {what}")
    return recipe, reasons


def _about_domain(wish: Wish) -> list[str]:
    return [] if wish.domain is None else [f"{wish.domain}: {get_domain(wish.domain).about}"]


def _labelled(wish: Wish, report: ScanReport, source: Source) -> int | None:
    """How many pictures a method that learns from labels will draw; None: it does not."""
    if wish.method is None or not get_method(wish.method).needs_labels or not report.classes:
        return None
    choice = validated(Labels, wish.changes.get("labels", {}), "labels")
    return int((seen_labels(choice, source, report.good)[0] >= 0).sum())


def _requested(recipe: Recipe, wish: Wish) -> Recipe:
    """A recipe with what the user asked for by name."""
    if wish.method is not None and wish.method != recipe.method:
        recipe = override(recipe, {"method": wish.method})
    if wish.domain is not None:
        options = options_for_domain(recipe.method, recipe.options, wish.domain)
        recipe = recipe.model_copy(update={"options": options})
    return override(override(recipe, wish.explicit()), wish.changes)


def _found(report: ScanReport, folder: RunFolder, needs_labels: bool) -> str:
    text = f"{len(report.good):,} pictures"
    if report.bad:
        text += f", {len(report.bad):,} unreadable files left out ({folder.bad_file})"
    if report.classes:
        text += f"; {len(report.classes)} classes"
        text += "" if needs_labels else ", used for evaluation only"
    return text


def _train(
    folder: RunFolder,
    recipe: Recipe,
    source: Source,
    report: ScanReport,
    reasons: list[str],
    screen: ProgressScreen,
) -> Trained:
    # Before the folder is made: what cannot start leaves nothing behind.
    check_options(recipe)
    if "tensorboard" in recipe.machine.log:
        check_tensorboard()
    fingerprint = source.fingerprint()
    report = subset(report, recipe.pictures, recipe.seed)
    source, texts = limited(recipe.labels, source, report.good, folder, screen.say)
    source = pixels_of(recipe, source, screen.say)
    start = recipe.init is not None and not folder.last.is_file()
    load = _loader(recipe, screen) if start else None
    hierarchy = texts.get(folder.hierarchy_file)
    method, table = _method_and_table(recipe, source, report, load, hierarchy)
    if start and recipe.init and start_from(method.classifiers(), source.classes, recipe.init):
        screen.say(f"classifier from {recipe.init}")
    check_channels(method, source.channels)
    turns = any(s.every != (1, 0) for s in method.streams().values())
    fabric = make_fabric(recipe, find_unused=turns)
    fabric.launch()
    check_ranks_agree(recipe)
    if fabric.global_rank != 0:
        screen = ProgressScreen(quiet=True)
    if fabric.global_rank == 0:
        if not folder.exists:
            summary = {
                "data": source.root,
                "fingerprint": fingerprint,
                "reasons": reasons,
                "scan": report.to_json(),
            }
            folder.create(recipe, summary, texts)
        write_bad_files(folder.bad_file, report.bad)
    fabric.barrier()
    here = _ranks_here(fabric.world_size)
    cores = share_cores(
        accelerator=torch.cuda.is_available(),
        ranks_here=here,
        total=recipe.machine.cores,
    )
    table = replace(
        table, kept=keep_decoded(source, table.image, recipe.machine.keep_decoded / here)
    )
    with folder.lock(fabric.global_rank == 0), screen:
        trainer = Trainer(
            method, recipe, table, folder, fabric, cores, screen, known_bad=report.bad
        )
        outcome = trainer.run()
    fabric.barrier()
    # In evaluation mode: whoever looks at the encoder now must not move its statistics.
    encoder = trainer.method.encoder().eval()
    classifier = next(iter(method.classifiers()), None)
    return Trained(folder, recipe, outcome, encoder, table, classifier, method.embedding())


def _method_and_table(
    recipe: Recipe,
    source: Source,
    report: ScanReport,
    load: Callable[[Backbone], None] | None,
    hierarchy: str | None,
) -> tuple[Method, Table]:
    """The method and its samples; built twice where these are not simply the images.

    ``Method.samples`` is asked once: it may read pictures.
    """

    def about(samples: int) -> DataInfo:
        return data_info(recipe, source, report, samples, hierarchy)

    method = build_method(recipe, about(len(report.good)), load)
    samples = method.samples(source)
    table = build_table(source, report, samples)
    if samples is not None:
        method = build_method(recipe, about(len(table)), load)
    return method, table


def _loader(recipe: Recipe, screen: ProgressScreen) -> Callable[[Backbone], None]:
    """Loads ``recipe.init`` into every trunk and tells once what matched."""
    said: set[str] = set()

    def load(backbone: Backbone) -> None:
        assert recipe.init is not None
        report = load_weights(
            backbone,
            recipe.init,
            min_share=recipe.init_min_share,
            channels=recipe.init_channels,
        )
        text = f"weights from {recipe.init}: {report}"
        if text not in said:
            said.add(text)
            screen.say(text)

    return load


def _ranks_here(world: int) -> int:
    return int(os.environ.get("LOCAL_WORLD_SIZE", world))
