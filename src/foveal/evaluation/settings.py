"""Settings of the protocols on labelled pictures: one set for all, each takes what it knows."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

Metric: TypeAlias = Literal["top1", "mean_per_class", "map_eleven_point"]
"""What a probe's choices are made by, and what is reported."""

PoolRule: TypeAlias = Literal[
    "avg", "max", "resize", "revisiting", "goyal", "deepcluster", "sela", "deepercluster"
]
"""How a map becomes a vector (``foveal.evaluation.pooling``)."""

Average: TypeAlias = Literal["softmax", "logits"]
"""What is averaged over crops."""


class ProbeSettings(BaseModel):
    """Defaults are what is meant where a result says nothing else."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: Literal["auto"] | Metric = Field(
        "auto",
        description="what l2 is chosen by and what is reported; auto: map_eleven_point where a "
        "picture may hold several classes, else top1",
    )
    pool: PoolRule = Field("avg", description="endpoints: how maps are pooled")
    features: int = Field(9000, gt=0, description="endpoints: about so many values an end point")
    directions: int = Field(
        512, ge=0, description="endpoints: principal directions kept; 0: all (slow)"
    )
    probe: Literal["linear", "ridge", "sgd", "mlp", "mlp_rotnet"] = Field(
        "linear", description="endpoints: what is fitted on each"
    )
    average: Average = Field("softmax", description="tencrop: what is averaged over the crops")
    shots: int = Field(96, gt=0, description="svm_lowshot: the most positives a class")
    ends: str | None = Field(None, description="endpoints: some of them, e.g. stage2+stage3")
