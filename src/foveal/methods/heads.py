"""Heads that two or more methods put on a trunk."""

from __future__ import annotations

from typing import Literal

from torch import nn


def mlp(
    inputs: int,
    hidden: int,
    outputs: int,
    *,
    layers: int = 2,
    hidden_bias: bool = True,
    output_bias: bool = True,
    output_norm: bool = False,
    norm: Literal["batch", "layer"] = "batch",
) -> nn.Sequential:
    """Linear layers with a norm and ReLU between them.

    Args:
        inputs: Width of the features.
        hidden: Width between the layers.
        outputs: Width of the result.
        layers: Linear layers; 1 is a linear head, 0 passes the features through.
        hidden_bias: Whether all layers but the last have biases.
        output_bias: Whether the last layer has.
        output_norm: A norm without shift after the last layer (SimCLR's released heads).
        norm: Over the batch, or over the features of each sample.
    """
    if layers == 0:
        return nn.Sequential(nn.Identity())
    layer = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}[norm]
    parts: list[nn.Module] = []
    width = inputs
    for _ in range(layers - 1):
        parts += [
            nn.Linear(width, hidden, bias=hidden_bias),
            layer(hidden),
            nn.ReLU(inplace=True),
        ]
        width = hidden
    parts.append(nn.Linear(width, outputs, bias=output_bias))
    if output_norm:
        last = layer(outputs)
        # The shift is a constant of the layer, not a parameter: it must not be trained.
        last.bias.requires_grad_(False)
        parts.append(last)
    return nn.Sequential(*parts)


def draw_linear(module: nn.Module, std: float = 0.01) -> None:
    """Draws every linear layer from N(0, std**2), biases 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def map_head(channels: int, hidden: int, outputs: int) -> nn.Sequential:
    """1x1 convolutions over a map, batch norm and ReLU between them.

    Args:
        channels: Of the map.
        hidden: Width between the two layers; 0: one layer alone.
        outputs: Width of the result.
    """
    between: list[nn.Module] = []
    if hidden:
        between = [
            nn.Conv2d(channels, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*between, nn.Conv2d(hidden or channels, outputs, 1))
