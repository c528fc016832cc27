"""Watching objects move: the trimap loss, which frames are used, masks that move with frames."""

import numpy as np
import pytest
import torch
from cases import PICTURES, tiny_recipe, write_frames_with_masks, write_pictures

import foveal
from foveal.data.loader import Loader, StreamPlan, Table
from foveal.data.masked import SoftMask, spread_over_shots, squares_around
from foveal.data.sources import open_source
from foveal.errors import FovealError
from foveal.methods.motion_segments import MotionSegments, MotionSegmentsOptions, trimap_loss
from foveal.views.spec import Crop, Tiles, View

SOFT, LOGITS = torch.tensor([[0.9, 0.2, 0.55, 0.75]]), torch.tensor([[2.0, -1.0, 0.5, -3.0]])


def test_golden_loss():
    assert trimap_loss(LOGITS, SOFT, 0.7, 0.4).item() == pytest.approx(1.162926, abs=1e-6)
    for i, value in ((0, 0.126928), (1, 0.313262), (3, 3.048587)):
        one = trimap_loss(LOGITS[:, i : i + 1], SOFT[:, i : i + 1], 0.7, 0.4)
        assert one.item() == pytest.approx(value, abs=1e-6)
    guess = trimap_loss(torch.zeros(1, 4), SOFT, 0.7, 0.4)
    assert guess.item() == pytest.approx(0.693147, abs=1e-6)


def test_doubtful_pixels_have_no_gradient_and_a_sample_of_them_no_loss():
    logits = LOGITS.clone().requires_grad_()
    trimap_loss(logits, SOFT, 0.7, 0.4).sum().backward()
    assert logits.grad[0, 2] == 0 and (logits.grad[0, [0, 1, 3]] != 0).all()
    assert trimap_loss(LOGITS, torch.full((1, 4), 0.5), 0.7, 0.4).item() == 0


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    return write_frames_with_masks(tmp_path_factory.mktemp("masked"))


def method_for(source, **options):
    """Only what ``samples`` needs."""
    method = MotionSegments.__new__(MotionSegments)
    torch.nn.Module.__init__(method)
    method.options = MotionSegmentsOptions(**options)
    return method.samples(source)


def test_frames_are_chosen_by_their_masks(masked):
    source = open_source(masked)
    assert len(method_for(source).image) == PICTURES
    assert len(method_for(source, per_shot=2).image) == 2 * PICTURES // 6
    source.foreground[:5], source.foreground[5], source.border[6] = 0.01, 0.71, 0.3
    assert list(method_for(source).image) == list(range(7, PICTURES))
    with pytest.raises(FovealError, match="no mask"):
        method_for(source, least=0.5)


def test_pictures_without_masks_are_refused(tmp_path):
    write_pictures(tmp_path / "pictures")
    with pytest.raises(FovealError, match="has none here") as error:
        foveal.pretrain(
            tmp_path / "pictures", tmp_path / "run", recipe=tiny_recipe("motion_segments")
        )
    assert "foveal data motion" in error.value.hint


def test_regions_are_squares_inside_the_frame():
    box = np.array([[10, 20, 8, 4], [0, 0, 10, 10], [50, 90, 40, 30]], np.float32)
    size = np.array([[100, 120]] * 3)
    found = squares_around(box, size, 2.0)
    assert found.tolist() == [[6, 14, 16, 16], [0, 0, 20, 20], [20, 40, 80, 80]]


def test_frames_of_a_shot_are_spread_evenly():
    shots = np.array(["a"] * 9 + ["b"] * 2)
    kept = spread_over_shots(np.arange(11), shots, 3)
    assert kept.tolist() == [0, 4, 8, 9, 10]


@pytest.mark.parametrize("tiles", [None, Tiles(rows=2, columns=2, stride=8, size=8, jitter=0)])
def test_masks_move_with_their_frames(masked, tiles):
    """The frame's bright square and the mask's foreground stay on top of each other."""
    source = open_source(masked)
    view = View(size=16, crop=Crop(scale=(0.4, 1.0)), flip=0.5, tiles=tiles)
    n = len(source)
    table = Table(source, np.arange(n), np.full(n, -1), targets={"mask": SoftMask(source, "v", 8)})

    # The same pictures, with the mask in the place of the frame.
    class Painted(type(source)):
        def read(self, i):
            return np.repeat(self.read_mask(i), 3, axis=2)

    painted = open_source(masked)
    painted.__class__ = Painted
    table = Table(painted, table.image, table.label, targets=table.targets)
    with Loader(table, [StreamPlan("main", {"v": view}, 12)], seed=3, threads=2) as loader:
        batch = loader.get(0)["main"]
    parts = () if tiles is None else (4,)
    assert batch.targets["mask"].shape == (12, *parts, 8, 8)
    assert batch.targets["mask"].dtype == torch.float32
    seen = batch.views["v"].float().mean(-1).flatten(0, -3) / 255
    if tiles is None:  # the target is half as fine as the view
        seen = torch.nn.functional.avg_pool2d(seen[:, None], 2)[:, 0]
    assert (batch.targets["mask"].flatten(0, -3) - seen).abs().mean() < 0.02


def test_an_unreadable_mask_is_replaced_and_named(masked, tmp_path):
    import shutil

    folder = shutil.copytree(masked, tmp_path / "torn")
    (folder / "masks" / "v" / "000004.png").write_bytes(b"torn")
    source = open_source(folder)
    n = len(source)
    table = Table(source, np.arange(n), np.full(n, -1), targets={"m": SoftMask(source, "v", 8)})
    with Loader(table, [StreamPlan("main", {"v": View(size=16)}, n)], seed=0, threads=1) as loader:
        batch = loader.get(0)["main"]
        assert 4 not in batch.index.tolist()
        assert [bad.name for bad in loader.bad.list()] == ["v/000004"]
