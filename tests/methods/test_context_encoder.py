"""Context encoders: holes, painting, and the judge's turns."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.backbones.registry import build_backbone
from foveal.core.batch import StreamBatch
from foveal.methods.base import DataInfo
from foveal.methods.context_encoder import (
    ContextEncoder,
    ContextEncoderOptions,
    block_mask,
)
from foveal.views.spec import View

SIDE = 24


def _method(**options):
    options = {"view": View(size=SIDE), **options}
    return ContextEncoder(
        lambda in_chans=None, **changes: build_backbone("small", width=0.25, in_chans=3),
        DataInfo(samples=10),
        ContextEncoderOptions(**options),
    )


def _batch(stream="main", n=4):
    pixels = np.random.default_rng(0).integers(0, 256, (n, SIDE, SIDE, 3), dtype=np.uint8)
    index = torch.arange(n)
    part = StreamBatch(
        {"view": torch.from_numpy(pixels)}, {}, index, index, index * 0 - 1, stream=stream
    )
    return {stream: part}


def test_a_trunk_without_padding_has_fewer_cells_than_its_stride_says():
    """CaffeNet at 67 px: 3 x 3 cells of 16 px, not 5 x 5."""
    made = build_backbone("caffenet", width=0.25, in_chans=3, top=False)
    method = ContextEncoder(
        lambda in_chans=None, **changes: made,
        DataInfo(samples=10),
        ContextEncoderOptions(view=View(size=67), adversarial=0.0),
    )
    pixels, index = torch.zeros(2, 67, 67, 3, dtype=torch.uint8), torch.arange(2)
    batch = {"main": StreamBatch({"view": pixels}, {}, index, index, index * 0 - 1)}
    assert method.across.bias.shape[1] == 9 and made.training
    assert method(batch, None)["rebuilt"].shape == (2, 3, 67, 67)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(8, 40), st.floats(0.1, 0.6))
def test_blocks_cover_at_most_their_share(seed, side, share):
    draws = torch.rand(6, 16, 4, generator=torch.Generator().manual_seed(seed))
    mask = block_mask(draws, side, sides=(0.15, 0.35), share=share)
    assert mask.shape == (6, 1, side, side) and mask.dtype == torch.bool
    covered = mask.float().mean((1, 2, 3))
    one = (round(side * 0.35) / side) ** 2
    assert (covered > 0).all() and (covered <= max(share, one) + 1e-6).all()


def test_a_block_lies_where_its_draws_say():
    draws = torch.tensor([[[0.0, 1.0, 0.0, 0.5]]])
    mask = block_mask(draws, 10, sides=(0.2, 0.4), share=0.5)[0, 0]
    wanted = torch.zeros(10, 10, dtype=torch.bool)
    wanted[0:2, 3:7] = True
    assert torch.equal(mask, wanted)


def test_the_hole_is_not_seen():
    """Whatever stands in the hole, the painted picture is the same."""
    method, batch = _method(adversarial=0.0).eval(), _batch()
    _, hole = method._with_hole(batch["main"])
    other = torch.where(hole.movedim(1, -1), 255 - batch["main"].views["view"], 0)
    changed = StreamBatch(
        {"view": torch.where(hole.movedim(1, -1), other, batch["main"].views["view"])},
        {}, *(getattr(batch["main"], k) for k in ("index", "position", "label")),
    )  # fmt: skip
    with torch.no_grad():
        first, second = (method(b, None)["rebuilt"] for b in (batch, {"main": changed}))
    assert torch.equal(first, second) and first.shape == (4, 3, SIDE, SIDE)


@pytest.mark.parametrize("hole", ["center", "blocks"])
def test_only_the_hole_costs(hole):
    method, batch = _method(adversarial=0.0, hole=hole), _batch()
    x, hidden = method._with_hole(batch["main"])
    rebuilt = torch.where(hidden, x + 2, x + 100)
    assert method.loss({"rebuilt": rebuilt}, batch, None).loss.item() == pytest.approx(4, rel=1e-4)
    if hole == "center":
        assert hidden.sum((1, 2, 3)).tolist() == [12 * 12] * 4 and hidden[0, 0, 6:18, 6:18].all()


def test_painter_and_judge_take_turns():
    method = _method(adversarial=0.25)
    streams = method.streams()
    assert streams["main"].every == (2, 0) and streams["judged"].every == (2, 1)
    groups = method.parameter_groups()
    painter = {id(p) for p in groups["main"][0].parameters}
    judge = {id(p) for p in groups["judge"][0].parameters}
    assert not painter & judge and judge == {id(p) for p in method.judge.parameters()}
    batch = _batch()
    x, hole = method._with_hole(batch["main"])
    out = {"rebuilt": torch.where(hole, x + 2, x), "says": torch.zeros(4)}
    found = method.loss(out, batch, None)
    assert found.loss.item() == pytest.approx(0.75 * 4 + 0.25 * math.log(2), rel=1e-4)
    judged = _batch("judged")
    out = method(judged, None)
    assert out["real"].shape == out["painted"].shape == (4,)
    method.loss(out, judged, None).loss.backward()
    trained = {k for k, p in method.named_parameters() if p.grad is not None}
    assert trained and all(k.startswith("judge.") for k in trained)
    no_judge = _method(adversarial=0.0)
    assert set(no_judge.streams()) == {"main"} and no_judge.judge is None
