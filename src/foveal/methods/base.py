"""The contract between a paper and the engine: what a method adds to a backbone.

A method does no I/O and draws nothing random but what its batch offers (dropout and drop path
excepted). The engine owns the loop, the ranks, the optimisers, precision and checkpoints.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from foveal.backbones.base import Backbone
from foveal.backbones.encoder import Encoder
from foveal.backbones.inputs import Normalise
from foveal.core.batch import Batch
from foveal.core.progress import Progress
from foveal.core.rows import Rows
from foveal.data.masked import SoftMask
from foveal.data.sources import Source
from foveal.errors import FovealError
from foveal.views.spec import View

# The families of Jing and Tian's survey (TPAMI 2021, section 2) in its order; the yardstick last.
FAMILIES = {
    "generation": "Generation: rebuild what was taken away",
    "similarity": "Context, similarity: what belongs together",
    "spatial": "Context, spatial structure: how the parts lie",
    "free labels": "Free semantic labels: imitate a program",
    "mixture": "Mixtures",
    "supervised": "With labels",
}


class MethodOptions(BaseModel):
    """Base of every method's options: frozen, validated, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class DataInfo:
    """What a method may know of the data before it is built.

    Attributes:
        samples: Rows of the sample table: images, or what ``Method.samples`` made of them.
        channels: Channels of the pictures.
        mean, std: Per channel, of pixels in [0, 1].
        classes: Number of classes if there are labels, else 0.
        positives: Of each class itself and what lies above it, bool [classes, C], the classes
            first; None: nothing is known to lie above them.
        batch: Samples per step over all ranks.
        seed: The run's seed.
        size, fraction: The centre view the encoder is measured with: side in pixels, share of the
            short side.
    """

    samples: int
    channels: int = 3
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    classes: int = 0
    positives: Tensor | None = None
    batch: int = 0
    seed: int = 0
    size: int = 224
    fraction: float = 0.875

    def normalise(self) -> Normalise:
        """The layer that takes the data's mean and spread out of pictures in [0, 1]."""
        return Normalise(self.mean, self.std)

    def require_colour(self, method: str) -> None:
        """Refuses pictures without colour, however many channels hold the grey.

        Raises:
            FovealError: One channel, or three that are the same in every picture.
        """
        grey = self.channels == 3 and len(set(self.mean)) == len(set(self.std)) == 1
        if self.channels != 3 or grey:
            found = "their channels are all equal" if grey else f"channels: {self.channels}"
            raise FovealError(
                f"{method} learns from the colours of pictures, and these have none ({found})",
                hint="--method rotation or simclr take grey pictures",
            )

    def encoder(
        self,
        trunk: Backbone,
        *inputs: nn.Module,
        grid: int = 1,
        overlap: float = 0.0,
        join: Literal["mean", "max"] = "mean",
    ) -> Encoder:
        """One trunk behind some input layers, for this data's pictures or ``grid**2`` tiles."""
        return Encoder(
            [trunk],
            [inputs],
            channels=self.channels,
            size=self.size,
            fraction=self.fraction,
            grid=grid,
            overlap=overlap,
            join=join,
        )


class BackboneMaker(Protocol):
    """Makes as many trunks as a paper has; what the recipe says is filled in, the rest may be set.

    A composition hands every part the same trunk through its own maker.
    """

    def __call__(self, in_chans: int | None = None, **changes: Any) -> Backbone:
        """A new trunk (``width``, ``stem``, ``norm``, ``output_stride``, ``last_relu``).

        Args:
            in_chans: Channels of its input; None: the pictures'.
            changes: What the paper needs otherwise than the recipe says; ``width`` multiplies
                the recipe's (0.5: half as wide).
        """
        ...


@dataclass(frozen=True)
class Stream:
    """One stream of samples.

    Attributes:
        views: The views of each sample, by name.
        size: Samples per step, as a multiple of the recipe's batch.
        every: (period, offset): drawn at steps with ``step % period == offset``.
        optimiser: The optimiser that steps when this stream was drawn.
        counts_epoch: Whether this stream's passes are the run's epochs; exactly one stream is. A
            pass over a labelled stream is over the labelled samples alone.
        labelled: Draw only samples with a label.
    """

    views: dict[str, View]
    size: float = 1.0
    every: tuple[int, int] = (1, 0)
    optimiser: str = "main"
    counts_epoch: bool = True
    labelled: bool = False


@dataclass
class Losses:
    """What ``Method.loss`` returns.

    Attributes:
        loss: Scalar, the mean over this rank's rows; the engine averages over ranks.
        log: Detached scalars to log, means over this rank's rows.
        rows: Detached tensors [B, ...] of this rank's rows; ``after_step`` gets them for the whole
            global batch in sample order.
        means: Detached tensors; ``after_step`` gets their mean over ranks and micro-batches.
    """

    loss: Tensor
    log: dict[str, Tensor] = field(default_factory=dict)
    rows: dict[str, Tensor] = field(default_factory=dict)
    means: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class Group:
    """Parameters that are optimised alike.

    Attributes:
        parameters: The parameters; they may be in the groups of several optimisers.
        lr: Factor on the learning rate.
        decay: Factor on the weight decay.
        constant_lr: Keep the peak learning rate for the whole run (SimSiam's predictor).
        frozen_until: Epoch before which the learning rate is 0.
        momentum: Of these parameters, where it differs from the recipe; under adamw the first beta.
        exclude_1d: Let vectors (biases, norm scales) out of decay and LARS scaling; None takes
            the recipe's word.
    """

    parameters: list[nn.Parameter]
    lr: float = 1.0
    decay: float = 1.0
    constant_lr: bool = False
    frozen_until: float = 0.0
    exclude_1d: bool | None = None
    momentum: float | None = None


@dataclass(frozen=True)
class Samples:
    """The rows that streams draw, when they are not simply the images.

    Attributes:
        image: Row of the source, int64 [M].
        box: Region in pixels (top, left, height, width), float32 [M, 4]; None is the whole image.
        targets: By name, what reaches ``batch.targets``: arrays [M, ...], or masks that are read
            with each sample and moved with a view.
    """

    image: NDArray[np.int64]
    box: NDArray[np.float32] | None = None
    targets: dict[str, NDArray[Any] | SoftMask] = field(default_factory=dict)


@dataclass(frozen=True)
class Refreshed:
    """What ``Method.refresh`` did.

    Attributes:
        redrawn: Parameters that were drawn anew: their optimiser state is dropped.
        log: Numbers to log.
        clusters: Of every sample, [N], by the name under which their normalised mutual information
            with the labels is logged where there are labels.
    """

    redrawn: list[nn.Parameter] = field(default_factory=list)
    log: dict[str, float] = field(default_factory=dict)
    clusters: dict[str, NDArray[np.int64]] = field(default_factory=dict)


class FeaturePass(Protocol):
    """One deterministic pass over all samples, in row order."""

    def __call__(
        self,
        fn: Callable[[Tensor], Tensor],
        view: View,
        *,
        mode: Literal["eval", "train"] = "eval",
        update_bn: bool = False,
        count: int | None = None,
    ) -> Rows:
        """Features of all samples, or of some.

        Args:
            fn: Images [B, C, H, W] in [0, 1] -> [B, D]; called without gradient.
            view: The view of each sample.
            mode: Mode of the method's modules meanwhile.
            update_bn: Whether batch-norm buffers may move (only in mode "train").
            count: Of so many samples, drawn by the run's seed; None, or more than there are: all.

        Returns:
            This rank's part of [N, D], on disk; the parts together are all samples, in row order.
        """
        ...


class Method(nn.Module, ABC):
    """One paper.

    Subclasses state ``Options`` and implement ``streams``, ``forward``, ``loss`` and ``encoder``;
    the other hooks only where the paper needs them.
    """

    Options: ClassVar[type[MethodOptions]] = MethodOptions
    title: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    #: One of ``FAMILIES``.
    family: ClassVar[str]
    #: The loss of a sample depends on the others of its batch: plain accumulation is refused.
    couples_samples: bool = False
    #: ``forward`` gives the same again for the same batch and seed, also without gradient, as
    #: GradCache needs it (not where it computes gradients itself, as adversarial training does).
    replayable: bool = True
    #: It cannot do without labels.
    needs_labels: ClassVar[bool] = False
    #: It learns from frames with masks, as ``foveal data motion`` writes them.
    needs_masks: ClassVar[bool] = False
    #: Side in pixels below which the planner makes no view (tiles of it would show nothing).
    least_view: ClassVar[int] = 0
    #: Of a combination: the methods it is made of, by the names of their options.
    parts: ClassVar[dict[str, type[Method]]] = {}

    def __init__(self, make: BackboneMaker, data: DataInfo, options: Any) -> None:
        super().__init__()
        self.data = data
        self.options = options

    @abstractmethod
    def streams(self) -> dict[str, Stream]:
        """The streams by name. The same object is asked once, before training."""

    @abstractmethod
    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Networks only: everything trained is used here, first axis = samples of the batch.

        Writes nothing but batch-norm statistics.
        """

    @abstractmethod
    def loss(self, out: dict[str, Tensor], batch: Batch, progress: Progress) -> Losses:
        """The loss from the outputs, in float32, outside DDP, compile and autocast."""

    @abstractmethod
    def encoder(self) -> Encoder:
        """What is evaluated, embedded and exported; shares this method's modules."""

    @classmethod
    def tells_turns(cls, options: Any) -> bool:
        """Whether with these options it learns which side of a picture is up."""
        return False

    def classifiers(self) -> list[nn.Linear]:
        """Layers from the encoder's pooled features to the logits of the classes.

        The first is handed over with the backbone; ``--init`` of a run with the same classes
        fills all of them.
        """
        return []

    def embedding(self) -> nn.Linear | None:
        """The layer from the encoder's pooled features to what it compares pictures by; None: none.

        It is handed over beside the backbone, for ``--layer embedding``.
        """
        return None

    def samples(self, source: Source) -> Samples | None:
        """The sample table; None: every image once.

        Asked once a start, before the ranks know each other; it may read pictures, and what it
        returns is a function of the source and the seed alone.
        """
        return None

    def sample_groups(self) -> Tensor | dict[str, Tensor] | None:
        """[N] group of each sample, -1 = left out; every non-empty group is drawn equally often.

        By stream where streams differ; those that are not named draw every sample.
        """
        return None

    def parameter_groups(self) -> dict[str, list[Group]]:
        """Parameter groups of each optimiser named by the streams."""
        return {"main": [Group(trained_parameters(self))]}

    def refresh_due(self, progress: Progress) -> bool:
        """Whether ``refresh`` runs before the step under way."""
        return False

    def refresh(self, run: FeaturePass, progress: Progress) -> Refreshed:
        """Recomputes what depends on all samples (pseudo-labels).

        Heads are re-drawn in place; shapes never change.
        """
        return Refreshed()

    @torch.no_grad()
    def after_step(
        self, rows: dict[str, Tensor], means: dict[str, Tensor], progress: Progress
    ) -> None:
        """After the optimiser: averages, banks, queues, centres.

        Args:
            rows: ``Losses.rows`` of the whole global batch in sample order.
            means: ``Losses.means`` averaged over ranks and micro-batches.
            progress: Still that of the step just done.
        """

    def facts(self) -> dict[str, float]:
        """Numbers fixed before training that are worth knowing; logged once, at the start."""
        return {}

    def trivial_losses(self) -> dict[str, float]:
        """Loss values that mean "nothing was learned", by what they mean in words."""
        return {}


def trained_parameters(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that ask for gradients."""
    return [p for p in module.parameters() if p.requires_grad]
