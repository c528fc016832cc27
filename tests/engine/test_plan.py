"""The planner gives methods that cut tiles views in which tiles show something."""

import pytest
from cases import write_pictures

from foveal.data.scan import scan
from foveal.data.sources import open_source
from foveal.engine.plan import make_plan
from foveal.views.spec import View


@pytest.mark.parametrize("method", ["jigsaw", "relative_patch"])
def test_tiles_of_small_pictures_are_not_cut_from_smaller_views(method, tmp_path):
    report = scan(open_source(write_pictures(tmp_path, side=40)))
    plan = make_plan(report, method=method)
    view = View.model_validate(plan.recipe.options["view"])
    assert view.size == plan.recipe.evaluation.size == 72 and view.tiles.size >= 12
    assert any("cuts them into tiles" in reason for reason in plan.reasons)
    other = make_plan(report, method="rotation")
    assert other.recipe.evaluation.size < 72
