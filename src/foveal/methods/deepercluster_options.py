"""Options of DeeperCluster."""

from __future__ import annotations

from pydantic import Field

from foveal.methods.base import MethodOptions
from foveal.views.presets import center_view, plain_view
from foveal.views.spec import View


class DeeperClusterOptions(MethodOptions):
    """Options of DeeperCluster."""

    view: View = Field(default_factory=plain_view, description="cut, then turned")
    cluster_view: View = Field(
        default_factory=lambda: center_view(224, interpolation="bilinear"),
        description="what is clustered, upright",
    )
    coarse: int = Field(4, ge=1, description="clusters of the first level (m)")
    clusters: int | None = Field(
        320_000, ge=1, description="of the second level, over all (k); None: one for 100 pictures"
    )
    iterations: int = Field(10, ge=1, description="of each k-means")
    every: float = Field(3.0, gt=0, description="epochs between two clusterings")
    pca: int | None = Field(None, ge=1, description="directions kept, whitened; None: all")
    sobel: bool = Field(True, description="edges instead of colours, as in the paper")
    all_turns: bool = Field(
        False, description="every turn of a picture in the same batch; False: one drawn turn each"
    )
