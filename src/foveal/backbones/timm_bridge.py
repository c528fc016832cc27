"""timm behind the contract: with ``timm_surgery`` the only module that touches timm's internals.

Needs timm 1.0.16: earlier ones count ConvNeXt's end points differently, have none for
pre-activation ResNets, and cannot load a folder.

Legend: B images, C channels, H, W pixels, P patches, N tokens (prefix tokens and patches), D
features.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from timm import create_model, list_models
from timm import is_model as timm_knows
from timm.layers import resample_abs_pos_embed
from timm.models import get_pretrained_cfg, model_entrypoint
from torch import Tensor, nn

from foveal.backbones import timm_surgery
from foveal.backbones.base import End, LastStage
from foveal.backbones.chain import Built, global_average
from foveal.errors import FovealError
from foveal.recipe import nearest

_NORMS = {
    "batch": "batchnorm2d",
    "group": "groupnorm",
    "layer": "groupnorm1",
    "channel": "layernorm2d",
}
_RESNET = "timm.models.resnet"
_PREACTIVATION = "timm.models.resnetv2"
_VGG = "timm.models.vgg"
_CONVNEXT = "timm.models.convnext"
# Transformers of the plain ViT class, whose position embedding can be resampled.
_VITS = {"timm.models.vision_transformer", "timm.models.deit"}


class TimmTrunk(nn.Module):
    """A timm network without its classifier.

    Args:
        net: Made with ``num_classes=0``.
        rows: End point -> its row in timm's ``forward_intermediates``.
    """

    def __init__(self, net: nn.Module, rows: dict[str, int]) -> None:
        super().__init__()
        self.net = net
        self.rows = rows

    def forward(self, x: Tensor, ends: tuple[str, ...] = ()) -> dict[str, Tensor]:
        """[B, C, H, W] -> the asked end points [B, C', h, w], and ``pooled`` [B, D]."""
        if not ends:
            return {"pooled": self.net(x)}
        net: Any = self.net
        order = sorted(ends, key=self.rows.__getitem__)
        last, maps = net.forward_intermediates(x, indices=[self.rows[name] for name in order])
        return {**dict(zip(order, maps, strict=True)), "pooled": net.forward_head(last)}

    def until(self, x: Tensor, ends: tuple[str, ...]) -> dict[str, Tensor]:
        """See ``Backbone.until``."""
        if not set(ends) <= set(self.rows):  # residual units
            found = self(x, ends)
            return {name: found[name] for name in ends}
        net: Any = self.net
        order = sorted(ends, key=self.rows.__getitem__)
        maps = net.forward_intermediates(
            x, indices=[self.rows[name] for name in order], stop_early=True, intermediates_only=True
        )
        return dict(zip(order, maps, strict=True))

    def last_stage(self) -> LastStage | None:
        """See ``Backbone.last_stage``: of ResNets of both kinds and ConvNeXt."""
        net: Any = self.net
        if type(net).__module__ not in (_RESNET, _PREACTIVATION, _CONVNEXT):
            return None
        own = [net.get_submodule(net.feature_info[-1]["module"])]
        if type(net).__module__ == _PREACTIVATION:
            own.append(net.norm)
        return LastStage(list(self.rows)[-2], nn.Sequential(*own, *global_average()))


class UnitTrunk(TimmTrunk):
    """A ResNet whose every residual unit is an end point, ``stage3_unit5``.

    Args:
        net, rows: See ``TimmTrunk``.
        chains: Paths of the stages' blocks inside the network, in order.
    """

    def __init__(self, net: nn.Module, rows: dict[str, int], chains: list[str]) -> None:
        super().__init__(net, rows)
        self.chains = chains

    def forward(self, x: Tensor, ends: tuple[str, ...] = ()) -> dict[str, Tensor]:
        """[B, C, H, W] -> the asked end points [B, C', h, w], and ``pooled`` [B, D]."""
        kept: dict[str, Tensor] = {}

        def keep(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
            return lambda block, args, out: kept.__setitem__(name, out)

        hooks = [
            block.register_forward_hook(keep(name))
            for i, path in enumerate(self.chains, 1)
            for j, block in enumerate(self.net.get_submodule(path).children(), 1)
            if (name := f"stage{i}_unit{j}") in ends
        ]
        try:
            found = super().forward(x, tuple(e for e in ends if e in self.rows))
        finally:
            for hook in hooks:
                hook.remove()
        return {**kept, **found}

    def pool(self, x: Tensor) -> Tensor:
        """The last stage's map [B, C, h, w] -> ``pooled`` [B, D]."""
        net: Any = self.net
        pooled: Tensor = net.forward_head(net.norm(x) if hasattr(net, "norm") else x)
        return pooled


class TimmTransformer(TimmTrunk):
    """A plain vision transformer: any size its patch divides, and tokens to drop or replace."""

    def forward(self, x: Tensor, ends: tuple[str, ...] = ()) -> dict[str, Tensor]:
        """[B, C, H, W] -> the asked end points [B, D, h, w], and ``pooled`` [B, D]."""
        self._check_size(x)
        return super().forward(x, ends)

    def tokens(
        self,
        x: Tensor,
        keep: Tensor | None = None,
        mask: Tensor | None = None,
        mask_token: Tensor | None = None,
    ) -> Tensor:
        """Normed tokens of the last block [B, N, D], prefix tokens first.

        Args:
            x: Images [B, C, H, W].
            keep: int64 [B, K]: patches kept before the blocks, in this order.
            mask: bool [B, P]: patches replaced by ``mask_token`` before positions are added.
            mask_token: [D].
        """
        self._check_size(x)
        net: Any = self.net
        z = net.patch_embed(x)
        if mask is not None:
            if mask_token is None:
                raise FovealError("a mask was given without the token that replaces the patches")
            # [B, h, w, D] or [B, P, D], as the position embedding wants it.
            where = mask.reshape(*z.shape[:-1], 1)
            z = torch.where(where, mask_token.to(z.dtype), z)
        z = net._pos_embed(z)
        if keep is not None:
            prefix = net.num_prefix_tokens
            rows = keep.unsqueeze(-1).expand(-1, -1, z.shape[-1])
            z = torch.cat([z[:, :prefix], z[:, prefix:].gather(1, rows)], 1)
        tokens: Tensor = net.norm(net.blocks(net.norm_pre(net.patch_drop(z))))
        return tokens

    def resample_positions(self, name: str, value: Tensor) -> Tensor | None:
        """Another grid's position embedding [1, N, D] for this grid; None if it is none."""
        net: Any = self.net
        own = net.pos_embed
        if name != "net.pos_embed" or value.dim() != 3 or value.shape[2] != own.shape[2]:
            return None
        prefix = 0 if net.no_embed_class else net.num_prefix_tokens
        side = math.isqrt(value.shape[1] - prefix)
        if side * side != value.shape[1] - prefix:
            return None
        resampled: Tensor = resample_abs_pos_embed(
            value, list(net.patch_embed.grid_size), [side, side], num_prefix_tokens=prefix
        )
        return resampled

    def _check_size(self, x: Tensor) -> None:
        net: Any = self.net
        ph, pw = net.patch_embed.patch_size
        if x.shape[-2] % ph or x.shape[-1] % pw:
            raise FovealError(
                f"pictures of {x.shape[-2]}x{x.shape[-1]} are not made of whole {ph}x{pw} patches",
                hint=f"a size that {ph} divides, or network.extra.patch_size",
            )


def is_model(name: str) -> bool:
    """Whether timm has an architecture of this name (a weight tag after a dot is allowed)."""
    return bool(timm_knows(name.partition(".")[0]))


def model_names() -> list[str]:
    """Timm's architectures."""
    return list(list_models())


def honours(name: str) -> set[str]:
    """The common arguments of ``build_backbone`` that make sense for this model."""
    module = _module(name)
    if module == _RESNET:
        return {"width", "stem", "norm", "output_stride", "units"}
    if module in _VITS:
        return {"stem"}
    if module == _PREACTIVATION:
        return {"width", "stem", "norm", "output_stride", "last_relu", "units"}
    if module == _VGG:
        return {"stem", "last_relu"}
    return {"output_stride", "stem"}


def build(
    name: str,
    *,
    in_chans: int,
    extra: dict[str, Any],
    width: float = 1.0,
    stem: str | None = None,
    norm: str | None = None,
    output_stride: int | None = None,
    last_relu: bool | None = None,
    units: bool = False,
) -> Built:
    """A timm network with freshly drawn weights."""
    module = _module(name)
    _check_stem(name, stem)
    if norm is not None and norm not in _NORMS:
        raise FovealError(f"there is no norm '{norm}'", hint=nearest(norm, list(_NORMS)))
    extra = dict(extra)
    top = bool(extra.pop("top", True)) if module == _VGG else True
    plain = output_stride if stem != "patch" else None
    net: Any = _create(name, create_arguments(name, in_chans, norm, plain, extra), width)
    if module == _VGG:
        return timm_surgery.vgg(net, top=top, last_relu=last_relu is not False)
    if stem == "patch" and module not in _VITS and output_stride not in (None, 8):
        raise FovealError(f"{name} with stem=patch has output_stride=8 and no other")
    strides = 1.0
    if module == _RESNET:
        strides = timm_surgery.change_resnet(net, in_chans, width, stem)
    elif module == _PREACTIVATION:
        strides = timm_surgery.change_preactivation(net, stem, last_relu is not False)
    rows, ends = _end_points(net, strides)
    dim = int(getattr(net, "head_hidden_size", None) or net.num_features)
    if units:
        chains = timm_surgery.block_chains(net)
        return Built(UnitTrunk(net, rows, chains), tuple(_with_units(ends, chains, net)), dim)
    return Built((TimmTransformer if module in _VITS else TimmTrunk)(net, rows), tuple(ends), dim)


def create_arguments(
    name: str,
    in_chans: int,
    norm: str | None = None,
    output_stride: int | None = None,
    extra: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Plain keyword arguments of ``timm.create_model`` for a network of ours."""
    arguments: dict[str, Any] = {"num_classes": 0, "in_chans": in_chans}
    if _module(name) in _VITS:
        arguments["dynamic_img_size"] = True
    if norm is not None:
        arguments["norm_layer"] = _NORMS[norm]
    if output_stride is not None:
        arguments["output_stride"] = output_stride
    return {**arguments, **(extra or {})}


def timm_spec(spec: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """``(name, arguments)`` with which timm itself makes the network of a spec.

    None where it is not one unmodified timm network.
    """
    spec = dict(spec)
    name, in_chans = spec.pop("name"), spec.pop("in_chans")
    changed = {
        "width": spec.pop("width", 1.0) != 1.0,
        "last_relu": spec.pop("last_relu", None) is False,
        "mix": bool(spec.pop("mix", False)),
        "top": is_model(name) and _module(name) == _VGG and not spec.pop("top", True),
        "stem": spec.pop("stem", None) not in (None, "image")
        and not (is_model(name) and _module(name) in _VITS),
    }
    if not is_model(name) or any(changed.values()):
        return None
    spec.pop("units", None)  # names of what is there anyway
    norm, stride = spec.pop("norm", None), spec.pop("output_stride", None)
    return name, create_arguments(name, in_chans, norm, stride, spec)


def pretrained_state(name: str) -> dict[str, Tensor]:
    """Weights that timm publishes under a name; the one thing that may download.

    Raises:
        FovealError: Unknown name, no such weights, or no network.
    """
    if not is_model(name):
        raise FovealError(f"timm has no model '{name}'", hint=nearest(name, model_names()))
    try:
        net = create_model(name, pretrained=True)
    except (RuntimeError, OSError, ValueError) as error:
        raise FovealError(
            f"timm's weights '{name}' cannot be loaded: {error}",
            hint="check the connection, or download the file yourself and give its path",
        ) from error
    state: dict[str, Tensor] = net.state_dict()
    return state


def pretrained_normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and spread of the pixels that timm's weights of this name learned with."""
    about = get_pretrained_cfg(name)
    return None if about is None else (tuple(about.mean), tuple(about.std))


def hub_config(
    name: str,
    arguments: dict[str, Any],
    *,
    size: int,
    fraction: float,
    mean: Sequence[float],
    std: Sequence[float],
) -> dict[str, Any]:
    """``config.json`` of timm's hub layout for a network without classifier.

    Args:
        name: From ``timm_spec``, as the next.
        arguments: Of ``timm.create_model``.
        size: Side of the centre view in pixels.
        fraction: Share of the short side it shows.
        mean: Of pixels in [0, 1], per channel.
        std: Likewise.
    """
    net: Any = create_model(name, pretrained=False, **arguments)
    known: dict[str, Any] = net.pretrained_cfg
    channels = arguments["in_chans"]
    cfg: dict[str, Any] = {
        "num_classes": 0,
        "input_size": [channels, size, size],
        "fixed_input_size": "dynamic_img_size" not in arguments
        and bool(known.get("fixed_input_size", False)),
        "interpolation": "bicubic",
        "crop_pct": fraction,
        "crop_mode": "center",
        "mean": list(mean),
        "std": list(std),
        # Named, so that timm leaves it out when a reader asks for classes.
        "classifier": known.get("classifier"),
    }
    if channels == 3:
        # Older versions of timm adapt it whenever the network does not read 3 channels, as if the
        # file did; without a name they leave it alone.
        cfg["first_conv"] = known.get("first_conv")
    return {
        "architecture": name.partition(".")[0],
        "num_classes": 0,
        "num_features": int(net.num_features),
        "global_pool": str(getattr(net, "global_pool", "")) if _module(name) in _VITS else "avg",
        "model_args": {k: v for k, v in arguments.items() if k != "num_classes"},
        "pretrained_cfg": cfg,
    }


def load_line(folder: str) -> str:
    """The line of Python that loads a folder in timm's hub layout (timm 1.0.16 and later)."""
    return f'timm.create_model("local-dir:{folder}", pretrained=True, num_classes=0)'


def load_exported(folder: str) -> nn.Module:
    """The network of a folder in timm's hub layout, loaded as ``load_line`` says."""
    net: nn.Module = create_model(f"local-dir:{folder}", pretrained=True, num_classes=0)
    return net


def _module(name: str) -> str:
    return str(model_entrypoint(name.partition(".")[0]).__module__)


def _create(name: str, arguments: dict[str, Any], width: float) -> nn.Module:
    if width != 1.0 and _module(name) == _PREACTIVATION:
        arguments = {**arguments, "width_factor": width}
    elif width != 1.0:
        arguments = {**arguments, "channels": [round(c * width) for c in (64, 128, 256, 512)]}
    try:
        net: nn.Module = create_model(name, pretrained=False, **arguments)
    except TypeError as error:
        found = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if found is None:
            raise FovealError(f"timm cannot build {name}: {error}") from error
        raise FovealError(
            f"{name} has no argument '{found[1]}'",
            hint="see timm's documentation of the model, or choose another backbone",
        ) from error
    except (AssertionError, NotImplementedError, ValueError, RuntimeError) as error:
        reason = str(error) or type(error).__name__
        raise FovealError(f"timm refuses {name} with {arguments}: {reason}") from error
    return net


def _check_stem(name: str, stem: str | None) -> None:
    module = _module(name)
    possible = {None, "image"}
    if module in (_RESNET, _PREACTIVATION):
        possible |= {"small", "patch"}
    if module in _VITS:
        possible |= {"patch"}
    if stem not in possible:
        words = ", ".join(sorted(s for s in possible if s))
        raise FovealError(
            f"{name} cannot be built with stem={stem!r}",
            hint=f"stem={words} here; stem=small is for small and timm's ResNets",
        )


def _with_units(ends: list[End], chains: list[str], net: Any) -> list[End]:
    """Before every stage its units."""
    lengths = {f"stage{i}": len(net.get_submodule(path)) for i, path in enumerate(chains, 1)}
    named: list[End] = []
    for end in ends:
        count = lengths.get(end.name, 0)
        named += [replace(end, name=f"{end.name}_unit{j}") for j in range(1, count + 1)]
        named.append(end)
    return named


def _end_points(net: Any, strides: float) -> tuple[dict[str, int], list[End]]:
    """Names of timm's feature rows, and the end points they are."""
    rows: dict[str, int] = {}
    ends: list[End] = []
    if not hasattr(net, "forward_intermediates"):
        return rows, ends
    stage = 0
    for row, info in enumerate(net.feature_info):
        module = str(info["module"])
        if hasattr(net, "patch_embed") and (found := re.fullmatch(r"blocks\.(\d+)", module)):
            name = f"block{found[1]}"
        elif re.match(r"(act|bn|conv|norm|stem)", module):
            name = "stem"
        else:
            stage += 1
            name = f"stage{stage}"
        rows[name] = row
        ends.append(End(name, int(info["num_chs"]), max(1, int(info["reduction"] * strides))))
    return rows, ends
