"""Virtual adversarial training: golden values, direction, float32, batch norm left alone."""

import math

import pytest
import torch
from torch import nn

from foveal.backbones.batchnorm import buffers_left_alone
from foveal.backbones.registry import build_backbone
from foveal.losses.vat import divergence, entropy, virtual_adversary

XI = 0.5e-3  # in [0, 1], not [-1, 1]
CLEAN, PERTURBED = torch.tensor([[2.0, 0, 0]]), torch.tensor([[1.0, 1, 0]])


def test_divergence_golden():
    """Zhai et al. take the perturbed prediction first, Miyato et al. the clean one."""
    assert divergence(PERTURBED, CLEAN).item() == pytest.approx(0.377550, abs=1e-6)
    miyato = divergence(PERTURBED, CLEAN, "clean_first")
    assert miyato.item() == pytest.approx(0.302929, abs=1e-6)
    assert divergence(CLEAN, CLEAN).item() == 0


def test_the_clean_prediction_is_a_constant():
    clean, perturbed = CLEAN.clone().requires_grad_(), PERTURBED.clone().requires_grad_()
    for direction in ("perturbed_first", "clean_first"):
        divergence(perturbed, clean, direction).sum().backward()
    assert clean.grad is None and perturbed.grad.abs().sum() > 0


def test_entropy_golden():
    logits = CLEAN.clone().requires_grad_()
    assert entropy(logits).item() == pytest.approx(0.665573, abs=1e-6)
    assert entropy(torch.zeros(2, 5)).tolist() == pytest.approx([math.log(5)] * 2)
    entropy(logits).sum().backward()
    # More of what is likely is less entropy.
    assert logits.grad[0, 0] < 0 < logits.grad[0, 1]


class Net(nn.Module):
    def __init__(self, width=0.5):
        super().__init__()
        torch.manual_seed(0)
        self.trunk = build_backbone("small", width=width, in_chans=3)
        self.head = nn.Linear(self.trunk.dim, 10)

    def forward(self, x):
        return self.head(self.trunk((x - 0.45) / 0.25)["pooled"])


def _pictures(side, n=6):
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (n, 3, side, side), generator=generator)
    return pixels / 255, torch.randn(3, side, side, generator=generator)


@pytest.mark.parametrize("side", [32, 40, 64, 96])
def test_the_small_step_survives_float32(side):
    """At the value the small recipes take; not at the paper's, whatever the size."""
    x, noise = _pictures(side)
    net = Net(0.125)
    with buffers_left_alone(net):
        ours = virtual_adversary(net, x, noise, radius=1.0, xi=XI)
        papers = virtual_adversary(net, x, noise, radius=1.0, xi=1e-6)
    assert ours.cosine.min() > 0.99
    assert papers.cosine.max() < 0.99


@pytest.mark.parametrize("side", [32, 64])
def test_the_direction_is_that_of_double_precision(side):
    x, noise = _pictures(side)

    def moved(dtype, xi):
        net, seen = Net().to(dtype), []

        def network(x):
            seen.append(x.detach().double())
            return net(x)

        with buffers_left_alone(net):
            virtual_adversary(network, x.to(dtype), noise, radius=1.0, xi=xi)
        clean, _, perturbed = seen
        return (perturbed - clean).flatten(1)

    exact, ours, papers = (
        moved(torch.float64, 1e-6), moved(torch.float32, XI), moved(torch.float32, 1e-6)
    )  # fmt: skip
    assert torch.cosine_similarity(ours, exact).min() > 0.99
    assert torch.cosine_similarity(papers, exact).min() < 0.5
    assert ours.norm(dim=1).tolist() == pytest.approx([1.0] * 6, rel=1e-4)


def test_running_averages_stay_and_batch_statistics_are_used():
    x, noise = _pictures(16)
    net = Net(0.125).train()
    before = {k: v.clone() for k, v in net.named_buffers()}
    with buffers_left_alone(net):
        found = virtual_adversary(net, x, noise, radius=2.0, xi=XI)
    assert all(torch.equal(v, before[k]) for k, v in net.named_buffers())
    assert not torch.allclose(found.clean, net.eval()(x), atol=1e-3)


def test_it_moves_predictions_more_than_chance_and_trains_the_weights():
    x, noise = _pictures(16)
    net = Net(0.125).train()
    with buffers_left_alone(net):
        found = virtual_adversary(net, x, noise, radius=0.5, xi=XI)
        step = torch.randn(x.shape, generator=torch.Generator().manual_seed(2)).flatten(1)
        step = 0.5 * torch.nn.functional.normalize(step).view_as(x)
        by_chance = divergence(net(x + step), found.clean).mean()
    loss = divergence(found.perturbed, found.clean).mean()
    assert loss > 5 * by_chance
    assert all(p.grad is None for p in net.parameters()) and not found.clean.requires_grad
    loss.backward()
    # A bias before batch norm apart, every weight hears of it.
    assert all(p.grad is not None for p in net.parameters())


def test_it_runs_in_float32_inside_autocast():
    x, noise = _pictures(16)
    net, kinds = Net(0.125), set()
    net.trunk.register_forward_hook(lambda m, i, o: kinds.add(o["pooled"].dtype))
    with torch.autocast("cpu", torch.bfloat16), buffers_left_alone(net):
        virtual_adversary(net, x, noise, radius=1.0, xi=XI)
    assert kinds == {torch.float32}
