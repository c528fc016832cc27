"""BYOL: what moves, what does not, and the size of its heads."""

import torch
from torch import nn

from foveal.backbones.registry import build_backbone
from foveal.core.progress import Progress
from foveal.methods.base import DataInfo
from foveal.methods.byol import BYOL, BYOLOptions
from foveal.methods.heads import mlp


def _count(module):
    return sum(p.numel() for p in module.parameters())


def test_heads_have_the_papers_sizes():
    assert _count(mlp(2048, 4096, 256, output_bias=False)) == 9_449_472
    assert _count(mlp(256, 4096, 256, output_bias=False)) == 2_109_440


def _method(**options):
    return BYOL(
        lambda in_chans=None, **changes: build_backbone("small", width=0.25, in_chans=3),
        DataInfo(samples=10),
        BYOLOptions(hidden=16, outputs=8, **options),
    )


def _progress(step, steps):
    return Progress(step, steps, 0, 1.0, 0, 0, 0, 0.1)


def test_the_target_follows_the_new_weights_and_keeps_its_own_statistics():
    method = _method(tau=0.9, tau_schedule=False)
    with torch.no_grad():
        for p in method.trunk.parameters():
            p.add_(1.0)
    before = {k: v.clone() for k, v in method.target_trunk.named_parameters()}
    buffers = {k: v.clone() for k, v in method.target_trunk.named_buffers()}
    method.after_step({}, {}, _progress(3, 10))
    online = dict(method.trunk.named_parameters())
    for k, v in method.target_trunk.named_parameters():
        assert torch.allclose(v, 0.9 * before[k] + 0.1 * online[k], atol=1e-6)
    for k, v in method.target_trunk.named_buffers():
        assert torch.equal(v, buffers[k])


def test_the_target_learns_nothing_by_gradient():
    method = _method()
    assert not any(p.requires_grad for p in method.target_trunk.parameters())
    grouped = {id(p) for g in method.parameter_groups()["main"] for p in g.parameters}
    assert not grouped & {id(p) for p in method.target_trunk.parameters()}


def test_without_a_predictor_the_projection_itself_is_compared():
    method = _method(predictor=False)
    assert isinstance(method.predictor[0], nn.Identity)
    assert len(method.parameter_groups()["main"]) == 1
