"""The planner gives a method views that suit its tiles and the kind of pictures."""

import pytest
from cases import write_pictures

from foveal.data.scan import scan
from foveal.data.sources import open_source
from foveal.engine.plan import make_plan, options_for_domain
from foveal.engine.pretrain import Wish, resolve
from foveal.errors import FovealError
from foveal.methods import get_method, list_methods
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


@pytest.mark.parametrize("wish", [Wish(epochs=4), Wish(changes={"epochs": 4})])
def test_the_plan_is_made_for_the_length_that_is_asked_for(wish, tmp_path):
    """By option or by key=value: a warm-up planned for another length may outlast the run."""
    source = open_source(write_pictures(tmp_path, side=40))
    recipe, reasons = resolve(wish, scan(source), source)
    assert (recipe.epochs, recipe.schedule.warmup) == (4, 0.2)
    assert not any("epochs" in reason for reason in reasons)


@pytest.mark.parametrize("epochs", ["many", [1], 0])
def test_a_length_that_is_none_is_refused(epochs, tmp_path):
    source = open_source(write_pictures(tmp_path, side=40))
    with pytest.raises(FovealError, match="epochs: Input should be"):
        resolve(Wish(changes={"epochs": epochs}), scan(source), source)


def test_under_a_time_budget_the_warm_up_is_in_steps(tmp_path):
    source = open_source(write_pictures(tmp_path, side=40))
    recipe, _ = resolve(Wish(changes={"minutes": 2}), scan(source), source)
    assert (recipe.minutes, recipe.epochs) == (2, None)
    assert recipe.schedule.warmup == pytest.approx(50 * recipe.batch / len(source), abs=1e-3)


def test_what_learns_turns_is_refused_where_no_side_is_up():
    for method in ("rotation", "deepercluster", "s4l", "rotation+simclr"):
        with pytest.raises(FovealError, match="which side of a picture is up, and in microscopy"):
            options_for_domain(method, {}, "microscopy")
    assert options_for_domain("s4l", {"pretext": "exemplar"}, "satellite")["pretext"] == "exemplar"


@pytest.mark.parametrize("method", [*list_methods(), "rotation+simclr"])
def test_every_view_of_a_method_fits_the_domain(method):
    def views(cls, options):
        for name, part in cls.parts.items():
            yield from views(part, options[name])
        yield from (value for _, value in cls.Options(**options) if isinstance(value, View))

    cls = get_method(method)
    found = list(views(cls, options_for_domain(method, {}, "radiology")))
    assert found and all(view.flip == 0 and not view.needs_colour() for view in found)
