"""The networks the papers call AlexNet: three of them, told apart by their parameter counts.

* ``alexnet_rotnet``: Gidaris et al., "Unsupervised representation learning by predicting image
  rotations", ICLR 2018: 64-192-384-256-256, batch norm after every layer, 57,030,724 parameters
  with its 4-way head.
* ``alexnet_deepcluster``: Caron et al., "Deep clustering for unsupervised learning of visual
  features", ECCV 2018: 96-256-384-384-256, batch norm after the convolutions, dropout before the
  fully connected layers; its input are the two Sobel channels of ``foveal.backbones.inputs``.
* ``caffenet``: the single-column Caffe model of Krizhevsky et al. (NIPS 2012) that early
  self-supervised papers fine-tune: grouped convolutions, local response norm after the pooling,
  60,965,224 parameters with its 1000-way head. The dropout before that head belongs to the head.

``pooled`` is the last fully connected layer's output of 4096. ``top=False`` leaves the fully
connected layers out and averages conv5 over the picture, so that any input size works.
"""

from __future__ import annotations

from torch import nn

from foveal.backbones.base import End
from foveal.backbones.chain import (
    Built,
    Chain,
    FixedFlatten,
    global_average,
    he_normal,
    norm_layer,
    refuse,
    scaled,
)

FC = 4096
CELLS = 6


def build_alexnet_rotnet(
    name: str,
    *,
    in_chans: int,
    width: float,
    norm: str | None,
    last_relu: bool | None,
    top: bool = True,
) -> Built:
    """RotNet's AlexNet (section 4.2 and its released network): no dropout, no groups.

    The convolutions have biases, the fully connected layers before batch norm have none.

    Args:
        name: For errors.
        in_chans: Channels of the input.
        width: Channel multiplier of the convolutions.
        norm: ``batch`` (also None), ``group`` or ``layer``, after the convolutions; the fully
            connected layers keep batch norm.
        last_relu: Whether the last ReLU before ``pooled`` is there; None is yes.
        top: Whether the fully connected layers are there.
    """
    widths = [scaled(c, width) for c in (64, 192, 384, 256, 256)]
    stages, ends = _convolutions(in_chans, widths, norm, relu5=top or last_relu is not False)
    head = global_average()
    if top:
        head = nn.Sequential(
            nn.MaxPool2d(3, 2),
            FixedFlatten(CELLS, 224),
            nn.Linear(widths[-1] * CELLS * CELLS, FC, bias=False),
            nn.BatchNorm1d(FC),
            nn.ReLU(inplace=True),
            nn.Linear(FC, FC, bias=False),
            nn.BatchNorm1d(FC),
            *_relu(last_relu),
        )
    body = Chain(stages, head)
    he_normal(body)
    return Built(body, ends, FC if top else widths[-1])


def build_alexnet_deepcluster(
    name: str,
    *,
    in_chans: int,
    width: float,
    norm: str | None,
    last_relu: bool | None,
    top: bool = True,
) -> Built:
    """DeepCluster's AlexNet (section 4.1 and its released network).

    Clusters are made of ``pooled`` with ``last_relu=False``.

    Args:
        name: For errors.
        in_chans: Channels of the input; 2 behind ``Sobel``.
        width: Channel multiplier of the convolutions.
        norm: ``batch`` (also None), ``group`` or ``layer``.
        last_relu: Whether the last ReLU before ``pooled`` is there; None is yes.
        top: Whether the fully connected layers are there.
    """
    widths = [scaled(c, width) for c in (96, 256, 384, 384, 256)]
    stages, ends = _convolutions(in_chans, widths, norm, relu5=top or last_relu is not False)
    head = global_average()
    if top:
        head = nn.Sequential(
            nn.MaxPool2d(3, 2),
            FixedFlatten(CELLS, 224),
            nn.Dropout(0.5),
            nn.Linear(widths[-1] * CELLS * CELLS, FC),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(FC, FC),
            *_relu(last_relu),
        )
    body = Chain(stages, head)
    he_normal(body)
    normal_linear(body, std=0.01, bias=0.0)
    return Built(body, ends, FC if top else widths[-1])


def build_caffenet(
    name: str,
    *,
    in_chans: int,
    width: float,
    last_relu: bool | None,
    top: bool = True,
) -> Built:
    """CaffeNet: for 227x227 pixels; the pooling rounds up as Caffe's does, so 224 works too.

    Args:
        name: For errors.
        in_chans: Channels of the input.
        width: Channel multiplier of the convolutions.
        last_relu: Whether the last ReLU before ``pooled`` is there; None is yes.
        top: Whether the fully connected layers are there.
    """
    stages, ends = caffe_convolutions(in_chans, width, relu5=top or last_relu is not False)
    channels = ends[-1].channels
    head = global_average()
    if top:
        head = nn.Sequential(
            nn.MaxPool2d(3, 2, ceil_mode=True),
            FixedFlatten(CELLS, 224),
            nn.Linear(channels * CELLS * CELLS, FC),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(FC, FC),
            *_relu(last_relu),
        )
        normal_linear(head, std=0.005, bias=1.0)
    return Built(Chain(stages, head), ends, FC if top else channels)


def caffe_convolutions(
    in_chans: int, width: float, *, stride: int = 4, relu5: bool = True
) -> tuple[dict[str, nn.Module], tuple[End, ...]]:
    """CaffeNet's five convolutions; the pooling and response norm open the next stage.

    Args:
        in_chans: Channels of the input.
        width: Channel multiplier.
        stride: Of the first convolution; puzzles solved on small tiles take 2.
        relu5: Whether the last convolution's ReLU is there.
    """
    widths = [scaled(c, width) for c in (96, 256, 384, 384, 256)]
    # (kernel, stride, padding, groups, bias at the start, pool and normalise before)
    table = [
        (11, stride, 0, 1, 0.0, False),
        (5, 1, 2, 2, 1.0, True),
        (3, 1, 1, 1, 0.0, True),
        (3, 1, 1, 2, 1.0, False),
        (3, 1, 1, 2, 1.0, False),
    ]
    stages: dict[str, nn.Module] = {}
    ends = []
    channels, cell = in_chans, 1
    for i, (kernel, step, padding, groups, bias, pool) in enumerate(table):
        layers: list[nn.Module] = []
        if pool:
            layers += [
                nn.MaxPool2d(3, 2, ceil_mode=True),
                nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0),
            ]
        conv = nn.Conv2d(channels, widths[i], kernel, step, padding, groups=groups)
        assert conv.bias is not None
        nn.init.normal_(conv.weight, 0.0, 0.01)
        nn.init.constant_(conv.bias, bias)
        layers.append(conv)
        if i < len(table) - 1 or relu5:
            layers.append(nn.ReLU(inplace=True))
        channels, cell = widths[i], cell * step * (2 if pool else 1)
        stages[f"conv{i + 1}"] = nn.Sequential(*layers)
        ends.append(End(f"conv{i + 1}", channels, cell))
    return stages, tuple(ends)


def build_nin(
    name: str,
    *,
    in_chans: int,
    width: float,
    norm: str | None,
    last_relu: bool | None,
    blocks: int = 4,
) -> Built:
    """Network-in-Network as in RotNet's CIFAR experiments (section 4.1), for 32x32 pixels.

    End points are the blocks' outputs, those of blocks 1 and 2 after their pooling.

    Args:
        name: For errors.
        in_chans: Channels of the input.
        width: Channel multiplier.
        norm: ``batch`` (also None), ``group`` or ``layer``.
        last_relu: Whether the last ReLU before ``pooled`` is there; None is yes.
        blocks: 3, 4 or 5 in the paper.
    """
    if blocks < 2:
        raise refuse(name, "blocks", blocks, "blocks=3, 4 or 5")
    stages: dict[str, nn.Module] = {}
    ends = []
    channels, cell = in_chans, 1
    for i in range(blocks):
        kernel = 5 if i < 2 else 3
        outs = (192, 160, 96) if i == 0 else (192, 192, 192)
        layers: list[nn.Module] = []
        for j, (k, out) in enumerate(zip((kernel, 1, 1), outs, strict=True)):
            c = scaled(out, width)
            layers += [
                nn.Conv2d(channels, c, k, padding=k // 2, bias=False),
                norm_layer(norm, c),
            ]
            if i < blocks - 1 or j < 2 or last_relu is not False:
                layers.append(nn.ReLU(inplace=True))
            channels = c
        if i == 0:
            layers.append(nn.MaxPool2d(3, 2, 1))
        if i == 1:
            layers.append(nn.AvgPool2d(3, 2, 1))
        cell *= 2 if i < 2 else 1
        stages[f"block{i + 1}"] = nn.Sequential(*layers)
        ends.append(End(f"block{i + 1}", channels, cell))
    body = Chain(stages, global_average())
    he_normal(body)
    return Built(body, tuple(ends), channels)


def _convolutions(
    in_chans: int, widths: list[int], norm: str | None, *, relu5: bool
) -> tuple[dict[str, nn.Module], tuple[End, ...]]:
    """The five convolutions RotNet and DeepCluster share; the pooling opens the next stage."""
    table = [(11, 4, 2), (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1)]
    stages: dict[str, nn.Module] = {}
    ends = []
    channels, cell = in_chans, 1
    for i, (kernel, stride, padding) in enumerate(table):
        pool = i in (1, 2)
        layers: list[nn.Module] = [nn.MaxPool2d(3, 2)] if pool else []
        layers += [
            nn.Conv2d(channels, widths[i], kernel, stride, padding),
            norm_layer(norm, widths[i]),
        ]
        if i < len(table) - 1 or relu5:
            layers.append(nn.ReLU(inplace=True))
        channels, cell = widths[i], cell * stride * (2 if pool else 1)
        stages[f"conv{i + 1}"] = nn.Sequential(*layers)
        ends.append(End(f"conv{i + 1}", channels, cell))
    return stages, tuple(ends)


def _relu(last_relu: bool | None) -> list[nn.Module]:
    return [] if last_relu is False else [nn.ReLU(inplace=True)]


def normal_linear(module: nn.Module, *, std: float, bias: float) -> None:
    """Linear layers N(0, std**2), their biases ``bias``."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0.0, std)
            nn.init.constant_(layer.bias, bias)
