"""Split-brain autoencoders: golden values, no leak between the halves, one encoder from both."""

import math

import numpy as np
import pytest
import torch

from foveal.backbones.encoder import Encoder
from foveal.backbones.registry import build_backbone
from foveal.core.batch import StreamBatch
from foveal.core.colour import lab_to_rgb, rgb_to_lab
from foveal.core.progress import Progress
from foveal.core.rows import whole
from foveal.engine.build import RecipeMaker
from foveal.errors import FovealError
from foveal.exporting.weights import load_encoder, save_encoder
from foveal.losses.colour import AB_BINS, lightness_bin, rebalancing, smoothed
from foveal.methods.base import DataInfo
from foveal.methods.split_brain import SplitBrain, SplitBrainOptions
from foveal.recipe import Network
from foveal.views.spec import View


def method(**options):
    torch.manual_seed(0)
    maker = RecipeMaker(Network(name="small", width=0.5), channels=3)
    return SplitBrain(
        maker,
        DataInfo(samples=10, size=16),
        SplitBrainOptions(view=View(size=16), stride=4, **options),
    )


def batch(n=4):
    pixels = np.random.default_rng(0).integers(0, 256, (n, 16, 16, 3), dtype=np.uint8)
    index = torch.arange(n)
    view = {"view": torch.from_numpy(pixels)}
    return {"main": StreamBatch(view, {}, index, index, index * 0 - 1)}


def test_lightness_bins_golden():
    found = lightness_bin(torch.tensor([53.6295, 100.0, 100.0001, 0.0, -1e-5]))
    assert found.tolist() == [53, 99, 99, 0, 0]


def test_chance_golden():
    m, b = method(), batch()
    out = {"from_l": torch.zeros(4, 313, 2, 2), "from_ab": torch.zeros(4, 100, 2, 2)}
    found = m.loss(out, b, None)
    assert found.log["loss_ab"].item() == pytest.approx(5.746203, abs=1e-5)
    assert found.log["loss_l"].item() == pytest.approx(4.605170, abs=1e-5)
    (level,) = m.trivial_losses().values()
    assert found.loss.item() == pytest.approx(level, rel=1e-6)
    assert level == pytest.approx(math.log(31300))


def test_regression_is_half_the_squared_distance():
    m, b = method(loss="regression"), batch()
    lab = rgb_to_lab(b["main"].images("view"))[..., ::4, ::4]
    m.end = type(m.end)("fine", 1, 4)  # a map of the places themselves
    right = {"from_l": lab[:, 1:], "from_ab": lab[:, :1] - 50}
    assert m.loss(right, b, None).loss < 1e-6
    off = {"from_l": lab[:, 1:] + 2.0, "from_ab": lab[:, :1] - 50 + 3.0}
    found = m.loss(off, b, None)
    assert found.log["loss_ab"].item() == pytest.approx(4.0, rel=1e-4)  # (4 + 4) / 2
    assert found.log["loss_l"].item() == pytest.approx(4.5, rel=1e-4)


def test_rare_colours_can_weigh_more_for_the_half_that_predicts_them():
    images = torch.zeros(4, 3, 16, 16)
    images[:, 0] = 0.8  # red everywhere, but one picture is blue
    images[3, 0], images[3, 2] = 0.0, 0.8

    def local_pass(fn, view, *, mode="eval", update_bn=False, count=None):
        return whole(fn(images[:count]).numpy())

    plain, m = method(), method(uniform=0.5)
    assert not plain.refresh_due(Progress(0, 6, 0, 2.0, 0, 0, 0, 0.0))
    assert m.refresh_due(Progress(0, 6, 0, 2.0, 0, 0, 0, 0.0))
    m.refresh(local_pass, None)
    ab = rgb_to_lab(images)[:, 1:, 0, 0]
    red, blue = (torch.cdist(ab[i : i + 1], m.bins).argmin().item() for i in (0, 3))
    counts = torch.zeros(AB_BINS)
    counts[red], counts[blue] = 0.75, 0.25
    expected = rebalancing(smoothed(counts, m.bins), 0.5)
    torch.testing.assert_close(m.weight, expected)
    out = {"from_l": torch.zeros(4, 313, 2, 2), "from_ab": torch.zeros(4, 100, 2, 2)}
    pixels = (images * 255).round().to(torch.uint8).movedim(1, -1).contiguous()
    index = torch.arange(4)
    b = {"main": StreamBatch({"view": pixels}, {}, index, index, index * 0 - 1)}
    found = m.loss(out, b, None)
    level = math.log(AB_BINS) * (0.75 * expected[red] + 0.25 * expected[blue])
    assert found.log["loss_ab"].item() == pytest.approx(level.item(), rel=1e-5)
    assert found.log["loss_l"].item() == pytest.approx(math.log(100), rel=1e-5)


def test_the_halves_are_half_as_wide_and_share_nothing():
    m = method()
    whole = build_backbone("small", width=0.5)
    quarter = build_backbone("small", width=0.25)
    assert [h.dim for h in m.halves.values()] == [quarter.dim] * 2 == [whole.dim // 2] * 2
    assert m.encoder().dim == whole.dim
    owners = [id(p) for half in m.halves.values() for p in half.parameters()]
    assert len(set(owners)) == len(owners)


def test_nothing_leaks_from_what_is_predicted():
    """The half of L gives the same on a grey picture; that of ab has no gradient from L."""
    m, x = method().eval(), batch(2)["main"].images("view")[..., :8, :8]
    lab = rgb_to_lab(0.3 + 0.3 * x)
    half = m.halves["l"]
    assert half.in_chans == 1 and m.halves["ab"].in_chans == 2
    lab.requires_grad_()
    rgb = lab_to_rgb(lab)
    for k, own, other in (("l", [0], [1, 2]), ("ab", [1, 2], [0])):
        score = m.halves[k](m.inputs[k](rgb))["pooled"].sum()
        (grad,) = torch.autograd.grad(score, lab, retain_graph=True)
        assert grad[:, own].abs().max() > 1e-4
        # The way through RGB and back rounds; nothing else comes through.
        assert grad[:, other].abs().max() < 1e-3 * grad[:, own].abs().max()


@pytest.mark.parametrize("loss", ["classification", "regression"])
def test_each_loss_moves_its_own_half_only(loss):
    m, b = method(loss=loss), batch()
    out = m(b, None)
    for k, other in (("l", "ab"), ("ab", "l")):
        m.zero_grad()
        kept = {**out, f"from_{other}": out[f"from_{other}"].detach()}
        m.loss(kept, b, None).loss.backward(retain_graph=True)
        assert all(p.grad is not None for p in m.halves[k].parameters())
        assert all(p.grad is None for p in m.halves[other].parameters())


def test_the_exported_encoder_is_both_halves_side_by_side(tmp_path):
    m, x = method().eval(), batch()["main"].images("view")
    save_encoder(m.encoder(), tmp_path / "backbone.safetensors", {"seed": 0})
    loaded = load_encoder(tmp_path)
    assert isinstance(loaded, Encoder)
    with torch.no_grad():
        parts = [h(m.inputs[k](x), ["stage1"]) for k, h in m.halves.items()]
        found = loaded(x, ["stage1"])
    for name in ("pooled", "stage1"):
        torch.testing.assert_close(found[name], torch.cat([p[name] for p in parts], 1))


def test_trunks_that_cannot_be_halved_and_grey_pictures_are_refused():
    with pytest.raises(FovealError, match="cannot be built with width"):
        SplitBrain(
            RecipeMaker(Network(name="vit_tiny"), 3), DataInfo(samples=4), SplitBrainOptions()
        )
    grey = DataInfo(samples=4, channels=1, mean=(0.5,), std=(0.2,))
    with pytest.raises(FovealError, match="split_brain learns from the colours"):
        SplitBrain(RecipeMaker(Network(name="small"), 1), grey, SplitBrainOptions())
