"""What the contract tests share: pictures, and a finished tiny run of every method."""

import pytest
from cases import kind_of_data, tiny_recipe, write_frames_with_masks, write_pictures

import foveal


@pytest.fixture(scope="session")
def piles(tmp_path_factory):
    """What methods learn from: class folders of pictures, or frames with masks."""
    return {
        "pictures": write_pictures(tmp_path_factory.mktemp("pictures")),
        "masks": write_frames_with_masks(tmp_path_factory.mktemp("masks")),
    }


@pytest.fixture
def pictures(request, piles):
    """The pile that fits the method under test."""
    parameters = getattr(request.node, "callspec", None)
    name = parameters.params.get("name") if parameters else None
    return piles[kind_of_data(name)]


@pytest.fixture(scope="session")
def finished(tmp_path_factory, piles):
    """The run folder of a method, trained once per session without interruption."""
    runs = {}

    def of(name):
        if name not in runs:
            out = tmp_path_factory.mktemp("runs") / name.replace(":", "-")
            pile = piles[kind_of_data(name)]
            foveal.pretrain(pile, out, recipe=tiny_recipe(name), quiet=True)
            runs[name] = out
        return runs[name]

    return of
