"""How an agent learns to act on frozen features."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class NavigationSettings(BaseModel):
    """Defaults: what fits into 100,000 frames of a scenario with a reward at every step.

    In ViZDoom's health gathering an untrained network's agent gets from 390 to 1,080 within 16,384
    frames with ``skip`` 10; with 4 it stays between 380 and 570.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    frames: int = Field(100_000, gt=0, description="pictures the agent acts on, for each seed")
    seeds: int = Field(3, gt=1, description="agents, each with a world and a start of its own")
    skip: int | None = Field(
        None, gt=0, description="steps of the world for each action; None: 10 in ViZDoom, else 1"
    )
    worlds: int = Field(8, gt=0, description="copies of the environment that one agent acts in")
    end: str | None = Field(None, description="the map the agent sees; None: the last one")
    size: int | None = Field(
        None, gt=0, description="side of the squashed picture; None: the network's own, at least 64"
    )
    channels: int = Field(
        8, gt=0, description="of the fixed random 1x1 convolution that compresses the map"
    )
    horizon: int = Field(64, gt=1, description="frames of each world between two updates of PPO")
    lr: float = Field(1e-3, gt=0, description="Adam's, of PPO")
    entropy: float = Field(0.01, ge=0, description="weight of the entropy of actions")
