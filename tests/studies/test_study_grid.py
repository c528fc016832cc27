"""Which runs a study is made of."""

import pytest

from foveal.errors import FovealError
from foveal.studies.grid import make_grid, parse_axes


def test_small_data_are_seen_for_as_many_steps_or_as_many_epochs():
    steps = make_grid("data-scaling", sizes=[100, 400], seeds=2, epochs=3).cells()
    assert [(c.values["seed"], c.recipe.pictures, c.recipe.epochs) for c in steps] == [
        (0, 100, 12.0), (0, 400, 3.0), (1, 100, 12.0), (1, 400, 3.0)
    ]  # fmt: skip
    assert len({c.pictures_seen for c in steps}) == 1
    equal = make_grid("data-scaling", sizes=[100, 400], epochs=3, equal="epochs").cells()
    assert {c.recipe.epochs for c in equal} == {3.0}


def test_sizes_are_parts_of_what_there_is():
    grid = make_grid("data-scaling", pictures=800)
    assert grid.axes["pictures"] == (100, 200, 400, 800) and len(grid.cells()) == 12


def test_every_recipe_key_can_be_an_axis():
    """Noise on purpose in labels of many classes, as in the JFT study's setting."""
    axes = parse_axes(["labels.flip=0,0.2,0.4", "options.loss=sigmoid"])
    assert axes == {"labels.flip": [0, 0.2, 0.4], "options.loss": ["sigmoid"]}
    cells = make_grid(
        "data-scaling", methods=["supervised"], sizes=[50, 100], seeds=1, axes=axes, epochs=1,
        changes={"labels": {"hierarchy": "tree.csv", "drop": 0.1}},
    ).cells()  # fmt: skip
    assert sorted({c.recipe.labels.flip for c in cells}) == [0, 0.2, 0.4]
    assert all(c.recipe.labels.hierarchy == "tree.csv" for c in cells)
    assert all(c.recipe.labels.drop == 0.1 for c in cells)
    assert all(c.recipe.options["loss"] == "sigmoid" for c in cells)
    assert len({c.name for c in cells}) == len(cells) == 6
    assert cells[0].group("pictures") == "supervised, flip 0, loss sigmoid"


def test_hardness_knows_the_papers_knobs():
    cells = make_grid("hardness", widths=[0.5, 1.0], seeds=1, epochs=1).cells()
    assert {c.recipe.options["permutations"] for c in cells} == {20, 100, 500, 2000}
    assert {c.recipe.network.width for c in cells} == {0.5, 1.0}
    colour = make_grid("hardness", methods=["colorization"], seeds=1, epochs=1)
    assert "options.neighbours" in colour.axes


@pytest.mark.parametrize(
    "kind, values, words",
    [
        ("scaling", {}, "there is no study 'scaling'"),
        ("data-scaling", {"sizes": [100]}, "no line through one size"),
        ("data-scaling", {"sizes": [1, 2], "equal": "time"}, "equal='time'"),
        ("data-scaling", {"sizes": [1, 2], "seeds": 0}, "0 seeds"),
        ("data-scaling", {"sizes": [1, 2], "widths": [1.0, 1.0]}, "given twice"),
        ("architectures", {"methods": ["rotation"]}, "two methods and two networks"),
        ("hardness", {"methods": ["byol"]}, "what makes byol harder"),
    ],
)
def test_what_cannot_answer_the_question_is_refused(kind, values, words):
    with pytest.raises(FovealError, match=words):
        make_grid(kind, **values)


def test_unknown_values_are_refused_before_anything_runs():
    with pytest.raises(FovealError, match="no 'optins"):
        make_grid("hardness", axes={"optins.permutations": [1, 2]}).cells()
    with pytest.raises(FovealError, match="there is no recipe 'rotation/huge'"):
        make_grid("data-scaling", sizes=[1, 2], recipe="huge").cells()
    with pytest.raises(FovealError, match="is no axis"):
        parse_axes(["labels.flip"])
