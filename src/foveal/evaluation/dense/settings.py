"""How a dense head is trained."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class DenseSettings(BaseModel):
    """Small defaults: minutes on two cores for a thousand pictures."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    finetune: bool = Field(False, description="train the network too, not the head alone")
    size: int | None = Field(
        None, gt=0, description="side of the squashed picture; None: the network's, at least 128"
    )
    train_list: str = Field(
        "train", description="list of VOC's layout to learn from; train_aug: 10,582 pictures, with "
        "the masks of SBD in SegmentationClassAug"
    )  # fmt: skip
    epochs: int = Field(4, gt=0, description="passes; every second one mirrored")
    batch: int = Field(8, gt=0)
    lr: float = Field(1e-3, gt=0, description="AdamW's peak for the head")
    body_lr: float = Field(3e-4, gt=0, description="the same for the network, if it is trained")
    width: int = Field(256, gt=0, description="channels of the head")
    codewords: int = Field(40, gt=1, description="normals: directions the head chooses from")
