"""Colorization by hypercolumns (Larsson et al.): golden values and what reaches what."""

import math

import numpy as np
import pytest
import torch

from foveal.backbones.registry import build_backbone
from foveal.core.batch import StreamBatch
from foveal.core.colour import grey_mean, hue_chroma
from foveal.methods.base import DataInfo
from foveal.methods.colorization_hypercolumn import (
    ColorizationHypercolumn,
    HypercolumnOptions,
)
from foveal.views.spec import View


def method(**options):
    torch.manual_seed(0)
    return ColorizationHypercolumn(
        lambda in_chans=3, **changes: build_backbone("small", width=0.25, in_chans=in_chans),
        DataInfo(samples=10, size=16),
        HypercolumnOptions(
            **{"view": View(size=16), "points": 6, "border": 2, "hidden": 8, **options}
        ),
    )


def batch(n=4, colour=None):
    pixels = np.random.default_rng(0).integers(0, 256, (n, 16, 16, 3), dtype=np.uint8)
    if colour is not None:
        pixels[:] = colour
    index = torch.arange(n)
    view = {"view": torch.from_numpy(pixels)}
    return {"main": StreamBatch(view, {}, index, index, index * 0 - 1)}


def test_loss_golden():
    m, b = method(head_decay=0.0), batch(colour=(200, 100, 50))
    out = {name: torch.zeros(4, 6, 32) for name in ("hue", "chroma")}
    out["squares"] = torch.zeros(4)
    found = m.loss(out, b, None)
    assert found.loss.item() == pytest.approx(13.659077, abs=1e-4)
    assert found.log["chroma_loss"].item() == pytest.approx(math.log(32))
    out["hue"][..., 2], out["chroma"][..., 18] = 3, 2
    assert m.loss(out, b, None).loss.item() == pytest.approx(13.216894, abs=1e-4)
    out["hue"][..., 1] = 4
    assert m.loss(out, b, None).log["hue_accuracy"] == pytest.approx(1)


def test_points_keep_off_the_border_and_belong_to_their_picture():
    m, b = method(points=500, border=5), batch()
    points = m._points(b)
    assert points.min() == 5 and points.max() == 10
    assert torch.equal(m._points({"main": b["main"].rows(2, 4)}), points[2:4])


def test_the_target_is_the_colour_of_the_very_pixel():
    """Right logits at the drawn points bring the loss to 0."""
    m, b = method(), batch()
    hue, chroma = hue_chroma(b["main"].images("view"))
    where = m._points(b).long()
    rows = torch.arange(4)[:, None]
    out = {
        name: 60 * torch.nn.functional.one_hot(
            (0.99999 * 32 * value[rows, where[..., 0], where[..., 1]]).long(), 32
        ).float()
        for name, value in (("hue", hue), ("chroma", chroma))
    }  # fmt: skip
    found = m.loss({**out, "squares": torch.zeros(4)}, b, None)
    assert found.loss < 1e-5 and found.log["hue_accuracy"] == pytest.approx(1)


def test_the_hypercolumn_holds_the_picture_and_every_layer():
    m = method()
    channels = [end.channels for end in m.trunk.ends]
    assert m.head[0].in_features == 1 + sum(channels)
    some = method(layers=2)
    assert some.head[0].in_features == 1 + channels[2] + channels[3]
    with pytest.raises(ValueError, match="no room for points"):
        method(border=8)


def test_the_heads_squared_weights_are_in_the_loss():
    b = batch()
    without, with_decay = method(head_decay=0.0, dropout=0.0), method(head_decay=1.0, dropout=0.0)
    losses = [m.loss(m(b, None), b, None).loss.item() for m in (without, with_decay)]
    squares = sum(m.weight.square().sum().item() for m in (without.head[0], without.head[3]))
    assert losses[1] - losses[0] == pytest.approx(squares / 2, rel=1e-4)


def test_the_encoder_sees_grey():
    m = method().eval()
    x = batch()["main"].images("view")
    with torch.no_grad():
        expected = m.trunk(grey_mean(x) - 114.154 / 255)["pooled"]
        torch.testing.assert_close(m.encoder()(x)["pooled"], expected)


def test_colourised_pictures_keep_their_grey():
    m = method().eval()
    x = 0.4 + 0.2 * batch()["main"].images("view")
    with torch.no_grad():
        m.head[3].bias[:] = -30
        m.head[3].bias[[8, 32 + 3]] = 30  # one hue, chroma 3.5 / 32
    found = m.colourise(x)
    torch.testing.assert_close(grey_mean(found), grey_mean(x), atol=1e-5, rtol=0)
    hue, chroma = hue_chroma(found)
    assert (hue - 8.5 / 32).abs().max() < 1e-3 and (chroma - 3.5 / 32).abs().max() < 1e-3
