"""Every number of uNLC in one place."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """What masks are made with; the defaults are those of the released pipeline.

    Its appearance fallback (for shots without usable motion) and its dense CRF are not here: such
    shots are left out, and the trimap of the soft masks takes the place of sharp borders.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    side: int = Field(650, ge=32, description="longer side of a frame at most, in pixels")
    shortest: int = Field(10, ge=2, description="frames; shorter shots are dropped")
    longest: int = Field(110, ge=2, description="frames; longer shots are thinned")
    most_cuts: int = Field(4, ge=0, description="cuts looked for in `window` frames")
    cut_penalty: float = Field(0.6, ge=0, description="weight of the penalty on cuts")
    window: int = Field(1500, ge=20, description="frames in which cuts are looked for at a time")
    segments: int = Field(400, ge=2, description="superpixels of a frame")
    smoothing: float = Field(5.0, ge=0, description="SLIC: sigma before clustering, in pixels")
    radius: int = Field(15, ge=0, description="frames before and after in which links are looked "
                        "for")  # fmt: skip
    links: int = Field(2, ge=1, description="links of a region per frame of that window")
    link_variance: float = Field(0.1, gt=0, description="weight exp(-distance^2 / this)")
    flow_side: int = Field(100, ge=16, description="frames are this size for optical flow")
    flow_reach: int = Field(3, ge=1, description="flow to frames up to this far away")
    still: float = Field(1.0, gt=0, description="median flow below this: the camera stands")
    direction_bins: int = Field(20, ge=2, description="bins of the histogram of directions")
    direction_share: float = Field(0.75, gt=0, le=1, description="share of the largest bin above "
                                   "which the camera translates")  # fmt: skip
    usable: float = Field(0.5, ge=0, le=1, description="share of frames with usable flow, below "
                          "which a shot is left out")  # fmt: skip
    border: float = Field(0.125, ge=0, lt=0.5, description="border without votes, share of the "
                          "short side")  # fmt: skip
    rounds: int = Field(5, ge=1, description="rounds of voting, blobs cleared after each")
    votes: int = Field(10, ge=1, description="votes of a round")
    foreground: float = Field(0.7, gt=0, lt=1, description="a vote above this is foreground")
    blob_mean: float = Field(0.6, ge=0, description="blobs with a lower mean vote are cleared")
    blob_cleared: float = Field(0.175, ge=0, description="what cleared blobs are set to")
    blob_share: float = Field(0.6, ge=0, le=1, description="final masks: share of the frame's "
                              "largest blob below which a blob is dropped")  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return self.model_dump(mode="json")
