"""Context encoder: paint what was cut out of the picture.

Pathak, Krahenbuhl, Donahue, Darrell, Efros, "Context Encoders: Feature Learning by Inpainting",
CVPR 2016. What fills the hole has to be guessed from what is around it.

Cost: one forward a picture and a decoder; with ``adversarial`` every other step trains a judge of
real and painted pictures instead. Failure signs: the loss stays near 1, the spread of the pixels;
with a judge, ``fooled`` at 0 or ``judged`` at 1 for long: one of the two has won. Differences:
holes are blocks, not shapes from another data set's masks; the recipes have no judge, which makes
pictures sharper, not features better.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from foveal.backbones.encoder import Encoder
from foveal.core.batch import Batch, StreamBatch
from foveal.core.progress import Progress
from foveal.methods.base import (
    BackboneMaker,
    DataInfo,
    Group,
    Losses,
    Method,
    MethodOptions,
    Stream,
    trained_parameters,
)
from foveal.methods.decoders import (
    ChannelwiseLinear,
    Decoder,
    cells_along,
    last_map,
    make_judge,
)
from foveal.views.presets import plain_view
from foveal.views.spec import View

_BLOCKS = 16  # drawn for a picture; as many are cut out as the share allows


class ContextEncoderOptions(MethodOptions):
    """Options of context encoders."""

    view: View = Field(default_factory=plain_view)
    hole: Literal["blocks", "center"] = Field(
        "blocks", description="several overlapping blocks anywhere, or the central square"
    )
    share: float = Field(0.25, gt=0, lt=1, description="of the area: of the square, at most of all")
    block: tuple[float, float] = Field(
        (0.15, 0.35), description="sides of a block, as shares of the picture's"
    )
    adversarial: float = Field(
        0.001, ge=0, lt=1, description="weight of fooling the judge; painting has the rest"
    )


class ContextEncoder(Method):
    """Paints holes: squared error inside them, and a judge (section 3)."""

    Options = ContextEncoderOptions
    title = "Context encoder"
    paper = "arXiv 1604.07379"
    family = "generation"

    def __init__(self, make: BackboneMaker, data: DataInfo, options: ContextEncoderOptions) -> None:
        super().__init__(make, data, options)
        size = options.view.size
        self.trunk = make()
        self.normalise = data.normalise()
        end = last_map(self.trunk)
        self.end = end.name
        self.across = ChannelwiseLinear(end.channels, cells_along(self.trunk, end, size))
        self.decoder = Decoder(end.channels, data.channels, size=size, stride=end.stride)
        self.judge = make_judge(data.channels) if options.adversarial else None

    def streams(self) -> dict[str, Stream]:
        """Pictures to paint; every other step, pictures to judge."""
        views = {"view": self.options.view}
        if self.judge is None:
            return {"main": Stream(views)}
        return {
            "main": Stream(views, every=(2, 0)),
            "judged": Stream(views, every=(2, 1), optimiser="judge", counts_epoch=False),
        }

    def parameter_groups(self) -> dict[str, list[Group]]:
        """The painter and the judge have an optimiser each."""
        painter = [self.trunk, self.across, self.decoder]
        groups = {"main": [Group([p for part in painter for p in trained_parameters(part)])]}
        if self.judge is not None:
            # A tenth of the painter's rate (the paper, section 4).
            groups["judge"] = [Group(trained_parameters(self.judge), lr=0.1)]
        return groups

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Painted pictures [B, C, H, W], normalised; what the judge says of them, [B]."""
        ((name, part),) = batch.items()
        x, hole = self._with_hole(part)
        if name == "judged" and self.judge is not None:
            with torch.no_grad():
                painted = torch.where(hole, self._paint(x, hole), x)
            return {"real": self.judge(x), "painted": self.judge(painted)}
        painted = self._paint(x, hole)
        if self.judge is None:
            return {"rebuilt": painted}
        return {"rebuilt": painted, "says": self.judge(torch.where(hole, painted, x))}

    def loss(self, out: dict[str, Tensor], batch: Batch, progress: Progress) -> Losses:
        """Equations 1 to 3; the error is a mean over the hole's pixels."""
        ((_, part),) = batch.items()
        if "real" in out:
            real = F.softplus(-out["real"]).mean()
            painted = F.softplus(out["painted"]).mean()
            right = (out["real"] > 0).float().mean() + (out["painted"] < 0).float().mean()
            return Losses((real + painted) / 2, {"judged": right.detach() / 2})
        x, hole = self._with_hole(part)
        squares = (out["rebuilt"] - x).square().mean(1, keepdim=True) * hole
        error = (squares.sum((1, 2, 3)) / hole.sum((1, 2, 3)).clamp_min(1)).mean()
        if "says" not in out:
            return Losses(error)
        weight = self.options.adversarial
        log = {"error": error.detach(), "fooled": (out["says"] > 0).float().mean()}
        fool = F.softplus(-out["says"]).mean()
        return Losses((1 - weight) * error + weight * fool, log)

    def encoder(self) -> Encoder:
        """The trunk, on whole pictures."""
        return self.data.encoder(self.trunk, self.normalise)

    def trivial_losses(self) -> dict[str, float]:
        """What a network gives that knows nothing of the picture."""
        return {"1, what the mean colour gives": 1.0}

    def _with_hole(self, part: StreamBatch) -> tuple[Tensor, Tensor]:
        x = self.normalise(part.images("view"))
        o, side = self.options, x.shape[-1]
        if o.hole == "blocks":
            draws = part.random("blocks", (_BLOCKS, 4))
            return x, block_mask(draws, side, sides=o.block, share=o.share)
        inner = round(side * o.share**0.5)
        first = (side - inner) // 2
        hole = torch.zeros_like(x[:, :1], dtype=torch.bool)
        hole[:, :, first : first + inner, first : first + inner] = True
        return x, hole

    def _paint(self, x: Tensor, hole: Tensor) -> Tensor:
        # The mean colour is 0 after normalisation.
        found = self.trunk(x.masked_fill(hole, 0.0), (self.end,))
        painted: Tensor = self.decoder(self.across(found[self.end]))
        return painted


def block_mask(draws_BK4: Tensor, side: int, *, sides: tuple[float, float], share: float) -> Tensor:
    """The first of K blocks whose union covers at most ``share``, at least one: [B, 1, S, S].

    Args:
        draws_BK4: Uniform numbers: height, width, top and left of every block.
        side: Of the picture in pixels.
        sides: Least and largest side of a block, as shares.
        share: Of the area.
    """
    low, high = sides
    size_BK2 = (side * (low + (high - low) * draws_BK4[..., :2])).round().clamp_min(1)
    first_BK2 = (draws_BK4[..., 2:] * (side - size_BK2 + 1)).floor()
    at = torch.arange(side, device=draws_BK4.device)
    inside_BK2S = (at >= first_BK2[..., None]) & (at < (first_BK2 + size_BK2)[..., None])
    union_BSS = torch.zeros(1, side, side, dtype=torch.bool, device=at.device)
    more_B = torch.ones(len(draws_BK4), dtype=torch.bool, device=at.device)
    for k in range(draws_BK4.shape[1]):
        rows_BS, columns_BS = inside_BK2S[:, k].unbind(1)
        with_it = union_BSS | (rows_BS[:, :, None] & columns_BS[:, None, :])
        more_B = more_B & ((with_it.float().mean((1, 2)) <= share) | (k == 0))
        union_BSS = torch.where(more_B[:, None, None], with_it, union_BSS)
    return union_BSS[:, None]
