import numpy as np
import pytest
import torch
from torch.nn import functional as F

from foveal.backbones.inputs import Sobel
from foveal.backbones.registry import build_backbone
from foveal.clustering.hierarchical import two_levels
from foveal.clustering.whiten import pca_whiten
from foveal.core.batch import StreamBatch
from foveal.core.progress import Progress
from foveal.errors import FovealError
from foveal.methods.base import DataInfo
from foveal.methods.deepercluster import DeeperCluster, DeeperClusterOptions
from foveal.methods.rotation import turn_each

PROGRESS = Progress(0, 20, 0, 2.0, 0, 0, 0, 0.1)


def method(samples=40, **options):
    torch.manual_seed(0)
    return DeeperCluster(
        lambda in_chans=None, **_: build_backbone("small", width=0.25, in_chans=in_chans or 3),
        DataInfo(samples=samples, batch=4),
        DeeperClusterOptions(**{"clusters": 6, "coarse": 2, "sobel": False, **options}),
    )


def test_golden_turns():
    x = torch.tensor([[1.0, 2], [3, 4]]).expand(4, 1, 2, 2)
    found = turn_each(x, torch.arange(4))[:, 0].int().tolist()
    assert found[1:] == [[[2, 4], [1, 3]], [[4, 3], [2, 1]], [[3, 1], [4, 2]]]


def test_golden_loss():
    """Four super-classes of one coarse cluster; the picture is upright, its fine cluster 1."""
    m, whole = method(samples=20, coarse=1, clusters=3), _batch(20)["main"]
    m.assignments[:, 0], m.assignments[:, 1] = 0, 1
    row = int((whole.integers("turn", 4) == 0).nonzero()[0])
    batch = {"main": whole.rows(row, row + 1)}
    above, within = torch.tensor([[[1, 0, -1, 0.5]]]), torch.tensor([[[0.2, 1.2, -0.3]]])
    right = torch.tensor([[[99.0, 0, 0, 0]]]), torch.tensor([[[0.0, 99, 0]]])
    for out, value in (
        ((above, within), 1.210936), ((above, right[1]), 0.746567), ((right[0], within), 0.464369)
    ):  # fmt: skip
        found = m.loss({"super": out[0], "sub": out[1]}, batch, PROGRESS).loss
        assert found.item() == pytest.approx(value, abs=1e-6)
    both = m.loss({"super": above, "sub": within}, batch, PROGRESS).loss
    assert (-both).exp().item() == pytest.approx(0.297918, abs=1e-6)


def test_golden_super_classes():
    """(cluster 0, 90 degrees) is 1, (1, 90) is 5, (3, 270) is 15."""
    m, batch = method(coarse=4, clusters=8, all_turns=True), _batch(3)
    m.assignments[:3, 0], m.assignments[:3, 1] = torch.tensor([0, 1, 3]), 0
    supers = torch.tensor([[0, 1, 2, 3], [4, 5, 6, 7], [12, 13, 14, 15]])
    out = {"super": 30 * F.one_hot(supers, 16).float(), "sub": torch.zeros(3, 4, 2)}
    assert m.loss(out, batch, PROGRESS).log["super_accuracy"] == 1


def test_every_row_goes_through_the_head_of_its_super_class():
    m = method()
    torch.nn.init.normal_(m.sub_weight)
    torch.nn.init.normal_(m.sub_bias)
    g, super_class = torch.randn(5, m.trunk.dim), torch.tensor([3, 0, 7, 3, 1])
    found = m._sub_logits(g, super_class)
    expected = torch.einsum("bd,bkd->bk", g, m.sub_weight[super_class]) + m.sub_bias[super_class]
    assert torch.allclose(found, expected, atol=1e-5)
    assert m.sub_weight.shape == (8, 3, m.trunk.dim)


def test_golden_floor_of_whitening():
    generator = np.random.default_rng(0)
    q = np.linalg.qr(generator.normal(size=(4000, 3)))[0] * 4000**0.5
    q -= q.mean(0)
    rows = q * np.sqrt([4, 1, 1e-9])
    white = pca_whiten(rows.astype(np.float32), floor=1e-5).x
    assert white.shape == (4000, 3)
    # Factors .5, 1, 158.1: the flat direction stays small instead of growing to the others' size.
    assert np.abs(white[:, 2]).mean() < 0.02
    assert pca_whiten(rows.astype(np.float32)).x.shape == (4000, 2)


def test_golden_factors_of_whitening():
    """Eigenvalues 4, 1, 1e-9, floor 4e-5: factors .5, 1, 158.113883, up to the rows' length."""
    signs = np.array([[a, b, c] for a in (1, -1) for b in (1, -1) for c in (1, -1)])
    rows = (signs * np.sqrt([4, 1, 1e-9])).astype(np.float32)
    factors = np.abs(pca_whiten(rows, floor=1e-5).x / rows)
    assert factors / factors[:, 1:2] == pytest.approx(
        np.tile([0.5, 1, 158.113883], (8, 1)), rel=1e-5
    )


def test_two_levels():
    centres = np.array([[0, 0], [0, 1], [9, 9], [9, 8]], np.float32)
    x = np.repeat(centres, 5, axis=0) + np.random.default_rng(0).normal(0, 0.01, (20, 2))
    found = two_levels(x.astype(np.float32), 2, 2, iterations=10, seed=1)
    assert len(np.unique(found[:10, 0])) == 1 and found[0, 0] != found[10, 0]
    assert {tuple(r) for r in found[::5]} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    few = two_levels(x[8:].astype(np.float32), 2, 5, iterations=10, seed=1)
    assert few[:2, 1].max() < 2  # two pictures form two clusters at most


def test_sobel_folds_into_colour():
    # Golden 5 of the first convolution behind grey and Sobel, as one 5x5 kernel.
    kx = Sobel().kernels[:, 0].double()
    w = torch.zeros(2, 3, 3, dtype=torch.float64)
    w[0, 1, 1], w[1, 0, 2] = 1, 2
    folded = sum(
        F.conv_transpose2d(k[None, None], v[None, None]) for k, v in zip(kx, w, strict=True)
    )
    expected = [
        [0, 0, 0.666667, 1.333333, 0.666667],
        [0, 0.333333, 0, -0.333333, 0],
        [0, 0.666667, -0.666667, -2, -0.666667],
        [0, 0.333333, 0, -0.333333, 0],
        [0, 0, 0, 0, 0],
    ]
    assert torch.allclose(folded[0, 0] / 3, torch.tensor(expected).double(), atol=1e-5)


def test_more_clusters_than_pictures():
    with pytest.raises(FovealError, match="cannot form"):
        method(samples=5)


def _batch(n=4):
    pixels = np.random.default_rng(0).integers(0, 256, (n, 16, 16, 3), np.uint8)
    index = torch.arange(n)
    part = StreamBatch({"view": torch.from_numpy(pixels)}, {}, index, index, index * 0 - 1)
    return {"main": part}


def test_every_turn_is_shown_with_its_own_heads():
    m, batch = method(all_turns=True).eval(), _batch()
    m.assignments.copy_(torch.stack([torch.arange(40) % 2, torch.arange(40) % 3], 1))
    out = m.forward(batch, PROGRESS)
    assert out["super"].shape == (4, 4, 8) and out["sub"].shape == (4, 4, 3)
    x, losses = batch["main"].images("view"), []
    for turn in range(4):
        g = F.relu(m.trunk(m.inputs(torch.rot90(x, turn, (2, 3))))["pooled"])
        for row in range(4):
            s, fine = 4 * (row % 2) + turn, torch.tensor([row % 3])
            sub = F.linear(g[row : row + 1], m.sub_weight[s], m.sub_bias[s])
            above = F.cross_entropy(m.super_head(g[row : row + 1]), torch.tensor([s]))
            losses.append(above + F.cross_entropy(sub, fine))
    expected = torch.stack(losses).mean().item()
    assert m.loss(out, batch, PROGRESS).loss.item() == pytest.approx(expected, abs=1e-5)
    assert method().forward(batch, PROGRESS)["sub"].shape == (4, 1, 3)
