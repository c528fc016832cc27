"""What a field knows of its pictures, in the views of any method."""

import pytest

from foveal.errors import FovealError
from foveal.views.domains import DOMAINS, get_domain
from foveal.views.presets import byol_views, center_view, jigsaw_view, simclr_view
from foveal.views.spec import View

TURNS = (0, 1, 2, 3)


@pytest.mark.parametrize("name", DOMAINS)
@pytest.mark.parametrize("view", [simclr_view(64), *byol_views(64), jigsaw_view().resized(72)])
def test_changing_a_view_twice_is_changing_it_once(name, view):
    change = get_domain(name).change
    assert change(change(view)) == change(view)


def test_where_no_side_is_up_views_are_turned():
    view = simclr_view(64)
    assert get_domain("microscopy").change(view) == view.model_copy(update={"turns": TURNS})
    found = get_domain("satellite").change(view)
    assert found.turns == TURNS and not found.needs_colour()
    for fixed in (center_view(64), jigsaw_view().resized(72)):
        assert get_domain("microscopy").change(fixed).turns == (0,)


def test_where_brightness_is_a_measurement_it_is_kept():
    for view in byol_views(64):
        found = get_domain("radiology").change(view)
        assert found.flip == found.solarise == 0 and found.turns == (0,)
        assert not found.needs_colour() and found.blur == view.blur and found.crop == view.crop
        assert found.jitter.brightness == found.jitter.contrast == 0.2
    assert get_domain("radiology").change(View(size=8)) == View(size=8, flip=0)


def test_an_unknown_field_is_refused():
    with pytest.raises(FovealError, match="no domain 'xray'") as caught:
        get_domain("xray")
    assert caught.value.hint == "known: microscopy, radiology, satellite"
