"""CPC v2 against the paper's golden values."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.backbones.encoder import cut
from foveal.backbones.registry import build_backbone
from foveal.core.batch import StreamBatch
from foveal.losses.infonce import info_nce, patch_labels, patch_nce
from foveal.methods.base import DataInfo
from foveal.methods.cpc import CPC, CPCOptions
from foveal.methods.row_context import RowContext
from foveal.recipes import get_recipe
from foveal.views.make import make_view
from foveal.views.presets import cpc_view
from foveal.views.spec import Crop, Tiles, View
from foveal.views.table import COLUMNS

SMALL = View(size=20, flip=0.0, tiles=Tiles(rows=4, columns=4, stride=4, size=8, jitter=0))


def _method(**options):
    torch.manual_seed(0)
    return CPC(
        lambda in_chans=None, **changes: build_backbone("small", width=0.25, pool="avg", **changes),
        DataInfo(samples=10, size=20, fraction=1.0, batch=4),
        CPCOptions(**{"view": SMALL, "hidden": 16, "outputs": 8, **options}),
    )


def _batch(n=4):
    pixels = np.random.default_rng(0).integers(0, 256, (n, 16, 8, 8, 3), dtype=np.uint8)
    index = torch.arange(n)
    views = {"view": torch.from_numpy(pixels)}
    return {"main": StreamBatch(views, {}, index, index, index * 0 - 1)}


def test_patches_lie_as_in_the_paper():
    """Six of 80 px, 36 px apart, in 260; three rows ahead no pixel is shared."""
    view = cpc_view()
    assert view.size == 260 == view.tiles.side[0] and view.crop.resize == 300
    assert [36 * i for i in range(6)] == [0, 36, 72, 108, 144, 180]
    assert [max(0, 80 - 36 * k) for k in (1, 2, 3)] == [44, 8, 0]
    picture = np.zeros((300, 300, 3), np.uint8)
    picture[..., 0] = np.arange(300) % 256
    picture[..., 1] = (np.arange(300) % 256)[:, None]
    plain = View(size=260, flip=0.0, crop=Crop(kind="center", fraction=260 / 300), tiles=view.tiles)
    out = np.zeros((36, 80, 80, 3), np.uint8)
    make_view(plain, picture, (1, 2), 0, np.zeros((37, len(COLUMNS)), np.float32), out)
    assert out[:, 0, 0, 0].reshape(6, 6)[0].tolist() == [20 + 36 * i for i in range(6)]
    assert out[:, 0, 0, 1].reshape(6, 6)[:, 0].tolist() == [20 + 36 * i for i in range(6)]
    # The encoder cuts the centre view the same way.
    x = torch.from_numpy(picture[20:280, 20:280]).movedim(-1, 0)[None]
    assert torch.equal(cut(x, 6, overlap=1 - 36 / 80), torch.from_numpy(out).movedim(-1, 1))


def test_golden_grids():
    """(260 - 80) / 36 + 1 = 6 patches a side; of the first CPC (256 - 64) / 32 + 1 = 7."""
    t = cpc_view().tiles
    assert (t.rows, t.columns, t.side) == (6, 6, (260, 260))
    assert [max(0, t.size - t.stride * k) for k in (1, 2, 3)] == [44, 8, 0]
    assert Tiles(rows=7, columns=7, stride=32, size=64, jitter=0).side == (256, 256)
    assert cut(torch.zeros(1, 3, 256, 256), 7, overlap=0.5).shape == (49, 3, 64, 64)


def test_every_patch_has_draws_of_its_own():
    picture = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    view = cpc_view(52).model_copy(update={"crop": Crop(kind="center", fraction=1.0)})
    rows = np.zeros((37, len(COLUMNS)), np.float32)
    out = np.zeros((36, 16, 16, 3), np.uint8)
    make_view(view, picture, (1, 2), 0, rows, out)
    assert len({row.tobytes() for row in rows[1:]}) == 36


def test_labels():
    found = patch_labels(2, 6, 6, 3).flatten().tolist()
    assert len(found) == 36 and found[:3] == [18, 19, 20]
    assert found[17:20] == [35, 54, 55] and found[-1] == 71


@settings(deadline=None, max_examples=30)
@given(b=st.integers(1, 3), h=st.integers(2, 6), w=st.integers(1, 5), k=st.integers(1, 5))
def test_labels_follow_the_formula(b, h, w, k):
    found = patch_labels(b, h, w, k).flatten().tolist()
    per = max(0, h - k) * w
    assert found == [n // per * h * w + k * w + n % per for n in range(b * per)]


TARGETS = torch.tensor(
    [[(1, 0), (0, 1), (1, 1), (0, 0.5)], [(0, 2), (1, 0), (0.5, 0.5), (2, 0)]]
).mT[..., None]
CONTEXTS = torch.tensor([[(1.0, 1), (0, 1), (2, 0), (1, 0)], [(1, 0), (0, 2), (1, 1), (0, 1)]]).mT[
    ..., None
]


@pytest.mark.parametrize(
    ("offset", "scale", "mean"), [(3, 0.1, 2.056314), (2, 0.1, 2.104981), (3, 1.0, 2.025870)]
)
def test_loss(offset, scale, mean):
    loss, _ = patch_nce(CONTEXTS, TARGETS, offset, scale=scale)
    assert loss.item() == pytest.approx(mean, abs=1e-6)


def test_loss_of_single_places():
    for row, value in enumerate((2.162240, 1.950388)):
        # The other sample's prediction is made so likely that its loss is known.
        only = CONTEXTS.clone().requires_grad_()
        loss, _ = patch_nce(only, TARGETS, 3)
        other = (
            torch.logsumexp(
                0.1 * TARGETS.movedim(1, -1).reshape(8, 2) @ CONTEXTS[1 - row, :, 0, 0], 0
            )
            - 0.1 * TARGETS[1 - row, :, 3, 0] @ CONTEXTS[1 - row, :, 0, 0]
        )
        assert (2 * loss - other).item() == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize(
    ("offset", "scale", "labels", "losses"),
    [
        (3, 0.1, [3, 7], [2.162240, 1.950388]),
        (2, 0.1, [2, 3, 6, 7], [2.012240, 2.094092, 2.100388, 2.213204]),
        (3, 1.0, [3, 7], [3.046423, 1.005317]),
    ],
)
def test_golden_losses_of_every_place(offset, scale, labels, losses):
    label = patch_labels(2, 4, 1, offset).flatten()
    assert label.tolist() == labels
    targets = TARGETS.permute(0, 2, 3, 1).flatten(0, 2)
    queries = CONTEXTS[:, :, :-offset].permute(0, 2, 3, 1).flatten(0, 2)
    found, _ = info_nce(
        queries, targets[label], targets, temperature=1 / scale, skip_QS=label[:, None]
    )
    assert found.tolist() == pytest.approx(losses, abs=1e-6)


def test_golden_clip():
    parameter = torch.zeros(2, requires_grad=True)
    parameter.grad = torch.tensor([0.03, 0.04])
    torch.nn.utils.clip_grad_norm_([parameter], get_recipe("cpc/imagenet").clip, foreach=True)
    assert parameter.grad.tolist() == pytest.approx([0.006, 0.008], abs=1e-6)


def test_groups_are_batches_of_their_own():
    p, t = torch.randn(2, 6, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    whole, _ = patch_nce(p, t, 2, group=4)
    first, second = (patch_nce(p[s], t[s], 2)[0] for s in (slice(0, 4), slice(4, 6)))
    assert whole.item() == pytest.approx((4 * first + 2 * second).item() / 6, abs=1e-6)
    assert patch_nce(p, t, 2, group=100)[0] == patch_nce(p, t, 2)[0]


def test_guessing():
    zero = torch.zeros(16, 4, 6, 6)
    loss, right = patch_nce(zero, zero, 3)
    assert loss.item() == pytest.approx(math.log(576)) == pytest.approx(6.356108, abs=1e-5)
    assert right == 0
    method = CPC(
        lambda in_chans=None, **changes: build_backbone("small", width=0.25, **changes),
        DataInfo(samples=10, batch=512),
        CPCOptions(),
    )
    assert list(method.trivial_losses().values()) == [math.log(576)]
    assert math.log(512 * 36) == pytest.approx(9.821844, abs=1e-6)


def test_a_context_sees_its_row_and_those_above():
    torch.manual_seed(0)
    context = RowContext(8, 32, blocks=5).double()
    z = torch.randn(1, 8, 7, 14, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    changed = z.clone()
    changed[:, :, 4] += 1
    before, after = context(z), context(changed)
    assert torch.equal(before[:, :, :4], after[:, :, :4])
    assert all((before[:, :, row] != after[:, :, row]).any() for row in (4, 5, 6))
    # Five columns to each side.
    changed = z.clone()
    changed[:, :, 0, 7] += 1
    moved = (context(changed) != before).any(1).any(1)[0].nonzero().flatten().tolist()
    assert moved == list(range(2, 13))


def test_a_prediction_knows_nothing_of_what_it_predicts():
    """In every direction: a row of patches moves no prediction made before it."""
    method, batch = _method(), _batch()
    method.eval()
    with torch.no_grad():
        before = method(batch, None)["predictions"]
        for direction, row in enumerate(("last", "left", "first", "right")):
            changed = _batch()
            patches = changed["main"].views["view"].reshape(4, 4, 4, 8, 8, 3)
            where = {"last": patches[:, 3], "first": patches[:, 0], "left": patches[:, :, 0],
                     "right": patches[:, :, 3]}[row]  # fmt: skip
            where.copy_(255 - where)
            after = method(changed, None)["predictions"]
            seen = [
                [not torch.equal(before[:, r, :, i], after[:, r, :, i]) for i in range(4)]
                for r in range(4)
            ]
            # Of this direction it is the last row, of the opposite one the first.
            assert seen[direction] == [False, False, False, True]
            assert all(seen[(direction + 2) % 4])


def test_each_direction_has_a_network_of_its_own():
    method, batch = _method(offsets=(2, 3)), _batch()
    out = method(batch, None)
    assert out["targets"].shape == (4, 4, 8, 4, 4)
    assert out["predictions"].shape == (4, 4, 16, 4, 4)
    method.loss(out, batch, None).loss.backward()
    assert all(p.grad is not None for p in method.directions.parameters())
    assert len(_method(directions=1).directions) == 1


def test_the_loss_is_the_mean_over_directions_and_offsets():
    method, batch = _method(offsets=(2, 3)), _batch()
    out = method(batch, None)
    terms = [
        patch_nce(out["predictions"][:, r, 8 * k : 8 * k + 8], out["targets"][:, r], 2 + k)[0]
        for r in range(4)
        for k in range(2)
    ]
    found = method.loss(out, batch, None).loss
    assert found.item() == pytest.approx(torch.stack(terms).mean().item(), abs=1e-6)


def test_no_batch_norm_unless_asked():
    kinds = {type(m).__name__ for m in _method().modules()}
    assert "LayerNorm2d" in kinds and not any("BatchNorm" in kind for kind in kinds)
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in _method(norm="batch").modules())


def test_averaged_weights():
    method = _method(average=0.75)
    start = [p.clone() for p in method.averaged.parameters()]
    with torch.no_grad():
        for p in method.trunk.parameters():
            p += 1
    method.after_step({}, {}, None)
    for a, b in zip(start, method.averaged.parameters(), strict=True):
        assert torch.allclose(b, a + 0.25)
    assert method.encoder().trunks[0] is method.averaged
    last = _method(average=0.0)
    assert last.averaged is None and last.encoder().trunks[0] is last.trunk
    # 0.9999: half after 6931 steps, 2.77 epochs of ImageNet at a batch of 512.
    half = math.log(0.5) / math.log(CPCOptions().average)
    assert half == pytest.approx(6931, abs=1)
    steps = 1_281_167 // get_recipe("cpc/imagenet").batch
    assert steps == 2502 and half / steps == pytest.approx(2.77, abs=0.005)


def test_encoders():
    x = torch.rand(2, 3, 20, 20)
    method = _method()
    patches, whole = method.encoder().eval(), _method(encode="picture").encoder().eval()
    assert (patches.grid, patches.overlap, whole.grid) == (4, 0.5, 1)
    tiles = torch.stack(
        [x[:, :, 4 * i : 4 * i + 8, 4 * j : 4 * j + 8] for i in range(4) for j in range(4)], 1
    )
    with torch.no_grad():
        alone = method.averaged(method.normalise(tiles.flatten(0, 1)))["pooled"]
        mean = alone.reshape(2, 16, -1).mean(1)
        assert torch.allclose(patches(x)["pooled"], mean, atol=1e-5)
        assert whole(x)["pooled"].shape == (2, 64)
        largest = _method(join="max", grid=4).encoder().eval()
        assert (largest.grid, largest.overlap) == (4, 0.5)
        expected = alone.reshape(2, 16, -1).amax(1)
        assert torch.allclose(largest(x)["pooled"], expected, atol=1e-5)
        assert _method(grid=2).encoder().grid == 2


def test_paper_scale_recipe():
    recipe = get_recipe("cpc/imagenet")
    o, n = recipe.optimiser, recipe.network
    assert (recipe.batch, recipe.epochs, recipe.clip) == (512, 200, 0.01)
    assert (o.name, o.lr, o.betas, o.weight_decay) == ("adam", 4e-4, (0.8, 0.999), 0.0)
    options = CPCOptions(**recipe.options)
    assert (options.offsets, options.directions, options.group) == ((3,), 4, 16)
    assert (options.hidden, options.outputs, options.blocks, options.scale) == (256, 64, 5, 0.1)
    with torch.device("meta"):
        trunk = build_backbone(n.name)
        assert trunk(torch.empty(1, 3, 80, 80))["pooled"].shape == (1, 4096)
        assert trunk(torch.empty(1, 3, 224, 224), ["stage3"])["stage3"].shape == (1, 4096, 14, 14)
    stack = trunk.body.stages["stage3"]
    weights = [m.weight for m in stack.modules() if isinstance(m, torch.nn.Conv2d)]
    inner = sum(w.numel() for w in weights if 512 in w.shape[:2])
    assert 301e6 < inner < 302.5e6
    assert sum(p.numel() for p in trunk.parameters()) == pytest.approx(305e6, rel=0.01)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"view": View(size=32)}, "view.tiles"),
        ({"offsets": (4,)}, "out of 4 rows"),
        ({"offsets": (0,)}, "1 or more"),
    ],
)
def test_what_cannot_be(options, words):
    with pytest.raises(ValueError, match=words):
        CPCOptions(**{"view": SMALL, **options})
