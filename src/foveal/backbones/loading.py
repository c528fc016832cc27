"""Weights into a trunk: whose names fit, how many did, and a refusal where too few did."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from foveal.backbones.base import Backbone
from foveal.errors import FovealError

# Where checkpoints keep their state dicts; the first that is found is opened, again and again.
_NESTS = (
    "state_dict",
    "model_state_dict",
    "model",
    "method",
    "teacher",
    "net",
    "module",
    "student",
)
# Parameters of classifiers and projections, which no trunk has.
_HEADS = ("fc", "head", "heads", "classifier", "head_drop", "projector", "projection", "predictor")
_SHOWN = 4
KEY = "foveal"  # in the metadata of a file: which network it is for
_PICKLE = (".pth", ".pt", ".bin", ".ckpt", ".tar")


@dataclass
class LoadReport:
    """What became of every name.

    Attributes:
        source: Where the weights came from.
        matched: Parameters and buffers of the trunk that were filled.
        missing: Those that kept their initial values.
        unexpected: Names of the file that fit nowhere, heads among them.
        reshaped: What was adapted, in words.
        share: Share of the trunk's parameter values that were filled.
        prefix: What was cut off the file's names, and put before them.
    """

    source: str
    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    reshaped: list[str] = field(default_factory=list)
    share: float = 0.0
    prefix: str = ""

    def __str__(self) -> str:
        """One line, and the names that did not fit below it."""
        lines = [
            f"{len(self.matched)} names matched ({self.share:.1%} of the parameters), "
            f"{len(self.missing)} missing, {len(self.unexpected)} unexpected"
        ]
        for title in ("missing", "unexpected", "reshaped"):
            if names := getattr(self, title):
                lines.append(f"  {title}: {_some(names)}")
        return "\n".join(lines)


def load_weights(
    backbone: Backbone,
    init: str | Path,
    *,
    min_share: float = 0.95,
    channels: Literal["averaged", "inflated"] = "averaged",
) -> LoadReport:
    """Fills a trunk with weights from elsewhere.

    Names are compared after cutting off the prefix (``module.``, ``encoder.``, ...) with which
    most of them fit. A first convolution for another number of channels is adapted.

    Args:
        backbone: Changed in place, only when enough matched.
        init: A run folder of foveal, an exported folder or file, a state dict (``.safetensors``,
            ``.pth``, ``.pt``; never executed), or ``timm/NAME``, which may download.
        min_share: Refuse when a smaller share of the trunk's parameters was matched.
        channels: What a first convolution makes of more channels than it had: each reads as their
            mean did (``averaged``), or the first ones keep their own weights (``inflated``).

    Raises:
        FovealError: No such file, damaged, executable content, or a poor match.
    """
    source = str(init)
    state = read_state(init)
    own = backbone.state_dict()
    first = _first_convolution(backbone)
    cut, added = _best_prefix(state, own, first)
    report = LoadReport(source, prefix=cut)
    found: dict[str, Tensor] = {}
    wrong: list[str] = []
    for name, value in state.items():
        target = added + name.removeprefix(cut)
        if not name.startswith(cut) or target not in own:
            report.unexpected.append(name)
        elif value.shape == own[target].shape:
            found[target] = value
        elif target == first and _compatible(target, value, own[target], first):
            found[target], words = _adapt_channels(value, own[target], channels)
            report.reshaped.append(f"{name}: {words}")
        elif (resampled := _resample(backbone, target, value)) is not None:
            found[target] = resampled
            report.reshaped.append(f"{name}: position embedding resampled")
        else:
            wrong.append(f"{name} {_shape(value)} for {_shape(own[target])}")
    report.matched = [name for name in own if name in found]
    report.missing = [name for name in own if name not in found]
    report.unexpected = _heads_last(report.unexpected)
    sizes = {name: p.numel() for name, p in backbone.named_parameters()}
    total = sum(sizes.values())
    report.share = sum(n for name, n in sizes.items() if name in found) / max(total, 1)
    if report.share < min_share:
        raise FovealError(
            f"{source} fits {report.share:.1%} of {backbone.spec['name']}'s parameters, and "
            f"{min_share:.0%} are asked for; missing: {_some(report.missing) or 'none'}; "
            f"unexpected: {_some(report.unexpected) or 'none'}; "
            f"other shapes: {_some(wrong) or 'none'}",
            hint="the --backbone the weights were made with, or init_min_share=0 to accept it",
        )
    report.unexpected += [f"{text} (shape)" for text in wrong]
    with torch.no_grad():
        for name, value in found.items():
            own[name].copy_(value)
    return report


def read_state(init: str | Path) -> dict[str, Tensor]:
    """The tensors of a file, a folder or ``timm/NAME`` by name; nothing in them is executed.

    Raises:
        FovealError: See ``load_weights``.
    """
    if name := _timm_name(init):
        from foveal.backbones.timm_bridge import pretrained_state

        return pretrained_state(name)
    path = weights_file(init)
    if not path.is_file():
        raise FovealError(
            f"there are no weights at {path}",
            hint="a run folder, a .safetensors, .pth or .pt file, or timm/NAME",
        )
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    if path.suffix not in _PICKLE:
        raise FovealError(
            f"{path} is no file of weights",
            hint=f"one that ends in .safetensors, {', '.join(_PICKLE)}",
        )
    return _tensors(_unpickle(path), path)


def _timm_name(init: str | Path) -> str:
    """NAME of ``timm/NAME``; empty: it is a path."""
    text = str(init)
    return text.removeprefix("timm/") if text.startswith("timm/") else ""


def weights_file(path: str | Path) -> Path:
    """The weights in a run folder or an exported folder; any other path is taken as it is.

    Raises:
        FovealError: A folder without any, or of a run that has not finished.
    """
    folder = Path(path)
    if not folder.is_dir():
        return folder
    for name in ("backbone.safetensors", "model.safetensors"):
        if (folder / name).is_file():
            return folder / name
    if (folder / "recipe.json").is_file():
        raise FovealError(
            f"{folder} is a run that has not finished: it has no backbone.safetensors yet",
            hint="run the same pretrain command again to finish it",
        )
    raise FovealError(
        f"{folder} holds no backbone.safetensors", hint="a run folder or an exported folder"
    )


def read_description(path: Path) -> dict[str, Any] | None:
    """What foveal wrote into the metadata of a safetensors file; None: another program wrote it.

    Raises:
        FovealError: It is damaged.
    """
    try:
        with safe_open(path, "pt") as f:
            metadata = f.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise FovealError(
            f"{path} is damaged or no safetensors file: {error}", hint="export or copy it again"
        ) from error
    found: dict[str, Any] | None = json.loads(metadata[KEY]) if KEY in metadata else None
    return found


def normalisation_of(init: str | Path) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and spread, by channel, of the pixels that weights learned with; None: nothing says.

    Args:
        init: See ``load_weights``.
    """
    if name := _timm_name(init):
        from foveal.backbones.timm_bridge import pretrained_normalisation

        return pretrained_normalisation(name)
    path = weights_file(init)
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    about = read_description(path)
    for layers in (about or {}).get("encoder", {}).get("inputs", []):
        for layer in layers:
            if layer["layer"] == "normalise":
                return tuple(layer["mean"]), tuple(layer["std"])
    return None


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file.

    Raises:
        FovealError: It is damaged.
    """
    try:
        state: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise FovealError(
            f"{path} is damaged or no safetensors file: {error}",
            hint="copy or export it again",
        ) from error
    return state


def _unpickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise FovealError(
            f"{path} holds more than tensors and plain values, so it was not opened: loading it "
            "could run code",
            hint="save only its state_dict, e.g. as .safetensors, where you trust the file",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise FovealError(f"{path} cannot be read: {error}", hint="copy it again") from error


def _tensors(value: Any, path: Path) -> dict[str, Tensor]:
    """Opens nested checkpoints until a dictionary with tensors appears."""
    while isinstance(value, dict):
        tensors = {str(k): v for k, v in value.items() if isinstance(v, Tensor)}
        if tensors:
            return tensors
        nested = [key for key in _NESTS if isinstance(value.get(key), dict)]
        if not nested:
            break
        value = value[nested[0]]
    raise FovealError(
        f"{path} holds no state dict", hint=f"one at its top, or under {', '.join(_NESTS)}"
    )


def _best_prefix(
    state: dict[str, Tensor], own: dict[str, Tensor], first: str | None
) -> tuple[str, str]:
    """``(cut, added)``: the change of prefix after which most values fit.

    Every pair of a file's name and a trunk's name with the same ending proposes one; the pair
    that is proposed for most values wins, the shorter one where two are equal.
    """
    endings: dict[str, list[str]] = {}
    for name in own:
        parts = name.split(".")
        for i in range(len(parts)):
            endings.setdefault(".".join(parts[i:]), []).append(name)
    votes: Counter[tuple[str, str]] = Counter()
    for name, value in state.items():
        parts = name.split(".")
        for i in range(len(parts)):
            ending = ".".join(parts[i:])
            for target in endings.get(ending, ()):
                if _compatible(target, value, own[target], first):
                    pair = (name.removesuffix(ending), target.removesuffix(ending))
                    votes[pair] += max(value.numel(), 1)
    if not votes:
        return "", ""
    return max(votes, key=lambda pair: (votes[pair], -len(pair[0]) - len(pair[1])))


def _first_convolution(backbone: Backbone) -> str | None:
    """The weight that reads the picture."""
    for name, parameter in backbone.named_parameters():
        if parameter.dim() == 4:
            return name if parameter.shape[1] == backbone.in_chans else None
    return None


def _compatible(name: str, value: Tensor, own: Tensor, first: str | None) -> bool:
    """The same shape, or first convolutions that differ in the channels they read."""
    return value.shape == own.shape or (
        name == first
        and value.dim() == 4
        and value.shape[0] == own.shape[0]
        and value.shape[2:] == own.shape[2:]
    )


def _adapt_channels(value: Tensor, own: Tensor, how: str) -> tuple[Tensor, str]:
    """A first convolution for another number of channels.

    The response to a picture whose channels are all alike stays what it was.
    """
    before, after = value.shape[1], own.shape[1]
    adapted = value.float().mean(1, keepdim=True).expand(own.shape).clone()
    words = "summed into 1" if after == 1 else f"averaged into {after}"
    if how == "inflated" and after > before:
        adapted[:, :before] = value
        words = f"inflated to {after}: the first {before} keep theirs, the others read their mean"
    adapted *= before / after
    return adapted.to(own.dtype), f"{before} input channels {words}"


def _resample(backbone: Backbone, name: str, value: Tensor) -> Tensor | None:
    """A position embedding for another number of patches, where the trunk has one."""
    body: Any = backbone.body
    if not hasattr(body, "resample_positions"):
        return None
    resampled: Tensor | None = body.resample_positions(name.removeprefix("body."), value)
    return resampled


def _heads_last(names: list[str]) -> list[str]:
    return sorted(names, key=lambda name: any(part in _HEADS for part in name.split(".")))


def _shape(value: Tensor) -> str:
    return "x".join(str(n) for n in value.shape) or "scalar"


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
