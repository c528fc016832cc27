"""The resume law with real processes: killed at random moments, continued, bit-equal at the end."""

import multiprocessing
import os
import random
import signal
import time

import pytest
from cases import tiny_recipe
from test_contract import same, state

import foveal


def _pretrain(pictures, out, recipe):
    foveal.pretrain(pictures, out, recipe=recipe, quiet=True)


def kill_and_continue(name, pictures, tmp_path, kills, seed):
    """Kills the run ``kills`` times with SIGKILL, then lets it end; returns both final states."""
    # A checkpoint after every step, so that kills land in writes as well.
    machine = {"checkpoint_every": 1e-5, "cores": 1, "monitor_every": 1000.0, "log_every": 1}
    recipe = tiny_recipe(name, epochs=4.0 * kills, machine=machine)
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    # Children are forked from a process that has imported everything and computed nothing.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["foveal.verbs", "foveal.exporting.weights", "foveal.report.page"]
    )
    whole = context.Process(target=_pretrain, args=(pictures, straight, recipe))
    whole.start()
    whole.join()
    assert whole.exitcode == 0
    generator = random.Random(seed)
    done = 0
    while done < kills:
        child = context.Process(target=_pretrain, args=(pictures, killed, recipe))
        child.start()
        # The clock starts with the run's first sign of life, so kills fall into training.
        began = time.monotonic()
        before = _steps(killed)
        while _steps(killed) == before and child.is_alive() and time.monotonic() - began < 60:
            time.sleep(0.005)
        time.sleep(generator.random() * 0.2)
        assert child.is_alive(), "the run ended before it was killed often enough"
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        assert child.exitcode == -signal.SIGKILL
        done += 1
    last = context.Process(target=_pretrain, args=(pictures, killed, recipe))
    last.start()
    last.join()
    assert last.exitcode == 0
    return (state(x / "checkpoints" / "last.pt") for x in (straight, killed))


def _steps(run):
    log = run / "metrics.jsonl"
    return log.stat().st_size if log.is_file() else 0


@pytest.mark.parametrize(("name", "kills"), [("byol", 20), ("deepcluster", 3)])
def test_killed_at_random_moments(name, kills, pictures, tmp_path):
    same(*kill_and_continue(name, pictures, tmp_path, kills, seed=1))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", ["rotation", "simclr", "byol", "deepcluster"])
def test_killed_at_many_random_moments(name, seed, pictures, tmp_path):
    same(*kill_and_continue(name, pictures, tmp_path, 40, seed))
