"""Targets move as the pixels do: checked on pictures that hold their own coordinates."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion

from foveal.core import rng
from foveal.views.geometry import (
    move_boxes,
    move_ids,
    move_mask,
    move_normals,
    move_points,
    move_soft,
    source_from_view,
)
from foveal.views.make import apply_rows, make_view
from foveal.views.spec import Affine, Crop, Tiles, View
from foveal.views.table import COLUMN, COLUMNS, sample

HEIGHT, WIDTH = 61, 83
Y, X = np.mgrid[:HEIGHT, :WIDTH]
COORDINATES = np.stack([Y * 3, X * 3, Y * 0], axis=-1).astype(np.uint8)
IDS = (Y * WIDTH + X).astype(np.int32)

AFFINE = Affine(p=0.8, rotation=40, translation=0.1, scale=(0.8, 1.4), shear=(8, 8))
VIEWS = {
    "crop": View(size=40, flip=0.5),
    "whole": View(size=40, crop=Crop(kind="whole"), flip=0.5),
    "padded": View(size=56, crop=Crop(kind="pad_random", pad=6)),
    "turned": View(size=40, flip=0.5, turns=(0, 1, 2, 3)),
    "zero": View(size=40, crop=Crop(scale=(0.4, 1)), affine=AFFINE, turns=(0, 1, 2, 3)),
    "reflect": View(size=40, affine=AFFINE.model_copy(update={"border": "reflect"})),
    "picture": View(size=40, affine=AFFINE.model_copy(update={"border": "picture"}), turns=(0, 3)),
    "tiles": View(
        size=60,
        crop=Crop(scale=(0.5, 1)),
        tiles=Tiles(rows=2, columns=2, stride=30, size=24, jitter=6),
        affine=AFFINE,
        turns=(0, 1),
    ),
}
seeds = st.integers(0, 2**32 - 1)
boxes = st.one_of(st.none(), st.just((7, 11, 40, 50)))


def make(view, seed, box=None, image=COORDINATES):
    rows = np.empty((view.parts, len(COLUMNS)), np.float32)
    out = np.empty(view.shape(image.shape[2]), np.uint8)
    make_view(view, image, rng.key(seed, "g"), 5, rows, out, box)
    again = np.empty_like(out)
    apply_rows(view, image, rows, again, box)
    assert np.array_equal(out, again)
    return rows, out


def expected(view, rows, part, box):
    """Source coordinates of every pixel of a part, (y, x), [s, s, 2]."""
    m = source_from_view(rows, view, part)
    at = np.stack(np.mgrid[: view.side, : view.side], axis=-1) + 0.5
    return at @ m[:, :2].T + m[:, 2] + (np.array(box[:2]) if box else 0)


@pytest.mark.parametrize("name", VIEWS)
@settings(deadline=None, max_examples=30)
@given(seeds, boxes)
def test_pixels_and_ids_come_from_where_the_map_says(name, seed, box):
    view = VIEWS[name]
    rows, out = make(view, seed, box)
    ids = move_ids(IDS, rows, view, fill=-1, box=box)
    top, left, height, width = box or (0, 0, HEIGHT, WIDTH)
    seen = (top, left, height, width) if not view.sees_around else (0, 0, HEIGHT, WIDTH)
    for part in range(view.parts) if view.tiles is None else range(1, view.parts):
        y, x = np.moveaxis(expected(view, rows, part, box), -1, 0)
        pixels = out if view.tiles is None else out[part - 1]
        moved = ids if view.tiles is None else ids[part - 1]
        inside = (y >= seen[0]) & (y < seen[0] + seen[2]) & (x >= seen[1]) & (x < seen[1] + seen[3])
        found = moved >= 0
        # Where the map leads inside the crop, the id is that of the pixel it leads to.
        agree = np.abs(moved // WIDTH + 0.5 - y) < 0.501
        agree &= np.abs(moved % WIDTH + 0.5 - x) < 0.501
        if name in ("crop", "turned", "padded", "picture"):
            assert agree[inside].mean() > 0.98 and (moved[inside] >= 0).all()
        else:
            assert agree[found].mean() > (0.4 if name == "reflect" else 0.98)
        # Far from borders the pixels are the coordinates themselves: linear, so exact.
        margin = 5
        deep = binary_erosion(agree & found, iterations=3)
        deep &= (y > seen[0] + margin) & (y < seen[0] + seen[2] - margin)
        deep &= (x > seen[1] + margin) & (x < seen[1] + seen[3] - margin)
        crop_y, crop_x = (rows[0, COLUMN[n]] for n in ("top", "left"))
        low = np.array([crop_y + top + margin, crop_x + left + margin])
        high = low - 2 * margin + rows[0, [COLUMN["height"], COLUMN["width"]]]
        if not view.sees_around:
            deep &= (y > low[0]) & (y < high[0]) & (x > low[1]) & (x < high[1])
        assert np.abs(pixels[..., 0] - 3 * (y - 0.5))[deep].max(initial=0) < 1.6
        assert np.abs(pixels[..., 1] - 3 * (x - 0.5))[deep].max(initial=0) < 1.6


@settings(deadline=None, max_examples=40)
@given(seeds)
def test_the_picture_border_shows_no_border(seed):
    """A seed in the corner: what is missing is mirrored, nothing is black, nothing jumps."""
    view = VIEWS["picture"]
    bright = (COORDINATES // 2 + 60).astype(np.uint8)
    _, out = make(view, seed, (0, 0, 32, 32), bright)
    assert out.min() >= 58
    for axis in (0, 1):
        assert np.abs(np.diff(out.astype(int), axis=axis)).max() <= 8


def test_without_a_warp_the_picture_border_changes_nothing():
    """The same draws with and without sight of the surroundings, where no warp happens."""
    still = Affine(p=1.0, border="picture")
    for seed in range(20):
        for box in (None, (7, 11, 40, 50)):
            view = View(size=40, crop=Crop(scale=(0.2, 0.9)))
            _, plain = make(view, seed, box)
            _, warped = make(view.model_copy(update={"affine": still}), seed, box)
            inner = slice(4, -4)
            difference = np.abs(plain.astype(int) - warped)[inner, inner]
            assert difference.max() <= 1


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(sorted(VIEWS)), seeds, boxes)
def test_soft_masks_are_the_pixels(name, seed, box):
    view = VIEWS[name]
    image = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 1)).astype(np.uint8)
    rows, out = make(view, seed, box, image)
    soft = move_soft(image[..., 0] / 255.0, rows, view, box=box)
    assert soft.dtype == np.float32 and np.abs(soft * 255 - out[..., 0]).max() <= 0.51


def test_masks_keep_their_type_and_take_any_side():
    view = VIEWS["zero"]
    rows, _ = make(view, 3)
    mask = (X > 40).astype(np.uint8)
    hard = move_mask(mask, rows, view, side=10)
    assert hard.dtype == np.uint8 and hard.shape == (10, 10) and set(np.unique(hard)) <= {0, 1}
    soft = move_mask(mask.astype(np.float64), rows, view, side=10)
    assert soft.dtype == np.float32 and soft.shape == (10, 10)
    full = move_mask(mask.astype(np.float64), rows, view)
    assert np.allclose(full.reshape(10, 4, 10, 4).mean((1, 3)), soft, atol=0.2)
    assert ((soft > 0.9) <= (hard == 1)).all() and ((hard == 1) <= (soft > 0.1)).all()
    tiled = move_ids(np.dstack([IDS, IDS]), make(VIEWS["tiles"], 0)[0], VIEWS["tiles"], side=6)
    assert tiled.shape == (4, 6, 6, 2) and tiled.dtype == np.int32


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(sorted(VIEWS)), seeds)
def test_points_go_there_and_back(name, seed):
    view = VIEWS[name]
    rows, _ = make(view, seed)
    points = np.random.default_rng(seed).random((20, 2)) * (HEIGHT, WIDTH)
    for part in range(view.parts) if view.tiles is None else range(1, view.parts):
        there = move_points(points, rows, view, part)
        m = source_from_view(rows, view, part)
        assert np.allclose(there @ m[:, :2].T + m[:, 2], points, atol=1e-3)


def test_boxes_hold_what_they_held():
    """The moved box holds every pixel of the moved mask, and is tight without a warp."""
    for name, view in VIEWS.items():
        if view.tiles is not None or name in ("picture", "reflect"):
            continue
        for seed in range(10):
            rows, _ = make(view, seed)
            mask = np.zeros((HEIGHT, WIDTH), np.uint8)
            mask[20:45, 30:60] = 1
            moved = move_mask(mask, rows, view)
            (top, left, height, width), share = (
                x[0] for x in move_boxes([[20, 30, 25, 30]], rows, view)
            )
            found = np.argwhere(moved)
            if not len(found):
                assert height * width < 3
                continue
            low, high = found.min(0), found.max(0) + 1
            assert top <= low[0] + 1 and left <= low[1] + 1
            assert top + height >= high[0] - 1 and left + width >= high[1] - 1
            if name in ("crop", "padded", "turned"):
                assert np.allclose([top, left], low, atol=1)
                assert np.allclose([top + height, left + width], high, atol=1)
            assert 0 < share <= 1 + 1e-9


def test_a_box_out_of_sight_is_empty():
    view = View(size=20, crop=Crop(kind="center", fraction=0.5), flip=0.0)
    rows = sample(view, (0, 0), np.array([0]), np.array([[40, 40]], np.int32))[0]
    boxes, share = move_boxes([[0, 0, 5, 5], [10, 10, 20, 20], [20, 20, 20, 20]], rows, view)
    assert (boxes[0, 2:] == 0).all() and share[0] == 0
    assert np.allclose(boxes[1], [0, 0, 20, 20]) and share[1] == pytest.approx(1)
    assert np.allclose(boxes[2], [10, 10, 10, 10]) and share[2] == pytest.approx(0.25)


def normals_of(depth):
    """Unit normals (x, y, z) of a height field."""
    gy, gx = np.gradient(depth)
    n = np.stack([-gx, -gy, np.ones_like(depth)], axis=-1)
    return n / np.linalg.norm(n, axis=-1, keepdims=True)


@pytest.mark.parametrize("name", ["mirror", "turned", "rolled", "tiles"])
def test_normals_turn_with_the_camera(name):
    """Normals of the moved depth are the moved normals of the depth."""
    size = 64
    y, x = np.mgrid[:size, :size]
    depth = 3 * np.sin(x / 9) + 2 * np.cos(y / 7) + 0.05 * x
    whole = Crop(kind="center", fraction=1.0)
    view = {
        "mirror": View(size=size, crop=whole, flip=1.0),
        "turned": View(size=size, crop=whole, flip=0.5, turns=(1, 2, 3)),
        "rolled": View(size=size, crop=whole, affine=Affine(rotation=60)),
        "tiles": View(
            size=size, crop=whole, turns=(1, 2),
            tiles=Tiles(rows=1, columns=2, stride=32, size=32, jitter=0),
        ),
    }[name]  # fmt: skip
    for seed in range(4):
        rows = sample(view, (seed, 1), np.array([seed]), np.array([[size, size]], np.int32))[0]
        moved = move_normals(normals_of(depth), rows, view)
        low, high = depth.min(), depth.max()
        depths = move_soft((depth - low) / (high - low), rows, view).astype(float) * (high - low)
        for d, n in zip(
            *((depths, moved) if view.tiles else (depths[None], moved[None])), strict=True
        ):
            middle = np.hypot(*(np.mgrid[: len(d), : len(d)] - len(d) / 2)) < len(d) / 2 - 3
            assert np.abs(normals_of(d) - n)[middle].max() < 0.1
            assert np.allclose(np.linalg.norm(n[middle], axis=-1), 1, atol=1e-5)


def test_a_box_without_pixels_is_refused():
    with pytest.raises(ValueError, match="holds no pixels"):
        make(VIEWS["crop"], 0, (70, 0, 5, 5))
