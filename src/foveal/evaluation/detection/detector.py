"""Faster R-CNN (torchvision's) on a copy of an encoder.

Ren et al., "Faster R-CNN", NeurIPS 2015; the C4 form is He et al.'s (ResNet, CVPR 2016, appendix
A), the pyramid Lin et al.'s (FPN, CVPR 2017).

Legend: B pictures, C channels, R regions, D features, h, w cells.
"""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.rpn import AnchorGenerator, RPNHead
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool
from torchvision.ops.poolers import LevelMapper

from foveal.backbones.base import End, LastStage
from foveal.backbones.encoder import Encoder
from foveal.backbones.reading import device_of
from foveal.core import rng
from foveal.errors import FovealError
from foveal.evaluation.detection.settings import DetectionSettings
from foveal.evaluation.features import placed
from foveal.methods.base import Group

Target = dict[str, Tensor]
"""``boxes`` float32 [M, 4] (left, top, right, bottom) and ``labels`` int64 [M], counted from 1."""

# Shares of the short side: 32 to 512 pixels of 800, the sizes of the papers.
_ANCHORS = (0.04, 0.64)
_OCTAVES = 5
_RATIOS = (0.5, 1.0, 2.0)
_LONGEST = 1333 / 800  # of the short side
_LARGEST_STRIDE = 16  # of the map that regions are taken from, where there is a choice


class Body(nn.Module):
    """The maps a detector stands on.

    Args:
        encoder: Gives them; gradients reach it where ``tuned``.
        ends: Their names.
        tuned: The encoder is trained.
        scaled: Every map is brought to mean 0 and deviation 1.
        pyramid: Made of them, finest first; None: the only map as it is.
    """

    def __init__(
        self,
        encoder: Encoder,
        ends: Sequence[End],
        *,
        tuned: bool,
        scaled: bool,
        pyramid: FeaturePyramidNetwork | None,
    ) -> None:
        super().__init__()
        self.encoder, self.ends, self.tuned = encoder, [end.name for end in ends], tuned
        self.scales = nn.ModuleList(_scale(end.channels) if scaled else nn.Identity()
                                    for end in ends)  # fmt: skip
        self.pyramid = pyramid
        self.out_channels = ends[-1].channels

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """[B, C, H, W] in [0, 1] -> maps by the number of their level."""
        with torch.set_grad_enabled(self.tuned and torch.is_grad_enabled()):
            found = self.encoder.until(
                images.contiguous(memory_format=torch.channels_last), self.ends
            )
        maps = OrderedDict(
            (str(i), scale(found[name]))
            for i, (name, scale) in enumerate(zip(self.ends, self.scales, strict=True))
        )
        return maps if self.pyramid is None else self.pyramid(maps)


class Detector(nn.Module):
    """Faster R-CNN on a copy of an encoder; see ``build_detector``.

    Args:
        net: torchvision's.
        encoder: The copy inside.
        stage: The copy's last stage, where the head is made of it.
        settings: How it is trained.
        size: Short side of the pictures it is tested on.
    """

    def __init__(
        self,
        net: FasterRCNN,
        encoder: Encoder,
        stage: LastStage | None,
        settings: DetectionSettings,
        size: int,
    ) -> None:
        super().__init__()
        self.net, self.settings, self.size = net, settings, size
        self.head = "the last stage" if stage else "two fully connected layers"
        # Not registered twice.
        self._encoder, self._stage = [encoder], [stage.layers] if stage else []
        encoder.requires_grad_(settings.finetune)
        for layers in self._stage:
            layers.requires_grad_(True)
        if settings.norm == "frozen":
            for norm in self._norms():
                norm.requires_grad_(False)

    def train(self, mode: bool = True) -> Detector:
        """What is frozen stays in evaluation mode; short sides are drawn in training alone."""
        super().train(mode)
        self.net.transform.min_size = (mode and self.settings.train_sizes) or (self.size,)
        if not self.settings.finetune:
            for module in self._encoder:
                module.eval()
            for layers in self._stage:
                layers.train(mode)
        if self.settings.norm == "frozen":
            for norm in self._norms():
                norm.eval()
        return self

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[Target] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Pictures [C, H, W] of any size -> losses by name (training), or boxes of each."""
        found: dict[str, Tensor] | list[dict[str, Tensor]] = self.net(
            list(images), None if targets is None else list(targets)
        )
        return found

    def groups(self) -> list[Group]:
        """What is trained: the network, slower, and what stands on it."""
        body = {id(p) for module in self._encoder for p in module.parameters()}
        own = {id(p) for layers in self._stage for p in layers.parameters()}
        trained = [p for p in self.parameters() if p.requires_grad]
        below = [p for p in trained if id(p) in body and id(p) not in own]
        above = [p for p in trained if id(p) not in body or id(p) in own]
        return [Group(above), *([Group(below, lr=self.settings.body)] if below else [])]

    def _norms(self) -> list[_BatchNorm]:
        """The batch norms of the network, the head's last stage included."""
        inside = [*self._encoder, *self._stage]
        return [m for module in inside for m in module.modules() if isinstance(m, _BatchNorm)]


def build_detector(
    encoder: Encoder, settings: DetectionSettings, *, classes: int, size: int, seed: int
) -> Detector:
    """A detector on a copy of an encoder; what is new is drawn from a seed, for all networks alike.

    Args:
        encoder: Not changed.
        settings: See ``DetectionSettings``.
        classes: Of objects.
        size: Short side of the pictures it will see.
        seed: Of the new layers.

    Raises:
        FovealError: The network has no map that says what is where.
    """
    own = copy.deepcopy(encoder)
    maps = [end for end in own.ends if end.kind == "map" and end.stride > 0]
    if not maps:
        raise FovealError(
            "the network has no map that says what is where", hint="a convolutional network or ViT"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.seed64(seed, "detector"))
        if settings.form == "fpn":
            stage, ends = None, _levels(maps)
            pyramid = FeaturePyramidNetwork(
                [end.channels for end in ends],
                settings.width,
                LastLevelMaxPool(),
                nn.BatchNorm2d if settings.norm == "batch" else None,
            )
        else:
            stage = own.last_stage()
            ends, pyramid = [_only(maps, stage)], None
        # The last stage takes its map as the network makes it.
        scaled = settings.scaled and stage is None
        body = Body(own, ends, tuned=settings.finetune, scaled=scaled, pyramid=pyramid)
        if pyramid is not None:
            body.out_channels = settings.width
        cells = stage.cells if stage and stage.cells else settings.cells
        head, features = _head(own, stage, body.out_channels, cells, settings)
        anchors = _anchors(len(ends) + (pyramid is not None), size)
        proposals = RPNHead(body.out_channels, anchors.num_anchors_per_location()[0])
        if settings.scaled and stage is not None:
            proposals.conv.insert(0, _scale(body.out_channels))
        net = FasterRCNN(
            body,
            rpn_anchor_generator=anchors,
            rpn_head=proposals,
            box_roi_pool=_regions(ends, cells, size),
            box_head=head,
            box_predictor=FastRCNNPredictor(features, classes + 1),
            # The encoder normalises by itself.
            image_mean=[0.0] * encoder.channels,
            image_std=[1.0] * encoder.channels,
            min_size=size,
            max_size=round(max((*settings.train_sizes, size)) * _LONGEST),
            size_divisible=max(end.stride for end in maps),
            rpn_pre_nms_top_n_train=4 * settings.proposals,
            rpn_pre_nms_top_n_test=2 * settings.proposals,
            rpn_post_nms_top_n_train=2 * settings.proposals,
            rpn_post_nms_top_n_test=settings.proposals,
            box_batch_size_per_image=settings.rois,
            box_score_thresh=settings.least_score,
            box_detections_per_img=settings.detections,
        )
    return placed(Detector(net, own, stage, settings, size), device_of(encoder))


def maps_of(encoder: Encoder, settings: DetectionSettings) -> list[End]:
    """The maps a detector would stand on."""
    maps = [end for end in encoder.ends if end.kind == "map" and end.stride > 0]
    return _levels(maps) if settings.form == "fpn" else [_only(maps, encoder.last_stage())]


def _levels(maps: Sequence[End]) -> list[End]:
    """The last map of every stride from 4 on, each twice the one before: four of a ResNet."""
    by_stride = {end.stride: end for end in maps}
    levels = [maps[-1]]
    while levels[0].stride >= 8 and levels[0].stride / 2 in by_stride:
        levels.insert(0, by_stride[levels[0].stride // 2])
    return levels


def _only(maps: Sequence[End], stage: LastStage | None) -> End:
    """What the last stage reads; without one the last map that is not too coarse."""
    if stage is not None:
        return next(end for end in maps if end.name == stage.reads)
    fine = [end for end in maps if end.stride <= _LARGEST_STRIDE]
    return (fine or list(maps))[-1]


def _head(
    encoder: Encoder, stage: LastStage | None, channels: int, cells: int, s: DetectionSettings
) -> tuple[nn.Module, int]:
    """[R, C, cells, cells] -> [R, D], and D."""
    if stage is None:
        return TwoMLPHead(channels * cells**2, s.hidden), s.hidden
    if s.norm == "batch" or s.scaled:
        norm = nn.BatchNorm1d(encoder.dim, affine=s.norm == "batch")
        return nn.Sequential(stage.layers, norm), encoder.dim
    return stage.layers, encoder.dim


def _scale(channels: int) -> nn.BatchNorm2d:
    """To mean 0 and deviation 1."""
    return nn.BatchNorm2d(channels, affine=False)


def _anchors(levels: int, size: int) -> AnchorGenerator:
    """Five octaves of boxes shared out to the levels: one size on each of five, all on a single."""
    each = -(-_OCTAVES // levels)
    sides = np.geomspace(_ANCHORS[0] * size, _ANCHORS[1] * size, each * levels)
    rows = tuple(tuple(float(x) for x in row) for row in sides.reshape(levels, each))
    return AnchorGenerator(rows, (_RATIOS,) * levels)


def _regions(levels: Sequence[End], cells: int, size: int) -> MultiScaleRoIAlign:
    """Regions by their size from the level that fits: 224 of 800 pixels from stride 16."""
    pool = MultiScaleRoIAlign([str(i) for i in range(len(levels))], cells, 2)
    # As the end points say: torchvision would guess powers of two.
    pool.scales = [1 / end.stride for end in levels]
    first, last = (int(math.log2(end.stride)) for end in (levels[0], levels[-1]))
    pool.map_levels = LevelMapper(first, last, canonical_scale=max(1, round(0.28 * size)))
    return pool
