"""The gradient of one step: in one go, added up over micro-batches, or exact through GradCache."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from foveal.backbones.base import Backbone
from foveal.core import rng
from foveal.core.batch import Batch, split
from foveal.core.progress import Progress
from foveal.data.loader import StreamPlan
from foveal.engine.build import Call
from foveal.errors import FovealError
from foveal.methods.base import Losses, Method
from foveal.recipe import Recipe


class Gradients:
    """Leaves the gradient of a batch in ``.grad`` of the parameters, averaged over ranks.

    Args:
        module: ``ForwardOnly(method)`` as Fabric wrapped it.
        method: The bare method.
        fabric: Devices and ranks.
        recipe: Says into how many micro-batches a batch is cut, and how they are put together.
    """

    def __init__(
        self, module: _FabricModule, method: Method, fabric: Fabric, recipe: Recipe
    ) -> None:
        self.module, self.method, self.fabric, self.recipe = module, method, fabric, recipe

    def __call__(self, batch: Batch, progress: Progress) -> list[Losses]:
        """What ``Method.loss`` said of every part, in sample order."""
        parts = split(batch, self.recipe.accumulate)
        if self.recipe.gradcache:
            return [self._cached(batch, parts, progress)]
        done = []
        for i, part in enumerate(parts):
            with self._sync_at_last(i, len(parts)):
                losses = self.method.loss(self._forward(part, progress, i), part, progress)
                self.fabric.backward(losses.loss / len(parts))
            done.append(losses)
        return done

    def _cached(self, batch: Batch, parts: list[Batch], progress: Progress) -> Losses:
        """The whole batch's loss with the memory of one part (Gao et al., "Scaling deep contrastive
        learning batch size under memory limited setup", RepL4NLP 2021).

        A first forward keeps outputs only; the loss of all outputs together gives the gradient of
        every output; a second forward, with the same dropout, carries it on to the parameters.
        """  # noqa: D205
        with torch.no_grad():
            outs = [self._forward(part, progress, i) for i, part in enumerate(parts)]
        joined = {k: torch.cat([out[k] for out in outs]) for k in outs[0]}
        floats = [k for k, v in joined.items() if v.is_floating_point()]
        for k in floats:
            joined[k].requires_grad_()
        losses = self.method.loss(joined, batch, progress)
        gradients = torch.autograd.grad(losses.loss, [joined[k] for k in floats], allow_unused=True)
        of_parts = {
            k: torch.split(g, [len(out[k]) for out in outs])
            for k, g in zip(floats, gradients, strict=True)
            if g is not None
        }
        for i, part in enumerate(parts):
            with self._sync_at_last(i, len(parts)):
                out = self._forward(part, progress, i)
                # Its gradient by each output is just what the loss said.
                carriers = [
                    (out[k] * g[i]).sum() for k, g in of_parts.items() if out[k].requires_grad
                ]
                self.fabric.backward(torch.stack(carriers).sum())
        return losses

    def _forward(self, part: Batch, progress: Progress, index: int) -> dict[str, Tensor]:
        # Dropout and drop path: nothing of torch's generator has to be saved for resuming.
        seed = (self.recipe.seed, "step", progress.step, index, self.fabric.global_rank)
        torch.manual_seed(rng.seed64(*seed))
        out: dict[str, Tensor] = self.module(Call(part, progress))
        return {k: v.float() if v.is_floating_point() else v for k, v in out.items()}

    def _sync_at_last(self, index: int, parts: int) -> AbstractContextManager[None]:
        """Ranks average their gradients during the last backward only."""
        return self.fabric.no_backward_sync(self.module, enabled=index < parts - 1)


def check_micro_batches(
    recipe: Recipe, method: Method, plans: dict[str, StreamPlan], world: int
) -> None:
    """Refuses to cut a batch where that would change the gradient, or one that does not divide."""
    parts = recipe.accumulate
    if recipe.gradcache:
        _check_gradcache(recipe, method)
    elif parts > 1 and method.couples_samples:
        raise FovealError(
            f"the loss of {recipe.method} compares the samples of a batch with each other: "
            "accumulating micro-batches would change it",
            hint="gradcache=true (the whole batch's gradient in the memory of a micro-batch, for "
            f"one more forward), or accumulate=1 with batch={recipe.batch // parts}",
        )
    for plan in plans.values():
        if plan.batch % (world * parts):
            raise FovealError(
                f"stream '{plan.name}' draws {plan.batch} samples a step, which does not divide "
                f"by {world} ranks x {parts} micro-batches",
                hint=f"batch={max(1, recipe.batch // (world * parts)) * world * parts}",
            )


def _check_gradcache(recipe: Recipe, method: Method) -> None:
    """The second forward of a part must give what the first gave, whatever the other parts are."""
    if not method.replayable:
        raise FovealError(
            f"a forward of {recipe.method} cannot be repeated, which GradCache needs",
            hint="gradcache=false",
        )
    layers = [n for n, layer in method.named_modules() if isinstance(layer, _BatchNorm)]
    if not layers:
        return
    trunks = tuple(f"{n}." for n, m in method.named_modules() if isinstance(m, Backbone))
    ways = []
    if any(n.startswith(trunks) for n in layers):
        ways.append("network.norm=group")
    if any(not n.startswith(trunks) for n in layers) and "head_norm" in method.Options.model_fields:
        ways.append("options.head_norm=layer")
    raise FovealError(
        f"GradCache computes a batch in {recipe.accumulate} parts, and {len(layers)} batch norms "
        f"('{layers[0]}' is the first) take their statistics over all of it",
        hint=f"norms within a sample: {' '.join(ways)}" if ways else "gradcache=false accumulate=1",
    )
