"""The command line is a promise: this file changes when it is meant to change."""

import importlib
import inspect
import os
import pkgutil
import subprocess
import sys

import pytest
import typer
from typer.main import get_command

from foveal.cli import app

SURFACE = {
    "scan": {"data", "--json"},
    "pretrain": {
        "data", "changes", "--out", "--method", "--recipe", "--backbone", "--epochs", "--minutes",
        "--init", "--adapt", "--domain", "--log",
    },
    "evaluate": {
        "run_or_file", "changes", "--data", "--protocol", "--suite", "--k", "--select", "--layer",
        "--labels", "--tuning", "--seed", "--finetune", "--json",
    },
    "compare": {"runs", "--out", "--json"},
    "embed": {"run_or_file", "--data", "--out", "--layer"},
    "search": {"run_or_file", "query", "--data", "--top", "--layer", "--out", "--json"},
    "predict": {"run", "--data", "--out", "--crops", "--turns"},
    "export": {"run_or_file", "--format", "--out"},
    "study": {
        "kind", "data", "changes", "--out", "--method", "--backbone", "--width", "--sizes",
        "--axis", "--seeds", "--recipe", "--epochs", "--equal", "--labelled", "--measure",
        "--dry-run", "--json",
    },
    "recipes": {"name", "--json"},
    "bench data": {"data", "--size", "--json"},
    "data doom": {"out", "--what", "--size", "--seed"},
    "data motion": {"video", "out"},
}  # fmt: skip


def _leaves(command, prefix=""):
    for name, child in command.commands.items():
        if hasattr(child, "commands"):
            yield from _leaves(child, f"{prefix}{name} ")
        else:
            yield prefix + name, child


def test_the_verbs_and_their_options_are_these():
    found = {
        name: {p.opts[0] for p in command.params if p.name != "help"}
        for name, command in _leaves(get_command(app))
    }
    assert found == SURFACE


def test_every_option_says_what_it_does():
    for name, command in _leaves(get_command(app)):
        assert command.help, name
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{name} {parameter.name}"


def test_the_shell_and_python_have_the_same_verbs():
    import foveal

    # Importing every module must not put a package in the place of a verb.
    for module in pkgutil.walk_packages(foveal.__path__, "foveal."):
        if not module.name.endswith(("__main__", "worker")):
            importlib.import_module(module.name)
    assert isinstance(app, typer.Typer)
    for verb in (
        "bench_data",
        "compare",
        "scan",
        "pretrain",
        "evaluate",
        "embed",
        "export",
        "predict",
        "load",
        "make_doom",
        "make_motion",
        "search",
        "study",
    ):
        assert inspect.isfunction(getattr(foveal, verb)), verb


@pytest.mark.parametrize(
    ("own", "kept"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "active"}, "active")]
)
def test_threads_wait_asleep_unless_the_user_says_otherwise(own, kept):
    shown = "import sys, os, foveal; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    clean = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    found = subprocess.run(
        [sys.executable, "-c", shown], env=clean | own, capture_output=True, text=True, check=True
    )
    # Set before torch is loaded: later it is not read.
    assert found.stdout.split() == [kept, "False"]
