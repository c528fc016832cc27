"""Colorization (Zhang et al.): golden values, what it sees, and what it refuses."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

import foveal
from foveal.backbones.registry import build_backbone
from foveal.core.batch import StreamBatch
from foveal.core.colour import rgb_to_lab
from foveal.core.rows import whole
from foveal.errors import FovealError
from foveal.losses.colour import AB_BINS, rebalancing, smoothed
from foveal.methods.base import DataInfo
from foveal.methods.colorization import Colorization, ColorizationOptions
from foveal.views.spec import View

INFO = DataInfo(samples=10, size=16)


def make(in_chans=3, **changes):
    return build_backbone("small", width=0.25, in_chans=in_chans, **changes)


def method(**options):
    torch.manual_seed(0)
    return Colorization(make, INFO, ColorizationOptions(view=View(size=16), stride=4, **options))


def batch(pixels):
    index = torch.arange(len(pixels))
    return {"main": StreamBatch({"view": pixels}, {}, index, index, index * 0 - 1)}


def pictures(n=4, side=16):
    generator = np.random.default_rng(0)
    return torch.from_numpy(generator.integers(0, 256, (n, side, side, 3), dtype=np.uint8))


def test_the_uniform_guess_is_ln_313():
    m, b = method(), batch(pictures())
    logits = torch.zeros(4, AB_BINS, 2, 2)
    assert m.loss({"logits": logits}, b, None).loss.item() == pytest.approx(5.746203, abs=1e-5)
    assert list(m.trivial_losses().values()) == pytest.approx([math.log(313)])


def test_the_target_is_every_stride_th_pixel_and_its_place_on_the_map():
    """A net that is right at each place, and only there, has a loss near 0."""
    m, pixels = method(neighbours=1), pictures()
    ab = m._colours(batch(pixels)["main"].images("view"))
    assert ab.shape == (4, 16, 2)
    lab = rgb_to_lab(batch(pixels)["main"].images("view"))
    torch.testing.assert_close(ab[:, 5], lab[:, 1:, 4, 4])
    nearest = torch.cdist(ab, m.bins).argmin(2).view(4, 4, 4)
    m.end = type(m.end)("fine", 1, 4)  # a map of the places themselves
    right = 50 * torch.nn.functional.one_hot(nearest, AB_BINS).movedim(-1, 1).float()
    found = m.loss({"logits": right}, batch(pixels), None)
    assert found.loss < 1e-6 and found.log["colour_accuracy"] == 1
    wrong = m.loss({"logits": right.roll(1, 0)}, batch(pixels), None)
    assert wrong.loss > 10


def test_grey_pictures_are_left_out_of_the_loss():
    pixels = pictures(2)
    grey = pixels.float().mean(3, keepdim=True).to(torch.uint8).expand(-1, -1, -1, 3)
    m, zero = method(), torch.zeros(4, AB_BINS, 2, 2)
    found = m.loss({"logits": zero}, batch(torch.cat([pixels, grey])), None)
    assert found.loss.item() == pytest.approx(math.log(AB_BINS) / 2, abs=1e-4)
    assert found.log["coloured"] == 0.5


def local_pass(images):
    def run(fn, view, *, mode="eval", update_bn=False, count=None):
        return whole(fn(images[:count]).numpy())

    return run


def test_rare_colours_weigh_more():
    m = method(uniform=0.5)
    images = torch.zeros(4, 3, 16, 16)
    images[:, 0] = 0.8  # red everywhere, but one picture is blue
    images[3, 0], images[3, 2] = 0.0, 0.8
    m.refresh(local_pass(images), None)
    ab = m._colours(images)
    counts = torch.zeros(AB_BINS)
    red, blue = (torch.cdist(ab[i], m.bins).argmin(1)[0] for i in (0, 3))
    counts[red], counts[blue] = 0.75, 0.25
    frequency = smoothed(counts, m.bins)
    torch.testing.assert_close(m.weight, rebalancing(frequency, 0.5))
    assert m.weight[blue] > m.weight[red]
    level = math.log(AB_BINS) * (0.75 * m.weight[red] + 0.25 * m.weight[blue])
    assert m.guess.item() == pytest.approx(level.item(), rel=1e-5)
    zero = torch.zeros(4, AB_BINS, 2, 2)
    pixels = (images * 255).round().to(torch.uint8).movedim(1, -1)
    assert m.loss({"logits": zero}, batch(pixels), None).loss.item() == pytest.approx(level.item())


def test_the_trunk_never_sees_colour():
    """Another colour of the same lightness gives the same features; the encoder is the trunk."""
    m = method().eval()
    x = pictures()[:, :8, :8].movedim(-1, 1).float() / 255
    lightness = rgb_to_lab(x)[:, :1]
    with torch.no_grad():
        expected = m.trunk(lightness - 50)["pooled"]
        torch.testing.assert_close(m.encoder()(x)["pooled"], expected)
    x.requires_grad_()
    m.encoder()(x)["pooled"].sum().backward()
    # Along a direction that keeps L, nothing changes: the gradient is that of L alone.
    leaf = x.detach().requires_grad_()
    rgb_to_lab(leaf)[:, 0].sum().backward()
    cosine = torch.nn.functional.cosine_similarity(x.grad, leaf.grad, dim=1).abs()
    moving = x.grad.norm(dim=1) > 1e-6
    assert (cosine[moving] > 0.999).all()


def test_colourised_pictures_keep_their_lightness():
    m = method().eval()
    x = 0.3 + 0.4 * pictures().movedim(-1, 1).float() / 255
    with torch.no_grad():
        m.head[-1].weight.zero_(), m.head[-1].bias.zero_()
        m.head[-1].bias[120] = 100  # grey everywhere
    found = m.colourise(x)
    assert found.shape == x.shape
    torch.testing.assert_close(rgb_to_lab(found)[:, 0], rgb_to_lab(x)[:, 0], atol=0.05, rtol=0)
    assert rgb_to_lab(found)[:, 1:].abs().max() < 0.1


def test_data_without_colour_is_refused_with_the_reason(tmp_path):
    for info in (
        DataInfo(samples=10, channels=1, mean=(0.5,), std=(0.2,)),
        DataInfo(samples=10, mean=(0.5,) * 3, std=(0.2,) * 3),
    ):
        with pytest.raises(FovealError, match="learns from the colours of pictures"):
            Colorization(make, info, ColorizationOptions())
    faint = torch.full((3, 3, 16, 16), 0.5)
    faint[:, 0] += 0.01
    with pytest.raises(FovealError, match="not one of 3 pictures holds any colour"):
        method().refresh(local_pass(faint), None)
    # The whole way: grey pictures in RGB files.
    generator = np.random.default_rng(0)
    for i in range(8):
        grey = generator.integers(0, 256, (16, 16, 1), dtype=np.uint8).repeat(3, 2)
        Image.fromarray(grey).save(tmp_path / f"{i}.png")
    with pytest.raises(FovealError, match="their channels are all equal"):
        foveal.pretrain(tmp_path, tmp_path / "run", method="colorization", epochs=1, quiet=True)
