"""Options of S4L, and what they make of its exemplar task."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from foveal.losses.vat import Direction
from foveal.methods.base import MethodOptions
from foveal.methods.exemplar_triplet import ExemplarTripletOptions
from foveal.views.presets import plain_view
from foveal.views.spec import View


class S4LOptions(MethodOptions):
    """Options of S4L."""

    view: View = Field(default_factory=plain_view, description="before turning; of every copy")
    pretext: Literal["rotation", "exemplar", "none"] = "rotation"
    weight: float = Field(1.0, ge=0, description="of the pretext loss")
    supervised: float = Field(1.0, gt=0, description="of the cross-entropy with the labels")
    unlabelled: float = Field(1.0, gt=0, description="pictures a step, in batches of labelled ones")
    copies: int = Field(8, ge=2, description="exemplar: views of a picture")
    head_outputs: int = Field(1000, gt=0, description="exemplar: width of the embedding")
    vat: float = Field(0.0, ge=0, description="of virtual adversarial training; the paper: 0.5")
    vat_eps: float = Field(
        40.0, gt=0, description="radius for 224 px in colour, pixels in [-1, 1]; rescaled to others"
    )
    vat_xi: float = Field(
        1e-6, gt=0, description="small step, as vat_eps; in float32 take 1e-3 (224 px: 1e-2)"
    )
    vat_direction: Direction = Field(
        "perturbed_first", description="KL(perturbed || clean); clean_first: Miyato et al."
    )
    entmin: float = Field(0.0, ge=0, description="of the entropy of predictions; the paper: 1")
    average: float | None = Field(
        None, gt=0, description="half-life in epochs of averaged weights, which are evaluated"
    )


def exemplar_options(o: S4LOptions) -> ExemplarTripletOptions:
    """Batch-hard with a soft margin of 0 on rows of length 1 (the released code)."""
    return ExemplarTripletOptions(
        view=o.view,
        copies=o.copies,
        margin=0.0,
        soft=True,
        distance="euclidean",
        mining="hard",
        head_outputs=o.head_outputs,
        standardise=False,
    )
