"""What a study finds in scores that are known."""

import math

import numpy as np
import pytest

from foveal.studies.findings import Score, find
from foveal.studies.grid import make_grid


def _scores(grid, value_of):
    return [Score(c, value_of(**{k.split(".")[-1]: v for k, v in c.values.items()}))
            for c in grid.cells()]  # fmt: skip


def test_data_scaling_finds_the_lines_of_two_widths():
    grid = make_grid(
        "data-scaling", sizes=[100, 200, 400, 800], widths=[0.5, 1.0], seeds=3, epochs=1
    )
    noise = {0: -0.01, 1: 0.0, 2: 0.01}
    found = find(
        grid,
        _scores(
            grid, lambda pictures, width, seed, **_:
            0.1 + 0.1 * width * math.log10(pictures) + noise[seed],
        ),
    )  # fmt: skip
    assert [line.name for line in found.lines] == ["rotation, width 0.5", "rotation, width 1"]
    for line, slope in zip(found.lines, (0.05, 0.1), strict=True):
        assert line.fit.b == pytest.approx(slope) and line.fit.a == pytest.approx(0.1)
        assert line.slopes == pytest.approx([slope] * 3)
        low, high = line.fit.interval
        assert low < slope < high and line.fit.points == 12
        assert line.x == [100, 200, 400, 800] and [len(s) for s in line.scores] == [3] * 4
    (table,) = found.tables
    assert table.rows == ["rotation, width 0.5", "rotation, width 1"] and not table.reversals


def test_the_golden_line_of_jft():
    grid = make_grid("data-scaling", sizes=[10, 30, 100, 300], seeds=1, epochs=1)
    score = dict(zip((10, 30, 100, 300), (30.0, 32.0, 34.2, 36.1), strict=True))
    (line,) = find(grid, _scores(grid, lambda pictures, **_: score[pictures])).lines
    assert line.fit.b == pytest.approx(4.138320, abs=1e-6)
    assert line.fit.a == pytest.approx(25.880280, abs=1e-6)
    assert line.fit.r2 == pytest.approx(0.999846, abs=1e-6)


def test_architectures_finds_an_interaction_and_who_changes_places():
    grid = make_grid(
        "architectures", methods=["rotation", "jigsaw"], backbones=["resnet18", "vgg11"],
        seeds=3, epochs=1,
    )  # fmt: skip
    mean = {("rotation", "resnet18"): 0.5, ("rotation", "vgg11"): 0.3,
            ("jigsaw", "resnet18"): 0.3, ("jigsaw", "vgg11"): 0.4}  # fmt: skip
    found = find(grid, _scores(grid, lambda method, name, seed: mean[method, name] + seed / 100))
    (table,) = found.tables
    assert table.rows == ["rotation", "jigsaw"] and table.columns == ["resnet18", "vgg11"]
    assert np.allclose(table.means, [[0.51, 0.31], [0.31, 0.41]])
    (change,) = table.reversals
    assert (change.better, change.worse, change.row) == ("resnet18", "vgg11", "rotation")
    assert change.clear and table.pairs == 1
    # By hand: effects .025 (rows .05**2 x 12 ...), interaction .075, spread .01 over three seeds.
    assert sum(table.shares.values()) == pytest.approx(1)
    assert table.f == pytest.approx(12 * 0.075**2 / 1e-4) and table.p < 1e-6


def test_without_seeds_nothing_is_said_of_chance():
    grid = make_grid(
        "architectures", methods=["rotation", "jigsaw"], widths=[0.5, 1.0], seeds=1, epochs=1
    )
    scores = _scores(grid, lambda method, width, **_: width if method == "jigsaw" else -width)
    (table,) = find(grid, scores).tables
    assert table.p is None and table.shares["seeds"] == 0
    assert len(table.reversals) == 1 and not table.reversals[0].clear
    (table,) = find(grid, scores[:3]).tables
    assert table.shares is None and table.pairs == 0 and np.isnan(table.means[1, 1])


def test_hardness_fits_over_the_knob():
    grid = make_grid("hardness", widths=[0.5, 1.0], seeds=2, epochs=1)
    found = find(grid, _scores(grid, lambda permutations, width, **_:
                               width * math.log10(permutations)))  # fmt: skip
    assert found.axis == "options.permutations"
    assert [line.fit.b for line in found.lines] == pytest.approx([0.5, 1.0])
    assert found.tables[0].columns == ["20", "100", "500", "2000"]
    assert found.to_json()["tables"][0]["f"] is None  # seeds did not differ at all
