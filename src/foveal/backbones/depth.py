"""How deep each parameter of an encoder lies, counted in end points, for any network."""

from __future__ import annotations

import torch

from foveal.backbones.encoder import Encoder


def parameter_depths(encoder: Encoder) -> dict[str, int]:
    """The first end point that depends on each parameter.

    Asked of autograd rather than of names, so it holds for every trunk: what has a gradient at an
    end point and at none before it belongs to that end point.

    Args:
        encoder: Its mode and its buffers stay as they are.

    Returns:
        By name, 0 for the first end point; as many as there are end points for what only
        ``pooled`` depends on.
    """
    named = dict(encoder.named_parameters())
    ends = [end.name for end in encoder.ends]
    modes = {module: module.training for module in encoder.modules()}
    asked = {name: p.requires_grad for name, p in named.items()}
    device = next((p.device for p in named.values()), torch.device("cpu"))
    picture = torch.full((1, encoder.channels, encoder.size, encoder.size), 0.5, device=device)
    depths = dict.fromkeys(named, len(ends))
    try:
        for p in named.values():
            p.requires_grad_(True)
        with torch.enable_grad():
            found = encoder.eval()(picture, ends)
            # From the last to the first: the first that depends on it has the last word.
            for depth in reversed(range(len(ends))):
                gradients = torch.autograd.grad(
                    found[ends[depth]].sum(),
                    list(named.values()),
                    retain_graph=True,
                    allow_unused=True,
                )
                for name, gradient in zip(named, gradients, strict=True):
                    if gradient is not None:
                        depths[name] = depth
    finally:
        for module, mode in modes.items():
            module.training = mode
        for name, p in named.items():
            p.requires_grad_(asked[name])
    return depths


def module_depths(encoder: Encoder) -> dict[str, int]:
    """The same for modules, with everything that is theirs: parameters, buffers, mode.

    Returns:
        By name. A module with parameters of its own lies where the first of them does; one without
        (a plain batch norm, dropout) where the layer registered before it lies. Modules that only
        hold others are left out.
    """
    depths = parameter_depths(encoder)
    found, before = {}, 0
    for name, module in encoder.named_modules():
        own = [depths[f"{name}.{p}" if name else p] for p, _ in module.named_parameters("", False)]
        if own:
            before = min(own)
        if own or not any(module.children()):
            found[name] = before
    return found
