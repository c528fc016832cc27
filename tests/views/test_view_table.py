"""The table: ranges, probabilities and distributions; a pure function of key and position."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torchvision.transforms import RandomResizedCrop

from foveal.core import rng
from foveal.views.make import apply_rows, make_view
from foveal.views.spec import Blur, Crop, Jitter, Tiles, View
from foveal.views.table import COLUMN, COLUMNS, ORDERS, sample

N = 20_000
KEY = rng.key(0, "view", "main", "a")
FULL = View(
    size=32,
    jitter=Jitter(p=0.8, brightness=0.4, contrast=0.6, saturation=1.2, hue=0.1),
    grey=0.2,
    blur=Blur(p=0.5, sigma=(0.1, 2.0)),
    solarise=0.3,
)


def draw(view, n=N, size=(50, 80), key=KEY):
    """Columns by name for the first n positions, [n] each (of part 0)."""
    table = sample(view, key, np.arange(n), np.tile(np.array(size, np.int32), (n, 1)))
    return {name: table[:, 0, i] for name, i in COLUMN.items()}


@pytest.fixture(scope="module")
def full():
    return draw(FULL)


def uniform(values, low, high):
    assert values.min() >= low and values.max() <= high
    assert stats.kstest(values, "uniform", (low, high - low)).pvalue > 0.01


def share(values, p):
    assert abs(values.mean() - p) < 4 * np.sqrt(p * (1 - p) / len(values))


def test_each_number_has_its_distribution(full):
    share(full["flip"], 0.5)
    on = full["order"] >= 0
    share(on, 0.8)
    uniform(full["brightness"][on], 0.6, 1.4)
    uniform(full["contrast"][on], 0.4, 1.6)
    uniform(full["saturation"][on], 0.0, 2.2)
    uniform(full["hue"][on], -0.1, 0.1)
    assert (full["brightness"][~on] == 1).all() and (full["hue"][~on] == 0).all()
    share(full["grey"], 0.2)
    blurred = full["sigma"] > 0
    share(blurred, 0.5)
    uniform(full["sigma"][blurred], 0.1, 2.0)
    share(full["solarise"], 0.3)


def test_additive_brightness():
    view = FULL.model_copy(update={"jitter": Jitter(p=1.0, brightness=0.4, additive=True)})
    uniform(draw(view)["brightness"], -0.4, 0.4)


def test_the_24_orders_are_equally_likely(full):
    assert sorted(map(tuple, ORDERS)) == sorted(set(map(tuple, ORDERS)))
    assert ORDERS.shape == (24, 4) and ORDERS[0].tolist() == [0, 1, 2, 3]
    orders = full["order"][full["order"] >= 0].astype(int)
    assert stats.chisquare(np.bincount(orders, minlength=24)).pvalue > 0.01
    listed = draw(FULL.model_copy(update={"jitter": Jitter(random_order=False)}), 500)["order"]
    assert set(listed) == {-1.0, 0.0}


def test_draws_do_not_depend_on_each_other(full):
    on = (full["order"] >= 0) & (full["sigma"] > 0)
    used = [full[c][on] for c in COLUMNS[: COLUMNS.index("tile_top")]]
    # height and width belong to one region; all else is free.
    names = COLUMNS[: len(used)]
    correlation = np.abs(np.corrcoef(np.array(used)))
    for i, one in enumerate(names):
        for j, other in enumerate(names[:i]):
            if {one, other} <= {"top", "left", "height", "width"}:
                continue
            assert correlation[i, j] < 0.05, (one, other)


@pytest.mark.parametrize(
    ("size", "scale", "ratio"),
    [
        ((50, 80), (0.08, 1.0), (3 / 4, 4 / 3)),
        ((64, 64), (0.2, 1.0), (3 / 4, 4 / 3)),
        ((30, 70), (0.5, 1.0), (3 / 4, 4 / 3)),  # often the fallback
        ((20, 200), (0.3, 1.0), (3 / 4, 4 / 3)),  # always
    ],
)
def test_the_crop_is_that_of_torchvision(size, scale, ratio):
    n = 4000
    torch.manual_seed(0)
    image = torch.empty(3, *size)
    theirs = np.array(
        [RandomResizedCrop.get_params(image, list(scale), list(ratio)) for _ in range(n)]
    )
    mine = draw(View(size=8, crop=Crop(scale=scale, ratio=ratio)), n, size)
    mine = np.stack([mine[c] for c in ("top", "left", "height", "width")], axis=1)
    mine = mine.astype(float)
    for change in (
        lambda x: x[:, 2] * x[:, 3],
        lambda x: x[:, 3] / x[:, 2],
        lambda x: x[:, 0],
        lambda x: x[:, 1],
        lambda x: x[:, 1] + x[:, 3],
    ):
        assert stats.ks_2samp(change(mine), change(theirs)).pvalue > 0.005
    assert (mine >= 0).all() and (mine == np.round(mine)).all()
    assert (mine[:, 0] + mine[:, 2] <= size[0]).all()
    assert (mine[:, 1] + mine[:, 3] <= size[1]).all()


@settings(deadline=None)
@given(
    st.sampled_from(["random_resized", "clipped", "center", "resize_random", "whole"]),
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(0, 2**40),
)
def test_regions_lie_in_the_picture(kind, height, width, position):
    view = View(size=16, crop=Crop(kind=kind, resize=20))
    row = sample(view, KEY, np.array([position]), np.array([[height, width]], np.int32))[0, 0]
    top, left, h, w = row[:4]
    assert h > 0 and w > 0 and top >= 0 and left >= 0
    assert top + h <= height + 1e-3 and left + w <= width + 1e-3


def test_fixed_crops():
    whole = View(size=16, crop=Crop(kind="whole"))
    assert sample(whole, KEY, np.arange(1), np.array([[50, 70]]))[0, 0, :4].tolist() == [
        0,
        0,
        50,
        70,
    ]
    center = draw(View(size=16, crop=Crop(kind="center", fraction=0.8)), 5)
    assert set(center["height"]) == {np.float32(40)} == set(center["width"])
    assert set(center["top"]) == {np.float32(5)} and set(center["left"]) == {np.float32(20)}
    # Short side 50 brought to 100: a square of 40 there is one of 20 here.
    probe = draw(View(size=40, crop=Crop(kind="resize_random", resize=100)))
    assert set(probe["height"]) == {np.float32(20)} == set(probe["width"])
    uniform(probe["top"], 0, 30)
    uniform(probe["left"], 0, 60)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 2**45), min_size=1, max_size=12), st.booleans())
def test_a_row_does_not_know_its_batch(positions, tiled):
    view = FULL.model_copy(
        update={"tiles": Tiles(rows=2, columns=2, stride=16, size=10, jitter=4) if tiled else None}
    )
    sizes = np.array([[20 + p % 30, 25 + p % 17] for p in positions], np.int32)
    together = sample(view, KEY, np.array(positions), sizes)
    for b, position in enumerate(positions):
        alone = sample(view, KEY, np.array([position]), sizes[b : b + 1])
        assert np.array_equal(together[b], alone[0])
        image = np.zeros((*sizes[b], 3), np.uint8)
        rows, out = np.empty_like(alone[0]), np.empty(view.shape(3), np.uint8)
        make_view(view, image, KEY, position, rows, out)
        assert np.array_equal(rows, together[b])
        again = np.empty_like(out)
        apply_rows(view, image, rows, again)
        assert np.array_equal(out, again)


CHANGES = {
    "flip": ({"flip": 0.0}, {"flip"}),
    "jitter": ({"jitter": None}, {"order", "brightness", "contrast", "saturation", "hue"}),
    "hue": ({"jitter": FULL.jitter.model_copy(update={"hue": 0.0})}, {"hue"}),
    "listed": ({"jitter": FULL.jitter.model_copy(update={"random_order": False})}, {"order"}),
    "grey": ({"grey": 0.0}, {"grey"}),
    "blur": ({"blur": None}, {"sigma"}),
    "sigma": ({"blur": Blur(sigma=(1.0, 3.0))}, {"sigma"}),
    "solarise": ({"solarise": 0.0}, {"solarise"}),
    "crop": ({"crop": Crop(kind="center")}, {"top", "left", "height", "width"}),
    "size": ({"size": 48, "interpolation": "bicubic"}, set()),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changing_one_option_moves_no_other_draw(full, name):
    changes, moved = CHANGES[name]
    other = draw(FULL.model_copy(update=changes), 2000)
    for column in COLUMNS:
        unchanged = np.array_equal(full[column][:2000], other[column])
        assert unchanged == (column not in moved), column


def test_keys_and_positions_give_other_rows():
    view = FULL.model_copy(update={"jitter": Jitter(p=1.0, brightness=0.4)})
    rows = [draw(view, 3, key=rng.key(seed, "a"))["brightness"] for seed in range(3)]
    assert len(np.unique(rows)) == 9
    far = sample(FULL, KEY, np.array([2**32, 0, 1]), np.full((3, 2), 60, np.int32))
    assert not np.array_equal(far[0], far[1]) and not np.array_equal(far[1], far[2])


TILED = View(
    size=30,
    crop=Crop(kind="center", fraction=1.0),
    flip=0.0,
    tiles=Tiles(rows=3, columns=2, stride=10, size=6, jitter=4),
)


def test_tiles_move_in_their_cells():
    table = sample(TILED, KEY, np.arange(4000), np.full((4000, 2), 30, np.int32))
    assert table.shape == (4000, 7, len(COLUMNS))
    top, left = table[:, 1:, COLUMN["tile_top"]], table[:, 1:, COLUMN["tile_left"]]
    for tile in range(6):
        y, x = top[:, tile] - 10 * (tile // 2), left[:, tile] - 10 * (tile % 2)
        for offsets in (y, x):
            counts = np.bincount(offsets.astype(int), minlength=5)
            assert len(counts) == 5 and stats.chisquare(counts).pvalue > 0.001
    assert abs(np.corrcoef(top[:, 0], top[:, 1])[0, 1]) < 0.06
    assert abs(np.corrcoef(top[:, 0], left[:, 0])[0, 1]) < 0.06
    # Cells of 10, tiles of 6, offsets to 4: neighbours never overlap.
    assert (left[:, 1] - left[:, 0] >= 6).all() and (top[:, 2] - top[:, 0] >= 6).all()


def test_tiles_are_cut_from_the_picture():
    image = np.random.default_rng(0).integers(0, 256, (30, 30, 3)).astype(np.uint8)
    for position in range(10):
        rows, out = np.empty((7, len(COLUMNS)), np.float32), np.empty((6, 6, 6, 3), np.uint8)
        make_view(TILED, image, KEY, position, rows, out)
        for tile in range(6):
            y = int(rows[tile + 1, COLUMN["tile_top"]])
            x = int(rows[tile + 1, COLUMN["tile_left"]])
            assert np.array_equal(out[tile], image[y : y + 6, x : x + 6])


def test_each_tile_is_coloured_and_mirrored_by_itself():
    view = TILED.model_copy(
        update={"flip": 0.5, "jitter": Jitter(p=1.0, brightness=0.4, hue=0.2), "solarise": 0.5}
    )
    table = sample(view, KEY, np.arange(300), np.full((300, 2), 30, np.int32))
    for name in ("brightness", "hue"):
        assert len(np.unique(table[0, :, COLUMN[name]])) == 7
    for name in ("flip", "solarise"):
        share(table[:, 1:, COLUMN[name]].ravel(), 0.5)
    for name in ("top", "left", "height", "width"):
        assert (table[..., COLUMN[name]] == table[:, :1, COLUMN[name]]).all()
    # A tile is the plain tile with the operations of its own row.
    image = np.random.default_rng(0).integers(60, 190, (30, 30, 3)).astype(np.uint8)
    bright = TILED.model_copy(update={"flip": 0.5, "jitter": Jitter(p=1.0, brightness=0.3)})
    for position in range(10):
        rows, out = np.empty((7, len(COLUMNS)), np.float32), np.empty((6, 6, 6, 3), np.uint8)
        make_view(bright, image, KEY, position, rows, out)
        whole = image[:, ::-1] if rows[0, COLUMN["flip"]] else image
        for tile in range(6):
            row = rows[tile + 1]
            y, x = int(row[COLUMN["tile_top"]]), int(row[COLUMN["tile_left"]])
            plain = whole[y : y + 6, x : x + 6]
            plain = plain[:, ::-1] if row[COLUMN["flip"]] else plain
            expected = plain * row[COLUMN["brightness"]]
            assert np.abs(out[tile] - expected).max() <= 0.51


def test_overlapping_tiles():
    """CPC: 7 x 7 tiles of 64 pixels, half of each shared with the next."""
    tiles = Tiles(rows=7, columns=7, stride=32, size=64, jitter=0)
    assert tiles.side == (256, 256)
    view = View(size=256, crop=Crop(kind="center", fraction=1.0), flip=0.0, tiles=tiles)
    image = np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.uint8)
    rows, out = np.empty((50, len(COLUMNS)), np.float32), np.empty((49, 64, 64, 3), np.uint8)
    make_view(view, image, KEY, 0, rows, out)
    assert np.array_equal(out[0][:, 32:], out[1][:, :32])
    assert np.array_equal(out[48], image[192:, 192:])
