"""A recipe: one frozen, validated description of a run. Unknown keys fail and name the nearest."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from foveal.errors import FovealError

M = TypeVar("M", bound=BaseModel)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Optimiser(_Frozen):
    """What steps the weights."""

    name: Literal["sgd", "adam", "adamw", "lars"] = Field(
        "sgd", description="adam adds the weight decay to the gradient, adamw takes it apart"
    )
    lr: float = Field(0.05, gt=0, description="base learning rate, scaled by `scaling`")
    scaling: Literal["none", "linear", "sqrt"] = Field(
        "linear", description="linear: lr * batch / 256; sqrt: lr * sqrt(batch); none: lr"
    )
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(1e-4, ge=0)
    exclude_1d: bool = Field(
        False, description="no decay and no LARS scaling on biases and norm scales"
    )
    trust: float = Field(0.001, description="LARS eta")
    lars_order: Literal["simclr", "byol"] = Field(
        "simclr", description="learning rate inside (simclr) or outside (byol) the momentum buffer"
    )


class Schedule(_Frozen):
    """How the learning rate moves."""

    name: Literal["cosine", "step", "constant"] = "cosine"
    warmup: float = Field(0.0, ge=0, description="linear warm-up, in epochs")
    milestones: tuple[float, ...] = Field((), description="step: epochs after which lr drops")
    factor: float = Field(0.1, description="step: what lr is multiplied with at a milestone")
    final: float = Field(0.0, ge=0, description="cosine: share of the peak left at the end")


class Network(_Frozen):
    """The trunk."""

    name: str = "resnet18"
    width: float = Field(1.0, gt=0)
    stem: Literal["image", "small", "patch"] | None = None
    norm: Literal["batch", "group", "layer", "channel"] | None = None
    extra: dict[str, Any] = Field({}, description="further arguments of build_backbone")


class Evaluation(_Frozen):
    """How the features are used afterwards: the deterministic centre view."""

    size: int = Field(224, gt=0, description="side in pixels")
    fraction: float = Field(0.875, gt=0, le=1, description="share of the short side kept")


class Cache(_Frozen):
    """Which pixels are read: the files', or a shrunk copy that is quicker to read.

    Part of what a run is, since shrinking moves pixels: the stream is a function of (seed, data,
    cache tier, groups). ``auto`` and an open ``short`` are replaced by what was chosen.
    """

    tier: Literal["none", "auto", "raw", "jpeg"] = Field(
        "none",
        description="raw: pixels, no decoding; jpeg: JPEG again; auto: by data, memory and disk",
    )
    short: int | None = Field(
        None,
        ge=8,
        description="longest short side kept, px; None: 4 x evaluation.size, at most 256",
    )
    quality: int = Field(90, ge=1, le=100, description="of a jpeg copy")
    scaled: bool = Field(
        False, description="decode JPEGs at 7/8 to 1/8 where both sides keep `short` pixels"
    )


class Labels(_Frozen):
    """Which labels the run may see, training and online probe alike; nothing said: all there are.

    The names are kept in ``RUN/labels.txt``, predictions in ``RUN/predicted.csv``.
    """

    per_class: int | None = Field(None, ge=1, description="of so many pictures of every class")
    share: float | None = Field(None, gt=0, le=1, description="of this share of every class")
    seed: int = Field(0, ge=0, description="of the choice; not the run's, so that runs share it")
    file: str | None = Field(None, description="of the pictures this file names, one a line")
    predicted: str | None = Field(
        None, description="classes for all others: a table of `foveal predict`"
    )
    confidence: float = Field(
        0.0, ge=0, le=1, description="predictions less probable than this are left out"
    )
    hierarchy: str | None = Field(
        None, description="what lies above a class: a file of lines child,parent"
    )
    flip: float = Field(0.0, ge=0, le=1, description="noise on purpose: share made another class")
    drop: float = Field(0.0, ge=0, lt=1, description="noise on purpose: share taken away")

    @model_validator(mode="after")
    def _one_choice(self) -> Labels:
        chosen = [n for n in ("per_class", "share", "file") if getattr(self, n) is not None]
        if len(chosen) > 1:
            raise ValueError(f"{' and '.join(chosen)} choose labels in different ways: one of them")
        if self.confidence and self.predicted is None:
            raise ValueError("confidence is of predictions: labels.predicted=FILE goes with it")
        return self


class Adapt(_Frozen):
    """How weights that are good already are continued (with ``init``): carefully, never to worse.

    Worse is a lower online kNN than at the start; without labels, half of the effective rank.
    """

    heads: float = Field(
        1.0, ge=0, description="epochs in which what is new learns alone, the trunk frozen"
    )
    lr: float = Field(0.1, gt=0, description="the trunk's share of the learning rate after that")
    decay: float = Field(
        0.75, gt=0, le=1, description="factor on it for layers of every end point further down"
    )
    patience: int = Field(
        3, ge=1, description="looks in a row that find the features worse and end the training"
    )
    mean: tuple[float, ...] | None = Field(
        None, description="of pixels in [0, 1] by channel, as the weights know them; None: what "
        "their file says, else that of the pictures",
    )  # fmt: skip
    std: tuple[float, ...] | None = Field(None, description="their spread; with mean or not at all")

    @model_validator(mode="after")
    def _mean_and_std(self) -> Adapt:
        if len(self.mean or ()) != len(self.std or ()) or min(self.std or (1.0,)) <= 0:
            raise ValueError("adapt.mean and adapt.std: a number each for every channel, std > 0")
        return self


class Machine(_Frozen):
    """How, not what: may change between a run and its resumption."""

    precision: Literal["auto", "32", "bf16"] = "auto"
    devices: int | Literal["auto"] = "auto"
    cores: int | None = Field(None, ge=1, description="cores to use; None: all there are")
    prefetch: int = Field(
        3, ge=1, description="batches kept ready; on a CPU only while reading waits for the disk"
    )
    cache_folder: str | None = Field(
        None,
        description="where copies are kept; None: FOVEAL_CACHE, else the user's cache",
    )
    keep_decoded: float = Field(
        0.25, ge=0, le=1, description="share of free memory for decoded pictures; 0: none kept"
    )
    checkpoint_every: float = Field(10.0, gt=0, description="minutes between checkpoints")
    keep_every: int = Field(0, ge=0, description="also keep the checkpoint of every N-th epoch")
    log_every: int = Field(20, ge=1, description="steps between lines in metrics.jsonl")
    log: tuple[Literal["tensorboard"], ...] = Field(
        (), description="where metrics go beside metrics.jsonl (extra tensorboard)"
    )
    monitor_every: float = Field(1.0, gt=0, description="epochs between probes and health checks")


class Recipe(_Frozen):
    """One run, completely.

    The method's options are validated by the method itself when the run starts.
    """

    method: str = "simclr"
    options: dict[str, Any] = Field({}, description="options of the method")
    network: Network = Network()
    batch: int = Field(256, gt=0, description="global batch, in samples of the main stream")
    accumulate: int = Field(1, ge=1, description="micro-batches per step")
    gradcache: bool = Field(
        False,
        description="micro-batches with the gradient of the whole batch, for losses that compare "
        "samples; one more forward",
    )
    epochs: float | None = Field(None, gt=0)
    minutes: float | None = Field(None, gt=0, description="time budget instead of epochs")
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    clip: float | None = Field(None, gt=0, description="largest global gradient norm")
    pictures: int | None = Field(
        None,
        ge=1,
        description="learn from so many, drawn by the seed; fewer are part of more",
    )
    seed: int = Field(0, ge=0)
    channels: int | None = Field(
        None, ge=1, description="of the pictures as they are read; None: as most of them are"
    )
    bits: Literal[8, 16] | None = Field(
        None, description="a channel; 16 reads pictures of 8 too; None: 16 where some are found"
    )
    max_bad: float = Field(0.02, ge=0, le=1, description="largest share of unreadable files")
    init: str | None = Field(None, description="weights to start from: a file, a run, timm/NAME")
    init_min_share: float = Field(0.95, ge=0, le=1, description="share that must match")
    init_channels: Literal["averaged", "inflated"] = Field(
        "averaged",
        description="a first layer for more channels: all read as their mean did; or the first "
        "ones keep their own weights",
    )
    adapt: Adapt | None = Field(None, description="continue from good weights; None: as from any")
    evaluation: Evaluation = Evaluation()
    cache: Cache = Cache()
    labels: Labels = Labels()
    machine: Machine = Machine()

    @model_validator(mode="after")
    def _one_budget(self) -> Recipe:
        if (self.epochs is None) == (self.minutes is None):
            raise ValueError("give epochs or minutes, one of them")
        if self.adapt is not None and self.init is None:
            raise ValueError("adapt continues from good weights: init says which")
        if self.batch % self.accumulate:
            raise ValueError(f"batch={self.batch} does not divide by accumulate={self.accumulate}")
        if self.gradcache and self.accumulate == 1:
            raise ValueError("gradcache cuts the batch into `accumulate` parts: 2 or more")
        return self

    def to_json(self) -> dict[str, Any]:
        """Plain values, for recipe.json."""
        return self.model_dump(mode="json")

    def identity(self) -> dict[str, Any]:
        """What decides the result: everything but ``machine``, flat, for comparing two runs."""
        value = self.to_json()
        value.pop("machine")
        return flatten(value)

    def digest(self) -> str:
        """A short hash of ``identity``."""
        text = json.dumps(self.identity(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, with dotted keys."""
    flat: dict[str, Any] = {}
    for name, item in value.items():
        if isinstance(item, Mapping) and item:
            flat |= flatten(item, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = item
    return flat


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Lines ``key: old -> new`` for flat dictionaries that differ."""
    missing = "(not set)"
    return [
        f"{k}: {old.get(k, missing)!r} -> {new.get(k, missing)!r}"
        for k in sorted(set(old) | set(new))
        if old.get(k, missing) != new.get(k, missing)
    ]


def nearest(word: str, known: Sequence[str], siblings_of: str | None = None) -> str:
    """A hint that names the nearest known words.

    Args:
        word: What was typed.
        known: What there is.
        siblings_of: A dotted key: also name all keys beside it.
    """
    close = difflib.get_close_matches(word, known, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else ""
    parent = (siblings_of or "").rpartition(".")[0]
    beside = [k for k in known if parent and k.startswith(f"{parent}.")]
    if beside:
        return f"{hint} keys there: {', '.join(beside)}".strip()
    return hint or f"known: {', '.join(sorted(known)[:30])}"


def parse_overrides(pairs: Sequence[str]) -> dict[str, Any]:
    """``["optimiser.lr=0.1"]`` -> nested dictionary; values are JSON where they parse as such."""
    nested: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise FovealError(
                f"'{pair}' is not key=value", hint="for example optimiser.lr=0.1 batch=128"
            )
        try:
            value: Any = json.loads(text)
        except ValueError:
            value = {"True": True, "False": False, "None": None}.get(text, text)
        *parents, leaf = name.strip().split(".")
        where = nested
        for parent in parents:
            where = where.setdefault(parent, {})
            if not isinstance(where, dict):
                raise FovealError(f"'{pair}' sets a part of '{parent}', which is already a value")
        where[leaf] = value
    return nested


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Deep merge of dictionaries; lists and values are replaced."""
    merged = dict(base)
    for name, value in changes.items():
        if isinstance(value, Mapping) and isinstance(merged.get(name), Mapping):
            merged[name] = merge(merged[name], value)
        else:
            merged[name] = value
    return merged


def override(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """A recipe with some values changed; an unknown key names the nearest known one."""
    changes = dict(changes)
    base = recipe.to_json()
    # One budget replaces the other.
    if changes.get("epochs") is not None and "minutes" not in changes:
        changes["minutes"] = None
    if changes.get("minutes") is not None and "epochs" not in changes:
        changes["epochs"] = None
    return validated(Recipe, merge(base, changes), "recipe")


def validated(model: type[M], values: Mapping[str, Any], what: str) -> M:
    """``model(**values)``, with errors for a person."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = []
        hint = None
        for e in error.errors():
            where = ".".join(str(x) for x in e["loc"])
            if e["type"] == "extra_forbidden":
                hint = nearest(where, _dotted(model), siblings_of=where)
                lines.append(f"{what} has no '{where}'")
            else:
                message = e["msg"].removeprefix("Value error, ")
                got = f", got {e['input']!r}" if where else ""
                lines.append(f"{where}: {message}{got}" if where else message)
        raise FovealError("; ".join(lines), hint=hint) from None


def _dotted(model: type[BaseModel], prefix: str = "") -> list[str]:
    """All keys of a model with its sub-models."""
    names = []
    for name, info in model.model_fields.items():
        names.append(prefix + name)
        for kind in get_args(info.annotation) or (info.annotation,):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                names += _dotted(kind, f"{prefix}{name}.")
    return names
