"""Every trunk by name: our own networks, and timm's models behind the same arguments."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any

from foveal.backbones import (
    alexnet,
    alexnet_colour,
    exemplar_cnn,
    patches,
    resnet161,
    revnet,
    small,
    vgg,
)
from foveal.backbones.base import Backbone
from foveal.backbones.chain import Built
from foveal.backbones.mix import mixed
from foveal.errors import FovealError
from foveal.recipe import nearest

_OWN: dict[str, Callable[..., Built]] = {
    "small": small.build_small,
    "alexnet_rotnet": alexnet.build_alexnet_rotnet,
    "alexnet_deepcluster": alexnet.build_alexnet_deepcluster,
    "alexnet_colour": alexnet_colour.build_alexnet_colour,
    "caffenet": alexnet.build_caffenet,
    "cfn": patches.build_cfn,
    "contextnet": patches.build_contextnet,
    "nin": alexnet.build_nin,
    "vgg19_revisiting": vgg.build_vgg19,
    "revnet50": revnet.build_revnet50,
    "resnet161_cpc": resnet161.build_resnet161,
    **dict.fromkeys(exemplar_cnn.NAMES, exemplar_cnn.build_exemplar_cnn),
}
# Short names people type; every other name is timm's own.
_ALIASES: dict[str, str] = {
    "vit_tiny": "vit_tiny_patch16_224",
    "vit_small": "vit_small_patch16_224",
    "vit_base": "vit_base_patch16_224",
    "convnext": "convnext_tiny",
    "efficientnet": "efficientnet_b0",
    "mobilenetv3_small": "mobilenetv3_small_100",
    "mobilenetv3_large": "mobilenetv3_large_100",
}
# Names with arguments that may be given otherwise. The trunk of multi-task learning (Doersch and
# Zisserman, ICCV 2017) ends with the third block and has no stride inside it.
_PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "resnetv2_101_block3": (
        "resnetv2_101",
        {"output_stride": 8, "layers": [3, 4, 23], "channels": [256, 512, 1024]},
    ),
}
# What the common arguments are when nothing is said, and the families that take another value.
_COMMON: dict[str, tuple[Any, str]] = {
    "width": (1.0, "our own networks and timm's ResNets (resnet18, resnet50, resnetv2_50, ...)"),
    "stem": (None, "small, revnet50, timm's ResNets and (stem=patch) vision transformers"),
    "norm": (None, "small, nin, the AlexNets with batch norm, vgg19_revisiting, revnet50 and "
             "timm's ResNets"),
    "output_stride": (None, "small and timm's convolutional networks"),
    "last_relu": (None, "our own networks, timm's VGGs and pre-activation ResNets (resnetv2_50)"),
    "units": (False, "small, revnet50 and timm's ResNets"),
}  # fmt: skip


def build_backbone(
    name: str,
    *,
    in_chans: int = 3,
    width: float = 1.0,
    stem: str | None = None,
    norm: str | None = None,
    output_stride: int | None = None,
    last_relu: bool | None = None,
    units: bool = False,
    mix: bool = False,
    **extra: Any,
) -> Backbone:
    """A trunk with freshly drawn weights (torch's generator); nothing is downloaded.

    Args:
        name: One of ``list_backbones()`` or any timm model.
        in_chans: Channels of the input.
        width: Channel multiplier.
        stem: ``image`` (the network as published), ``small`` (for pictures of 32 to 96 pixels),
            ``patch`` (for patches of about 64 pixels, or a transformer's patches); None is the
            family's own.
        norm: ``batch``, ``group``, ``layer`` or ``channel``; None is the family's own.
        output_stride: Input pixels per cell of the last map; smaller than the family's own dilates
            the late convolutions.
        last_relu: Whether a ReLU stands right before ``pooled`` (Kolesnikov et al. 2019, the
            models marked "(-)" have none); None is the family's own.
        units: Beside the stages every residual unit is an end point, ``stage3_unit5``.
        mix: The last map is a learned mix of the last stage's units, see ``UnitMix``.
        **extra: Further arguments of the family (``blocks`` of nin, ``top`` of the AlexNets) or of
            timm's constructor (``patch_size``, ``img_size``, ``drop_path_rate``, ...).

    Raises:
        FovealError: Unknown name, or an argument this family cannot honour.
    """
    name, preset = _PRESETS.get(name, (name, {}))
    if output_stride is None:
        output_stride = preset.get("output_stride")
    extra = {**{k: v for k, v in preset.items() if k != "output_stride"}, **extra}
    common: dict[str, Any] = {
        "width": float(width),
        "stem": stem,
        "norm": norm,
        "output_stride": output_stride,
        "last_relu": last_relu,
        "units": units or mix,
    }
    given = {key: value for key, value in common.items() if value != _COMMON[key][0]}
    extra = _plain(name, extra)
    name = _ALIASES.get(name, name)
    if name in _OWN:
        built = _build_own(name, in_chans, common, given, extra)
    else:
        from foveal.backbones import timm_bridge

        if not timm_bridge.is_model(name):
            known = list(dict.fromkeys([*list_backbones(), *timm_bridge.model_names()]))
            raise FovealError(f"there is no backbone '{name}'", hint=nearest(name, known))
        for key in sorted(set(given) - timm_bridge.honours(name)):
            raise _cannot(name, key, given[key])
        built = timm_bridge.build(name, in_chans=in_chans, extra=extra, **given)
    if mix:
        built = built._replace(body=mixed(name, built.body, built.ends))
        given = {**given, "mix": True}
    spec = {"name": name, "in_chans": in_chans, **given, **extra}
    return Backbone(built.body, ends=built.ends, dim=built.dim, in_chans=in_chans, spec=spec)


def list_backbones() -> list[str]:
    """The names to begin with; ``timm.list_models()`` names the rest."""
    return [*_OWN, "resnet18", "resnet50", "resnetv2_50", "vgg16_bn", *_PRESETS, *_ALIASES]


def _build_own(
    name: str, in_chans: int, common: dict[str, Any], given: dict[str, Any], extra: dict[str, Any]
) -> Built:
    build = _OWN[name]
    takes = set(inspect.signature(build).parameters) - {"name", "in_chans"}
    for key in given:
        if key not in takes:
            raise _cannot(name, key, given[key])
    for key in extra:
        if key not in takes:
            raise FovealError(f"{name} has no argument '{key}'", hint=nearest(key, sorted(takes)))
    arguments = {key: value for key, value in common.items() if key in takes}
    return build(name, in_chans=in_chans, **arguments, **extra)


def _cannot(name: str, key: str, value: Any) -> FovealError:
    return FovealError(
        f"{name} cannot be built with {key}={value!r}", hint=f"these can: {_COMMON[key][1]}"
    )


def _plain(name: str, extra: dict[str, Any]) -> dict[str, Any]:
    """Extra arguments as JSON gives them back, so that a file can hold them."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(extra))
    except (TypeError, ValueError) as error:
        raise FovealError(
            f"an argument of {name} is not a plain value: {error}",
            hint="numbers, strings, booleans and lists; layers by name, e.g. act_layer='silu'",
        ) from None
    return plain
