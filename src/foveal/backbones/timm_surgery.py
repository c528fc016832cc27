"""Changes to timm's ResNets and VGGs that timm has no argument for. Part of ``timm_bridge``.

Legend: B images, C channels, H, W pixels, D features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from foveal.backbones.base import End, LastStage
from foveal.backbones.chain import Built, he_normal
from foveal.errors import FovealError

_CELLS = 7  # side of the map under the fully connected layers of a VGG


class VGGTrunk(nn.Module):
    """timm's VGG, every convolution an end point after its ReLU.

    Args:
        net: Made with ``num_classes=0``.
        rows: End point -> index in ``net.features``.
    """

    def __init__(self, net: nn.Module, rows: dict[str, int]) -> None:
        super().__init__()
        self.net = net
        self.rows = rows

    def forward(self, x: Tensor, ends: tuple[str, ...] = ()) -> dict[str, Tensor]:
        """[B, C, H, W] -> the asked end points [B, C', h, w], and ``pooled`` [B, D]."""
        net: Any = self.net
        names = {self.rows[name]: name for name in ends}
        found: dict[str, Tensor] = {}
        for i, layer in enumerate(net.features):
            x = layer(x)
            if i in names:
                found[names[i]] = x
        found["pooled"] = net.forward_head(x)
        return found

    def until(self, x: Tensor, ends: tuple[str, ...]) -> dict[str, Tensor]:
        """See ``Backbone.until``."""
        net: Any = self.net
        names = {self.rows[name]: name for name in ends}
        found: dict[str, Tensor] = {}
        for i, layer in enumerate(net.features[: max(names) + 1]):
            x = layer(x)
            if i in names:
                found[names[i]] = x
        return found

    def last_stage(self) -> LastStage | None:
        """See ``Backbone.last_stage``: the fully connected layers, where they are."""
        net: Any = self.net
        if isinstance(net.pre_logits, nn.Identity):
            return None
        return LastStage(list(self.rows)[-1], nn.Sequential(net.pre_logits, nn.Flatten()), _CELLS)


def vgg(net: Any, *, top: bool, last_relu: bool) -> Built:
    """A VGG as a trunk (DeepCluster's: ``last_relu=False``, 2 channels, ``drop_rate=0.5``).

    Args:
        net: timm's.
        top: Keep the fully connected layers; without them the last map is averaged.
        last_relu: Whether a ReLU stands before ``pooled``.
    """
    rows: dict[str, int] = {}
    ends = []
    cell = 1
    channels = 0
    for i, layer in enumerate(net.features):
        if isinstance(layer, nn.MaxPool2d):
            cell *= 2
        elif isinstance(layer, nn.Conv2d):
            channels = layer.out_channels
        elif isinstance(layer, nn.ReLU):
            name = f"conv{len(rows) + 1}"
            rows[name] = i
            ends.append(End(name, channels, cell))
    dim = int(net.head_hidden_size) if top else channels
    if not top:
        net.pre_logits = nn.Identity()
    if not last_relu:
        if top:
            net.pre_logits.act2 = nn.Identity()
        else:
            net.features[rows[ends[-1].name]] = nn.Identity()
    return Built(VGGTrunk(net, rows), tuple(ends), dim)


def change_resnet(net: Any, in_chans: int, width: float, stem: str | None) -> float:
    """Stem and width of a ResNet v1; returns what its strides are multiplied with."""
    if width != 1.0:
        _widen_stem(net, width, in_chans)
    if stem == "small":
        _small_stem(net)
        return 0.25
    if stem == "patch":
        first = net.conv1 if isinstance(net.conv1, nn.Conv2d) else net.conv1[0]
        _patch_strides(net, first, net.layer4[0])
        return 0.5
    return 1.0


def change_preactivation(net: Any, stem: str | None, last_relu: bool) -> float:
    """Stem and last ReLU of a ResNet v2; returns what its strides are multiplied with."""
    if not last_relu:
        net.norm.act = nn.Identity()
    if stem in ("small", "patch") and not isinstance(getattr(net.stem, "conv", None), nn.Conv2d):
        raise FovealError(
            f"stem={stem} is for ResNets with the 7x7 stem, not for the deep-stem variants",
            hint="resnetv2_50, resnetv2_101",
        )
    if stem == "small":
        old = net.stem.conv
        net.stem.conv = _like(
            old, old.in_channels, old.out_channels, kernel_size=3, stride=1, padding=1
        )
        net.stem.pool = nn.Identity()
        return 0.25
    if stem == "patch":
        _patch_strides(net, net.stem.conv, net.stages[-1].blocks[0])
        return 0.5
    return 1.0


def block_chains(net: Any) -> list[str]:
    """Paths of the chains of residual units, stage by stage."""
    if hasattr(net, "layer1"):
        return [name for name, _ in net.named_children() if name.startswith("layer")]
    return [f"stages.{i}.blocks" for i in range(len(net.stages))]


def _patch_strides(net: Any, root: nn.Conv2d, last_stage: nn.Module) -> None:
    """Root convolution and last stage of stride 1 (Kolesnikov et al. 2019, for 64-px patches)."""
    root.stride = (1, 1)
    unstride: Callable[[nn.Module], None] = _set_stride_one
    last_stage.apply(unstride)
    net.feature_info[-1]["reduction"] //= 2


def _widen_stem(net: Any, width: float, in_chans: int) -> None:
    """Scales what timm's ``channels`` leaves at 64: the stem and what reads it."""
    channels = round(64 * width)
    if not isinstance(net.conv1, nn.Conv2d):
        raise FovealError(
            "width is for ResNets with the 7x7 stem, not for the deep-stem variants",
            hint="resnet18, resnet34, resnet50, resnet101, ...",
        )
    net.conv1 = _like(net.conv1, in_chans, channels)
    net.bn1 = type(net.bn1)(channels)
    first = net.layer1[0]
    first.conv1 = _like(first.conv1, channels, first.conv1.out_channels)
    out = net.feature_info[1]["num_chs"]
    # As at width 1: a projection where the channels differ and nowhere else. timm decided it for a
    # stem of 64 channels.
    first.downsample = None
    if out != channels:
        projection = nn.Conv2d(channels, out, 1, bias=False)
        he_normal(projection)
        first.downsample = nn.Sequential(projection, type(net.bn1)(out))
    net.feature_info[0]["num_chs"] = channels


def _like(conv: nn.Conv2d, channels_in: int, channels_out: int, **changes: Any) -> nn.Conv2d:
    """A freshly drawn convolution of the same kind."""
    arguments: dict[str, Any] = {
        "kernel_size": conv.kernel_size,
        "stride": conv.stride,
        "padding": conv.padding,
        "bias": conv.bias is not None,
    }
    new = nn.Conv2d(channels_in, channels_out, **{**arguments, **changes})
    he_normal(new)
    return new


def _small_stem(net: Any) -> None:
    """3x3 stride-1 stem and no max pool (SimCLR, appendix B.9, for CIFAR-10)."""
    if isinstance(net.conv1, nn.Conv2d):
        old = net.conv1
        net.conv1 = _like(
            old, old.in_channels, old.out_channels, kernel_size=3, stride=1, padding=1
        )
    else:
        net.conv1[0].stride = (1, 1)
    net.maxpool = nn.Identity()


def _set_stride_one(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        module.stride = (1, 1)
    elif isinstance(module, nn.AvgPool2d):
        module.stride = 1
