"""What the contract tests share: pictures, and a finished tiny run of every method."""

import pytest
from cases import tiny_recipe, write_pictures

import foveal


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory, pictures):
    """The run folder of a method, trained once per session without interruption."""
    runs = {}

    def of(name):
        if name not in runs:
            out = tmp_path_factory.mktemp("runs") / name.replace(":", "-")
            foveal.pretrain(pictures, out, recipe=tiny_recipe(name), quiet=True)
            runs[name] = out
        return runs[name]

    return of
