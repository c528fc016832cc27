"""ResNets under the names that torchvision and detectron2 give the same layers.

Timm, torchvision and detectron2 build the same ResNets (v1.5: stride in the 3x3 convolutions).
torchvision names them as timm does. detectron2 counts stages from 2, calls a norm by its
convolution and the convolution beside a block its shortcut:

    conv1.weight                  stem.conv1.weight
    bn1.running_mean              stem.conv1.norm.running_mean
    layer1.0.conv2.weight         res2.0.conv2.weight
    layer1.0.bn2.bias             res2.0.conv2.norm.bias
    layer1.0.downsample.0.weight  res2.0.shortcut.weight
    layer1.0.downsample.1.weight  res2.0.shortcut.norm.weight
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from foveal.backbones.encoder import Encoder
from foveal.core.files import atomic_path, write_text
from foveal.errors import FovealError
from foveal.exporting.compare import compare
from foveal.exporting.plain import PREFIX, PlainNetwork, plain_network

# By name: depth, groups and width of a group, as detectron2's configuration asks for them.
RESNETS = {
    "resnet18": (18, 1, 64),
    "resnet34": (34, 1, 64),
    "resnet50": (50, 1, 64),
    "resnet101": (101, 1, 64),
    "resnet152": (152, 1, 64),
    "resnext50_32x4d": (50, 32, 4),
    "resnext101_32x8d": (101, 32, 8),
    "wide_resnet50_2": (50, 1, 128),
    "wide_resnet101_2": (101, 1, 128),
}
_MODEL = "model.pth"


def export_torchvision(
    encoder: Encoder, about: dict[str, Any], folder: Path, out: Path
) -> tuple[str, float]:
    """``model.pth``: the state dict of torchvision's network without its classifier."""
    import torchvision

    plain = _resnet(encoder, "torchvision")
    with atomic_path(folder / _MODEL) as temporary:
        torch.save(_state(encoder), temporary)
    net = getattr(torchvision.models, plain.name)()
    net.fc = torch.nn.Identity()
    net.load_state_dict(torch.load(folder / _MODEL, weights_only=True))
    net.eval()
    mean, std = (torch.tensor(v)[:, None, None] for v in (plain.mean, plain.std))
    difference = compare(encoder, lambda pictures: net((pictures - mean) / std))
    line = (
        f"net = torchvision.models.{plain.name}(); net.fc = torch.nn.Identity(); "
        f'net.load_state_dict(torch.load("{out / _MODEL}"))'
    )
    return line, difference


def export_detectron2(
    encoder: Encoder, about: dict[str, Any], folder: Path, out: Path
) -> tuple[str, float]:
    """``model.pkl`` with detectron2's names, and ``detectron2.yaml`` that goes with it.

    Read back by detectron2's rules as its documentation has them; detectron2 itself is not needed.
    """
    plain = _resnet(encoder, "detectron2")
    state = {
        detectron2_name(name): value.numpy()
        for name, value in _state(encoder).items()
        if not name.endswith("num_batches_tracked")
    }
    # matching_heuristics: names are compared from their end, wherever the backbone stands in a
    # detector (backbone.res2..., backbone.bottom_up.res2...).
    values = {"model": state, "__author__": "foveal", "matching_heuristics": True}
    with atomic_path(folder / "model.pkl") as temporary:
        temporary.write_bytes(pickle.dumps(values, protocol=4))
    write_text(folder / "detectron2.yaml", _configuration(plain, out.resolve() / "model.pkl"))
    written = pickle.loads((folder / "model.pkl").read_bytes())["model"]
    net = as_detectron2_reads(written, groups=RESNETS[plain.name][1])
    mean, std = (255 * torch.tensor(v)[:, None, None] for v in (plain.mean, plain.std))
    difference = compare(encoder, lambda pictures: net((255 * pictures - mean) / std))
    return f'cfg.merge_from_file("{out / "detectron2.yaml"}")', difference


def detectron2_name(name: str) -> str:
    """Detectron2's name of a parameter or buffer that timm and torchvision call ``name``."""
    name = re.sub(r"^layer(\d)", lambda m: f"res{int(m[1]) + 1}", name)
    name = re.sub(r"\bbn(\d)", r"conv\1.norm", name)
    name = name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
    return name if name.startswith("res") else f"stem.{name}"


def as_detectron2_reads(
    state: dict[str, NDArray[np.float32]], *, groups: int = 1
) -> Callable[[Tensor], Tensor]:
    """The ResNet that detectron2 makes of such names, as a function.

    Args:
        state: By detectron2's names.
        groups: Of the 3x3 convolutions in bottlenecks (``NUM_GROUPS``).

    Returns:
        Normalised pictures [B, 3, H, W] -> the mean over the cells of res5, [B, D].
    """
    tensors = {name: torch.from_numpy(value) for name, value in state.items()}

    def layer(x: Tensor, name: str, stride: int = 1, groups: int = 1) -> Tensor:
        weight = tensors[f"{name}.weight"]
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2, groups=groups)
        mean, var, scale, shift = (
            tensors[f"{name}.norm.{part}"]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, var, scale, shift)

    def block(x: Tensor, name: str, stride: int) -> Tensor:
        bottleneck = f"{name}.conv3.weight" in tensors
        y = layer(x, f"{name}.conv1", 1 if bottleneck else stride).relu()
        y = layer(y, f"{name}.conv2", stride if bottleneck else 1, groups if bottleneck else 1)
        if bottleneck:
            y = layer(y.relu(), f"{name}.conv3")
        beside = f"{name}.shortcut"
        return (y + (layer(x, beside, stride) if f"{beside}.weight" in tensors else x)).relu()

    def net(x: Tensor) -> Tensor:
        x = F.max_pool2d(layer(x, "stem.conv1", 2).relu(), 3, stride=2, padding=1)
        for stage in range(2, 6):
            number = 0
            while f"res{stage}.{number}.conv1.weight" in tensors:
                x = block(x, f"res{stage}.{number}", 2 if stage > 2 and number == 0 else 1)
                number += 1
        return x.mean(dim=(2, 3))

    return net


def _resnet(encoder: Encoder, library: str) -> PlainNetwork:
    plain = plain_network(encoder, library)
    changed = set(plain.arguments) - {"num_classes", "in_chans"}
    if plain.name not in RESNETS or encoder.channels != 3 or changed:
        what = f"{plain.name} on {encoder.channels} channels" + (
            f" with {', '.join(sorted(changed))}" if changed else ""
        )
        raise FovealError(
            f"{library} has no {what}; it has, on 3 channels, {', '.join(RESNETS)}",
            hint="--format timm",
        )
    return plain


def _state(encoder: Encoder) -> dict[str, Tensor]:
    """The network's parameters and buffers by timm's names, contiguous copies."""
    return {
        name.removeprefix(PREFIX): value.detach().clone(memory_format=torch.contiguous_format)
        for name, value in encoder.state_dict().items()
        if name.startswith(PREFIX)
    }


def _configuration(plain: PlainNetwork, weights: Path) -> str:
    """What a detector's configuration must say for these weights."""
    depth, groups, width = RESNETS[plain.name]
    mean, std = ([round(255 * v, 4) for v in values] for values in (plain.mean, plain.std))
    # Blocks of two convolutions do not widen: the stem's 64 channels go on.
    out = "\n    RES2_OUT_CHANNELS: 64" if depth < 50 else ""
    return f"""MODEL:
  WEIGHTS: "{weights}"
  PIXEL_MEAN: {mean}
  PIXEL_STD: {std}
  RESNETS:
    DEPTH: {depth}
    NUM_GROUPS: {groups}
    WIDTH_PER_GROUP: {width}
    STRIDE_IN_1X1: False{out}
INPUT:
  FORMAT: "RGB"
"""
