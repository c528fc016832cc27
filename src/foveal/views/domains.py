"""What a field knows of its pictures, as changes to the views of any method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from foveal.errors import FovealError
from foveal.views.spec import View

_TONE = 0.2  # largest change of brightness and contrast where they are measurements
_INVERTING = ("solarise", "invert", "posterise", "equalise")


@dataclass(frozen=True)
class Domain:
    """A kind of pictures.

    Attributes:
        about: What is done to the views, and why.
        change: A view as it should be there; changing it twice is changing it once.
        upright: Whether pictures have a side that is up.
    """

    about: str
    change: Callable[[View], View]
    upright: bool


def get_domain(name: str) -> Domain:
    """A domain by its name.

    Raises:
        FovealError: There is none of this name.
    """
    if name not in DOMAINS:
        raise FovealError(f"there is no domain '{name}'", hint=f"known: {', '.join(DOMAINS)}")
    return DOMAINS[name]


def _turned(view: View) -> View:
    """Every quarter turn, where a view mirrors: one that does not is a fixed look at a picture.

    Tiles stay as they are: turned one by one, they would not fit together any more.
    """
    if view.flip == 0 or view.tiles is not None:
        return view
    return view.model_copy(update={"turns": (0, 1, 2, 3)})


def _measured(view: View) -> View:
    """Neither mirror nor inversion, brightness and contrast hardly touched, no colours."""
    plain = view.without_colour()
    jitter = plain.jitter
    if jitter is not None:
        tone = {name: min(getattr(jitter, name), _TONE) for name in ("brightness", "contrast")}
        jitter = jitter.model_copy(update=tone)
    off = {name: View.model_fields[name].default for name in _INVERTING}
    return plain.model_copy(update={"flip": 0.0, "jitter": jitter, **off})


DOMAINS = {
    "microscopy": Domain("no side is up: quarter turns", _turned, upright=False),
    "radiology": Domain(
        "left is not right, and brightness is a measurement: no mirroring, no hue, no inversion, "
        f"brightness and contrast by {_TONE:g} at most",
        _measured,
        upright=True,
    ),
    "satellite": Domain(
        "no side is up, and bands are not the colours of an eye: quarter turns, no hue, "
        "nothing else that needs red, green and blue",
        lambda view: _turned(view.without_colour()),
        upright=False,
    ),
}
