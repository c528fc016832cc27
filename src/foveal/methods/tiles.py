"""What methods that learn from tiles share: the trunk over tiles, and a head that joins some.

Legend: B samples, T tiles, N tiles in a question, Q questions, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from foveal.backbones.base import Backbone
from foveal.backbones.encoder import Encoder
from foveal.methods.base import DataInfo, Group, MethodOptions, trained_parameters


class TileHeadOptions(MethodOptions):
    """What stands between the tiles' features and the answer."""

    embedding: int | None = Field(
        None, ge=1, description="a linear layer brings each tile's features to this many first"
    )
    embedding_norm: bool = Field(False, description="batch norm and ReLU after that layer")
    hidden: tuple[int, ...] = Field(
        (4096,),
        description="widths of the layers between joined tiles and logits, with ReLU",
    )
    norm: Literal["none", "batch", "plain"] = Field(
        "none", description="after the first of these layers; plain: without scale and shift"
    )
    dropout: float = Field(0.5, ge=0, lt=1, description="after each of these layers")
    std: float | None = Field(
        0.005, gt=0, description="normal weights of this spread at the start; None: Xavier's"
    )
    bias: float = Field(1.0, description="of these layers at the start")


class TileEncoding(MethodOptions):
    """How pictures are read afterwards."""

    grid: int = Field(
        1, ge=1, description="1: whole pictures; n: n x n tiles, each alone, without gap and jitter"
    )
    overlap: float = Field(
        0.0, ge=0, lt=1, description="share of a tile's side that the next tile shows too"
    )
    join: Literal["mean", "max"] = Field("mean", description="what is made of the tiles' features")

    def of(self, data: DataInfo, trunk: Backbone, inputs: nn.Sequential) -> Encoder:
        """The encoder; a trunk for tiles of one size becomes one for pictures where it has to."""
        layers = list(inputs.children())
        if self.grid == 1:
            return data.encoder(trunk.for_pictures(), *layers)
        return data.encoder(trunk, *layers, **self.model_dump())


class TileHead(nn.Module):
    """Tells something about several tiles at once from their features.

    Args:
        features: D, of a tile.
        tiles: N.
        classes: Answers.
        options: See there.
    """

    def __init__(self, features: int, tiles: int, classes: int, options: TileHeadOptions) -> None:
        super().__init__()
        o = options
        self.embed: nn.Module = nn.Identity()
        if o.embedding is not None:
            layers: list[nn.Module] = [nn.Linear(features, o.embedding)]
            if o.embedding_norm:
                layers += [nn.BatchNorm1d(o.embedding), nn.ReLU(inplace=True)]
            self.embed = nn.Sequential(*layers)
        width = tiles * (o.embedding or features)
        layers = []
        for i, hidden in enumerate(o.hidden):
            layer = nn.Linear(width, hidden)
            _draw(layer, o.std, o.bias)
            layers.append(layer)
            if i == 0 and o.norm != "none":
                layers.append(nn.BatchNorm1d(hidden, affine=o.norm == "batch"))
            layers.append(nn.ReLU(inplace=True))
            if o.dropout:
                layers.append(nn.Dropout(o.dropout))
            width = hidden
        answer = nn.Linear(width, classes)
        _draw(answer, None if o.std is None else 0.01, 0.0)
        self.layers = nn.Sequential(*layers, answer)

    def forward(self, z_BTD: Tensor, questions_BQN: Tensor) -> Tensor:
        """Logits [B, Q, classes].

        Args:
            z_BTD: Features of all tiles.
            questions_BQN: int64: which tiles are joined, in which order.
        """
        b, t = z_BTD.shape[:2]
        z = self.embed(z_BTD.flatten(0, 1))
        first = torch.arange(0, b * t, t, device=z.device).reshape(-1, 1, 1)
        joined = z[(first + questions_BQN).flatten()].reshape(b * questions_BQN.shape[1], -1)
        logits: Tensor = self.layers(joined)
        return logits.reshape(b, questions_BQN.shape[1], -1)


def tile_features(trunk: Backbone, inputs: nn.Module, tiles_BTCHW: Tensor) -> Tensor:
    """Every tile alone through input layers and trunk: pooled features [B, T, D]."""
    b, t = tiles_BTCHW.shape[:2]
    found: Tensor = trunk(inputs(tiles_BTCHW.flatten(0, 1)))["pooled"]
    return found.reshape(b, t, -1)


def caffe_groups(
    trunk: nn.Module, head: nn.Module, *, biases: bool, head_decay: float
) -> list[Group]:
    """Trunk and head, the head with its own decay.

    Args:
        trunk: What reads tiles.
        head: What joins them.
        biases: Vectors learn twice as fast and do not decay (solvers of Caffe's time).
        head_decay: Factor on the weight decay of the head.
    """
    groups = []
    for module, decay in ((trunk, 1.0), (head, head_decay)):
        parameters = trained_parameters(module)
        if biases:
            vectors = [p for p in parameters if p.ndim == 1]
            groups.append(Group(vectors, lr=2.0, decay=0.0))
            parameters = [p for p in parameters if p.ndim > 1]
        groups.append(Group(parameters, decay=decay))
    return groups


def answer_log(logits: Tensor, labels: Tensor, name: str) -> dict[str, Tensor]:
    """Share of right answers, detached."""
    return {name: (logits.detach().argmax(-1) == labels).float().mean()}


def _draw(layer: nn.Linear, std: float | None, bias: float) -> None:
    if std is None:
        nn.init.xavier_uniform_(layer.weight)
    else:
        nn.init.normal_(layer.weight, 0.0, std)
    nn.init.constant_(layer.bias, bias)


def neighbours(rows: int, columns: int) -> Sequence[tuple[int, int, int]]:
    """Ordered pairs of touching cells of a grid as (first, second, place of the second).

    Cells are numbered in reading order. The place is one of 8 as seen from the first, in reading
    order: 0 1 2 above, 3 left, 4 right, 5 6 7 below.
    """
    places = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
    return [
        (y * columns + x, (y + dy) * columns + x + dx, label)
        for y in range(rows)
        for x in range(columns)
        for label, (dy, dx) in enumerate(places)
        if 0 <= y + dy < rows and 0 <= x + dx < columns
    ]
