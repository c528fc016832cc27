"""The loop: draw, forward, loss, step, and between steps everything that can be told about it."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from foveal.backbones.batchnorm import convert_batchnorm
from foveal.core import ranks
from foveal.core.cores import Cores
from foveal.core.progress import Progress
from foveal.data.badfiles import BadFile, check_bad_share, write_bad_files
from foveal.data.loader import BadFiles, Loader, Table
from foveal.engine.adapt import Guard
from foveal.engine.budget import Budget
from foveal.engine.build import ForwardOnly, stream_plans
from foveal.engine.checkpoint import load_checkpoint, save_checkpoint
from foveal.engine.featurepass import DiskFeaturePass
from foveal.engine.gradients import Gradients, check_micro_batches
from foveal.engine.logbook import Logbook
from foveal.engine.monitors import Monitor, refresh_log
from foveal.engine.optim import (
    build_optimisers,
    drop_state,
    learning_rate,
    peak_learning_rate,
    set_learning_rates,
)
from foveal.engine.readback import Readback
from foveal.engine.runfolder import Outcome, RunFolder
from foveal.engine.screen import ProgressScreen
from foveal.engine.signals import StopSignals
from foveal.engine.tensorboard import TensorBoard
from foveal.errors import FovealError
from foveal.methods.base import Method
from foveal.recipe import Recipe

# Among a step's numbers, beside what the method logs.
_LOSS, _STOP = "(loss)", "(stop)"


class Trainer:
    """One run of one recipe.

    Args:
        method: Built, on the CPU, same weights on every rank.
        recipe: What to do.
        table: The samples.
        folder: Where everything is written (by rank 0).
        fabric: Devices and ranks, launched.
        cores: Threads for the loader and for torch.
        screen: What a person sees.
        known_bad: Files the scan found bad; those found later are added to bad_files.csv.
    """

    def __init__(
        self,
        method: Method,
        recipe: Recipe,
        table: Table,
        folder: RunFolder,
        fabric: Fabric,
        cores: Cores,
        screen: ProgressScreen,
        known_bad: list[BadFile],
    ) -> None:
        self.recipe, self.table, self.folder = recipe, table, folder
        self.fabric, self.screen, self.known_bad = fabric, screen, known_bad
        self.rank, self.world = fabric.global_rank, fabric.world_size
        torch.set_num_threads(cores.compute)
        self.method = method
        if self.world > 1:
            convert_batchnorm(method)
        self.streams = method.streams()
        self.plans = {p.name: p for p in stream_plans(self.streams, recipe.batch)}
        check_micro_batches(recipe, method, self.plans, self.world)
        self.module = fabric.setup_module(ForwardOnly(self.method))
        self.gradients = Gradients(self.module, method, fabric, recipe)
        self.optimisers = build_optimisers(self.method, recipe)
        self.peak = peak_learning_rate(recipe)
        main = self.plans[next(name for name, s in self.streams.items() if s.counts_epoch)]
        self.samples, self.batch = table.drawn_by(main), main.batch
        self.threads = cores.loader
        self.bad = BadFiles()
        self.book = Logbook(
            folder,
            screen,
            batch=self.batch,
            steps_per_epoch=self.steps_per_epoch,
            every=recipe.machine.log_every,
            # Steps until every stream was drawn.
            period=max(s.every[0] for s in self.streams.values()),
            writes=self.rank == 0,
        )
        self.readback = Readback(fabric.device)
        self.stop_after = math.inf
        self.monitor = Monitor(
            table,
            size=recipe.evaluation.size,
            fraction=recipe.evaluation.fraction,
            seed=recipe.seed,
            threads=self.threads,
            against_start=recipe.adapt is not None,
        )
        self.guard = Guard(recipe.adapt, folder)
        self.step = 0
        self.refreshes = 0
        self.best = -math.inf
        self.checked_bad = False
        self.budget = self._new_budget()

    # -- the loop ------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Trains from where the run folder stands to the end, or to a stop signal."""
        self._restore()
        listeners = [TensorBoard] if "tensorboard" in self.recipe.machine.log else []
        self.book.open(self.step or -1, listeners)
        loader = Loader(
            self.table,
            list(self.plans.values()),
            seed=self.recipe.seed,
            threads=self.threads,
            prefetch=self.recipe.machine.prefetch,
            in_turn=self.fabric.device.type == "cpu",
            rank=self.rank,
            world=self.world,
            pin=self.fabric.device.type == "cuda",
            bad=self.bad,
        )
        feature_pass = DiskFeaturePass(
            self.method,
            self.table,
            device=self.fabric.device,
            batch=self.recipe.batch,
            threads=self.threads,
            seed=self.recipe.seed,
            autocast=self.fabric.autocast,
            bad=self.bad,
        )
        self.budget.start()
        self._last_checkpoint = time.monotonic()
        with loader, StopSignals() as signals:
            try:
                self._set_groups(loader)
                if self.step == 0:
                    if facts := self.method.facts():
                        self.book.log({"kind": "facts", "step": 0, **facts})
                    self._look(loader)
                while self.step < self.budget.steps and not self.guard.gave_up:
                    progress = self._progress()
                    if self.method.refresh_due(progress):
                        self._refresh(loader, feature_pass, progress)
                        progress = self._progress()
                    self._step(loader, progress, stop=signals.caught is not None)
                    self.step += 1
                    self.book.meter.add(loader.waited)
                    self._hear()
                    if self._crossed(self.recipe.machine.monitor_every):
                        self._look(loader)
                    self._plan()
                    if stopped := self._agreed(signals.caught is not None):
                        break
                    self._checkpoint_if_due()
                else:
                    stopped = False
                self._notice_bad_files(final=True)
                self._save(self.folder.last)
                if not stopped and not self._crossed(self.recipe.machine.monitor_every):
                    self._look(loader)
                kept = None if stopped else self.guard.put_back(self.method, self.best)
                if kept is not None:
                    self.book.warn(self.step, kept)
            finally:
                feature_pass.close()
                self.book.close()
        return Outcome(
            finished=not stopped,
            steps=self.step,
            seen=self.step * self.batch,
            seconds=self.budget.used,
            stopped_by=signals.caught if stopped else None,
            kept=kept,
        )

    def _step(self, loader: Loader, progress: Progress, *, stop: bool) -> None:
        """One optimiser step; what it says is read later (``_hear``)."""
        batch = {name: b.to(self.fabric.device) for name, b in loader.get(self.step).items()}
        due = {self.streams[name].optimiser for name in batch}
        set_learning_rates(self.optimisers, progress.lr, self.peak, self._epoch_now())
        done = self.gradients(batch, progress)
        for name in sorted(due):
            self._clip(name)
            self.optimisers[name].step()
        for optimiser in self.optimisers.values():
            optimiser.zero_grad(set_to_none=True)
        rows = {k: self._join([d.rows[k] for d in done]) for k in done[0].rows}
        means = {k: ranks.mean_over_ranks(_mean([d.means[k] for d in done])) for k in done[0].means}
        self.method.after_step(rows, means, progress)
        numbers = {k: _mean([d.log[k].detach().float() for d in done]) for k in done[0].log}
        numbers[_LOSS] = _mean([d.loss.detach() for d in done])
        numbers[_STOP] = torch.full_like(numbers[_LOSS], float(stop))
        self.readback.put(progress, numbers)

    def _join(self, parts: list[Tensor]) -> Tensor:
        """Rows of the whole global batch, in sample order."""
        return ranks.gather_rows(torch.cat([p.detach() for p in parts]))

    def _clip(self, name: str) -> None:
        if self.recipe.clip is not None:
            parameters = [p for g in self.optimisers[name].param_groups for p in g["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, self.recipe.clip, foreach=True)

    # -- where the run stands ------------------------------------------------------------------

    @property
    def steps_per_epoch(self) -> float:
        """Steps in one pass over the samples; not a whole number in general."""
        return self.samples / self.batch

    def _epoch_now(self) -> float:
        return self.step / self.steps_per_epoch

    def _progress(self) -> Progress:
        seen = self.step * self.batch
        return Progress(
            step=self.step,
            steps=self.budget.steps,
            epoch=seen // self.samples,
            epochs=self.recipe.epochs or self.budget.steps / self.steps_per_epoch,
            position=seen,
            seen=seen,
            refreshes=self.refreshes,
            lr=learning_rate(
                self.recipe.schedule, self.peak, self.step, self.budget.steps, self.steps_per_epoch
            ),
        )

    def _crossed(self, epochs: float) -> bool:
        """Whether the step just done ended a stretch of that many epochs."""
        now, before = self._epoch_now() / epochs, (self.step - 1) / self.steps_per_epoch / epochs
        return math.floor(now + 1e-9) > math.floor(before + 1e-9)

    def _new_budget(self, elapsed: float = 0.0, steps: int | None = None) -> Budget:
        if self.recipe.minutes is not None:
            return Budget.of_minutes(self.recipe.minutes, elapsed, steps)
        assert self.recipe.epochs is not None
        return Budget.of_epochs(self.recipe.epochs, self.samples, self.batch, elapsed)

    def _plan(self) -> None:
        """A new number of steps from the measured speed; rank 0 decides."""
        if self.budget.seconds is None:
            return
        planned = self.budget.plan(self.step)
        if self.world > 1:
            self.budget.steps = int(self.fabric.broadcast(self.budget.steps))
        if planned is not None:
            used = round(self.budget.used, 1)
            self.book.log({"kind": "plan", "step": self.step, "steps": planned, "seconds": used})

    def _refresh(self, loader: Loader, run: DiskFeaturePass, progress: Progress) -> None:
        began = time.monotonic()
        done = self.method.refresh(run, progress)
        drop_state(self.optimisers, done.redrawn)
        self.refreshes += 1
        self._set_groups(loader)
        record = {"kind": "refresh", "step": self.step, **refresh_log(done, self.table, began)}
        self.book.log(record)

    def _set_groups(self, loader: Loader) -> None:
        groups = self.method.sample_groups()
        if isinstance(groups, dict):
            loader.set_groups({stream: g.cpu().numpy() for stream, g in groups.items()})
        elif groups is not None:
            loader.set_groups(groups.cpu().numpy())

    def _agreed(self, stop: bool) -> bool:
        """Whether all ranks stop here: at the same step, once any of them was asked to."""
        return stop if self.world == 1 else self.step >= self.stop_after

    # -- telling and watching ------------------------------------------------------------------

    def _hear(self, *, all: bool = False) -> None:
        """Numbers that have arrived; all before anything is saved or measured."""
        for progress, numbers in self.readback.take(all=all):
            loss, stop = numbers.pop(_LOSS), numbers.pop(_STOP)
            if not math.isfinite(loss):
                self._stop_on_nan(loss, progress.step)
            if stop > 0:
                # Not before: other ranks may hear of it that late.
                self.stop_after = min(self.stop_after, progress.step + 1 + self.readback.lag)
            self.book.step(progress, loss, numbers, self.budget, self.method.trivial_losses())

    def _look(self, loader: Loader) -> None:
        """Health and online probe; keeps the best checkpoint by the probe."""
        self._hear(all=True)
        began = time.monotonic()
        found = self.monitor.look(self.method.encoder(), self.method)
        self._exclude(time.monotonic() - began)
        if self.world > 1:
            # What is decided on it is decided alike.
            found = self.fabric.broadcast(found)
        self.guard.see(self._epoch_now(), found)
        quality = self.guard.quality(found)
        position = {"step": self.step, "epoch": round(self._epoch_now(), 4)}
        knn = found.pop("knn", None)
        self.book.log({"kind": "monitor", **position, **found})
        if knn is not None:
            self.book.log({"kind": "online", **position, "knn": knn})
        if self.step == 0 and self.recipe.adapt is not None:
            self._save(self.folder.start, {"features": self.monitor.start})
        if self.step > 0 and quality is not None and quality > self.best:
            self.best = quality
            self._save(self.folder.best)
        for text in self.book.watch.health(found) if self.step > 0 else ():
            self.book.warn(self.step, text)

    def _exclude(self, seconds: float) -> None:
        """Neither the plan nor the speed shown counts the last ``seconds``."""
        self.budget.exclude(seconds)
        self.book.meter.exclude(seconds)

    def _notice_bad_files(self, *, final: bool = False) -> None:
        """Writes files found bad meanwhile; after the first epoch the share is checked again."""
        found = [b for each in ranks.gather_objects(self.bad.list()) for b in each]
        bad = list({b.name: b for b in [*self.known_bad, *found]}.values())
        if found and self.rank == 0:
            write_bad_files(self.folder.bad_file, bad)
        if not self.checked_bad and (final or self._epoch_now() >= 1):
            self.checked_bad = True
            total = len(self.table.source)
            check_bad_share(bad, total, self.recipe.max_bad, self.folder.bad_file)

    # -- saving and restoring ------------------------------------------------------------------

    def _checkpoint_if_due(self) -> None:
        machine = self.recipe.machine
        if self._crossed(1.0):
            self._notice_bad_files()
        if machine.keep_every and self._crossed(machine.keep_every):
            self._save(self.folder.checkpoints / f"step-{self.step}.pt")
        if time.monotonic() - self._last_checkpoint >= machine.checkpoint_every * 60:
            self._save(self.folder.last)

    def _save(self, path: Path, more: dict[str, Any] | None = None) -> None:
        self._hear(all=True)
        began = time.monotonic()
        if self.rank == 0:
            state = {
                "step": self.step,
                "steps": self.budget.steps,
                "refreshes": self.refreshes,
                "best": self.best,
                "guard": self.guard.state(),
                "elapsed": self.budget.used,
                "checked_bad": self.checked_bad,
                "method": self.method.state_dict(),
                "optimisers": {k: o.state_dict() for k, o in self.optimisers.items()},
            }
            save_checkpoint(path, {**state, **(more or {})})
        self._last_checkpoint = time.monotonic()
        self._exclude(self._last_checkpoint - began)

    def _restore(self) -> None:
        if not self.folder.last.is_file():
            return
        state = load_checkpoint(self.folder.last)
        self.method.load_state_dict(state["method"])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        self.step, self.refreshes = state["step"], state["refreshes"]
        self.best, self.checked_bad = state["best"], state["checked_bad"]
        self.guard.load(state.get("guard", {}))
        if self.recipe.adapt is not None:
            self.monitor.start = load_checkpoint(self.folder.start)["features"]
        self.budget = self._new_budget(state["elapsed"], state["steps"])
        if self.rank == 0:
            self.screen.say(f"continuing after step {self.step} of {self.budget.steps}")

    def _stop_on_nan(self, loss: float, step: int) -> None:
        """Stops without saving: weights and batch-norm statistics have seen the broken step."""
        self.book.log({"kind": "warning", "step": step, "text": f"the loss became {loss}"})
        saved = self.folder.last.is_file()
        good = load_checkpoint(self.folder.last)["step"] if saved else 0
        raise FovealError(
            f"the loss became {loss} at step {step}; the last good state, after step {good}, "
            f"is in {self.folder.last if saved else 'no checkpoint: the start'}",
            hint="a lower optimiser.lr, clip=1.0 or machine.precision=32, in a new --out",
        )


def _mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean(0)
