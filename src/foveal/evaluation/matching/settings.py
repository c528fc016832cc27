"""How regions are found, cut out, described and matched."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class MatchingSettings(BaseModel):
    """Small defaults: minutes on two cores for a small network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    end: str | None = Field(
        None, description="the end point (a map) that describes; None: all maps, one result each"
    )
    patch: int | None = Field(
        None, gt=0, description="side of what the network sees; None: its own, at least 64"
    )
    enlarge: float = Field(
        3.0, gt=0, description="the patch reaches so many times as far as the region's ellipse"
    )
    upright: bool = Field(False, description="patches are not turned to their main gradient")
    matching: Literal["greedy", "nearest"] = Field(
        "greedy", description="one-to-one by increasing distance, or every region's nearest"
    )
    regions: int = Field(500, gt=0, description="the largest are kept, so many a picture")
    pictures: int = Field(16, gt=0, description="that pairs are made of, drawn by the seed")
    side: int = Field(640, ge=64, description="longest side to which these are shrunk")
