"""Rows of the further operations: golden draws, ranges, probabilities, choices, tiles."""

import numpy as np
import pytest
from test_view_table import FULL, KEY, draw, share, uniform

from foveal.views.layout import IDLE, SPANS
from foveal.views.make import make_view
from foveal.views.operations import NAMES
from foveal.views.spec import (
    Affine,
    ChannelDrop,
    ChannelShift,
    Choice,
    Crop,
    HSVPowers,
    Noise,
    PCAContrast,
    Posterise,
    Sharpness,
    Shrink,
    Tiles,
    View,
)
from foveal.views.table import COLUMN, COLUMNS, sample

GOLDEN = [
    [0, 5, 49, 47, 1, 16, 1.35102, 1.5765386, 0.9568136, 0.024162438, 0, 1.5981735, 0, 0, 0],
    [0, 5, 49, 47, 1, 12, 1.2658937, 0.9359223, 0.29294947, 0.07812117, 0, 0.48343387, 1, 2, 0],
    [18, 2, 25, 32, 1, 15, 1.0271624, 0.43431833, 1.2792336, -0.058066007, 1, 0, 0, 0, 0],
    [18, 2, 25, 32, 1, 3, 0.8645461, 0.5487044, 1.6988245, 0.082877986, 0, 0, 0, 2, 4],
    [167, 67, 170, 188, 0, -1, 1, 1, 1, 0, 0, 0, 0, 0, 0],
    [167, 67, 170, 188, 1, 4, 0.84188116, 0.7922701, 0.5384587, -0.0638012, 0, 1.5080332, 0, 3, 2],
]  # fmt: skip
GOLDEN_3 = {
    "threshold": 0.243958, "angle": 15.385981, "shift_y": -0.171919, "shift_x": 0.079070,
    "scale": 1.317341, "shear_y": -0.982951, "shear_x": -2.565856, "turns": 0, "shrink": 10.472254,
    "pca": 0, "hsv": 0, "projection": 1, "kept": 2, "noise": 0.036050, "seed_0": 1005865,
    "seed_1": 16871,
}  # fmt: skip
GOLDEN_8 = {
    "turns": 2, "shrink": 0, "pca_1": 1.240379, "pca_2": 0.548978, "pca_3": 1.517560,
    "hsv_hue": -0.018935, "s_power": 1.294073, "s_factor": 1.189203, "s_add": -0.097243,
    "v_power": 0.941158, "v_factor": 1.064974, "v_add": -0.041576, "posterise": 6, "kept": -1,
}  # fmt: skip
EVERYTHING = View(
    size=32,
    jitter=FULL.jitter,
    grey=0.2,
    blur=FULL.blur,
    solarise=0.3,
    threshold=(0.2, 0.9),
    affine=Affine(p=0.7, rotation=20, translation=0.2, scale=(0.7, 1.4), shear=(5, 10)),
    turns=(0, 1, 2, 3),
    shrink=Shrink(p=0.33, pixels=(100, 900)),
    pca=PCAContrast(p=0.6),
    hsv=HSVPowers(p=0.6),
    invert=0.1,
    posterise=Posterise(p=0.4, bits=(4, 7)),
    autocontrast=0.3,
    equalise=0.25,
    sharpness=Sharpness(p=0.5),
    projection=0.35,
    channel_shift=ChannelShift(p=0.5, pixels=(-2, 2)),
    channel_drop=ChannelDrop(p=0.5),
    noise=Noise(p=0.5, sigma=(0.01, 0.05)),
)


@pytest.fixture(scope="module")
def everything():
    return draw(EVERYTHING)


def test_golden_rows_never_change():
    """A run resumed under a newer version must go on with the same draws."""
    tiles = Tiles(rows=1, columns=2, stride=16, size=10, jitter=4)
    view = FULL.model_copy(update={"tiles": tiles})
    positions = np.array([0, 3, 2**33 + 1])
    sizes = np.array([[50, 80], [60, 40], [500, 375]], np.int32)
    rows = sample(view, KEY, positions, sizes)[:, :2, :15].reshape(6, 15)
    assert np.allclose(rows, np.array(GOLDEN, np.float32), atol=1e-6)


def test_golden_rows_of_the_further_operations():
    rows = sample(EVERYTHING, KEY, np.array([3, 8]), np.full((2, 2), 50, np.int32))[:, 0]
    for row, golden in zip(rows, (GOLDEN_3, GOLDEN_8), strict=True):
        assert {name: row[COLUMN[name]] for name in golden} == pytest.approx(golden, abs=1e-5)


def test_each_further_number_has_its_distribution(everything):
    e = everything
    assert np.allclose(np.bincount(e["turns"].astype(int)) / len(e["turns"]), 0.25, atol=0.015)
    on = e["affine"] > 0
    share(on, 0.7)
    uniform(e["angle"][on], -20, 20)
    uniform(e["shift_y"][on], -0.2, 0.2)
    uniform(e["shift_x"][on], -0.2, 0.2)
    uniform(e["scale"][on], 0.7, 1.4)
    uniform(e["shear_x"][on], -5, 5)
    uniform(e["shear_y"][on], -10, 10)
    assert (e["scale"][~on] == 1).all() and (e["angle"][~on] == 0).all()
    share(e["shrink"] > 0, 0.33)
    uniform(e["shrink"][e["shrink"] > 0] ** 2, 99.9, 900.1)
    on = e["pca"] > 0
    share(on, 0.6)
    for i in (1, 2, 3):
        uniform(np.log2(e[f"pca_{i}"][on]), -1 - 1e-6, 1 + 1e-6)
    on = e["hsv"] > 0
    share(on, 0.6)
    uniform(e["hsv_hue"][on], -0.1, 0.1)
    for name in ("s", "v"):
        uniform(np.log2(e[f"{name}_power"][on]), -2 - 1e-6, 2 + 1e-6)
        low, high = np.log2(0.7), np.log2(1.4)
        uniform(np.log2(e[f"{name}_factor"][on]), low - 1e-6, high + 1e-6)
        uniform(e[f"{name}_add"][on], -0.1001, 0.1001)
    for name, p in (("invert", 0.1), ("autocontrast", 0.3), ("equalise", 0.25)):
        share(e[name], p)
    share(e["projection"], 0.35)
    bits = e["posterise"][e["posterise"] > 0].astype(int)
    share(e["posterise"] > 0, 0.4)
    assert np.allclose(np.bincount(bits, minlength=9)[4:8] / len(bits), 0.25, atol=0.025)
    assert set(bits) == {4, 5, 6, 7}
    share(e["sharpness"] != 1, 0.5)
    uniform(e["sharpness"][e["sharpness"] != 1], 0.0999, 1.9001)
    on = e["channel_shift"] > 0
    share(on, 0.5)
    for name in ("red_y", "red_x", "green_y", "green_x", "blue_y", "blue_x"):
        counts = np.bincount((e[name][on] + 2).astype(int), minlength=5) / on.sum()
        assert len(counts) == 5 and np.allclose(counts, 0.2, atol=0.02)
    share(e["kept"] >= 0, 0.5)
    for c in range(3):
        share(e["kept"][e["kept"] >= 0] == c, 1 / 3)
    share(e["noise"] > 0, 0.5)
    uniform(e["noise"][e["noise"] > 0], 0.0099, 0.0501)
    uniform(e["threshold"], 0.1999, 0.9001)
    uniform(e["seed_0"] / 2**24, 0, 1)
    uniform(e["seed_1"] / 2**24, 0, 1)


def test_further_operations_move_no_other_draw(everything):
    before = draw(FULL)
    for name in COLUMNS[:15]:
        assert np.array_equal(before[name], everything[name]), name
    off = {
        "affine": None, "turns": (0,), "shrink": None, "pca": None, "hsv": None, "invert": 0.0,
        "posterise": None, "autocontrast": 0.0, "equalise": 0.0, "sharpness": None,
        "projection": 0.0, "channel_shift": None, "channel_drop": None, "noise": None,
    }  # fmt: skip
    for field, value in off.items():
        other = draw(EVERYTHING.model_copy(update={field: value}), 300)
        first, last = SPANS[field]
        changed = {n for n in COLUMNS if not np.array_equal(other[n], everything[n][:300])}
        assert changed == set(COLUMNS[COLUMN[first] : COLUMN[last] + 1]), field


def test_draws_do_not_depend_on_each_other(everything):
    """On 20,000 rows the largest of a thousand correlations stays below 0.035."""
    names = COLUMNS[COLUMN["threshold"] :]
    values = np.array([everything[n] for n in names])
    on = np.array([everything[n] for n in ("affine", "hsv", "pca", "channel_shift")]).all(0)
    used = values[:, on]
    used = used[used.std(1) > 0]
    correlation = np.abs(np.corrcoef(used) - np.eye(len(used)))
    assert correlation.max() < 5 / np.sqrt(on.sum())


def test_names_and_spans_agree():
    assert set(SPANS) == set(NAMES)
    assert len(IDLE) == len(COLUMNS)
    idle = draw(View(size=8, flip=0.0), 5)
    for i, name in enumerate(COLUMNS[4:], start=4):
        assert (idle[name] == IDLE[i]).all() or name == "threshold"


def test_a_choice_takes_all_or_none():
    """PIRL: posterise, sharpness, solarise and autocontrast together with p = 0.66."""
    of = ("posterise", "sharpness", "solarise", "autocontrast")
    view = View(
        size=8,
        posterise=Posterise(p=1.0),
        sharpness=Sharpness(p=1.0),
        solarise=1.0,
        autocontrast=1.0,
        choice=Choice(p=0.66, of=of),
    )
    d = draw(view)
    on = d["posterise"] > 0
    share(on, 0.66)
    for other in (d["sharpness"] != 1, d["solarise"] > 0, d["autocontrast"] > 0):
        assert np.array_equal(on, other)


def test_a_choice_of_two_takes_every_pair_evenly():
    """CPC v2: two of AutoAugment's operations."""
    of = ("rotation", "shear", "invert", "equalise", "brightness")
    view = View(
        size=8,
        affine=Affine(rotation=30, shear=(10, 10)),
        invert=1.0,
        equalise=1.0,
        jitter=FULL.jitter.model_copy(update={"p": 1.0, "additive": True}),
        choice=Choice(of=of, count=2),
    )
    d = draw(view)
    on = np.array(
        [
            d["angle"] != 0,
            d["shear_x"] != 0,
            d["invert"] > 0,
            d["equalise"] > 0,
            d["brightness"] != 0,
        ]
    )
    assert (on.sum(0) == 2).all()
    pairs = [on[i] & on[j] for i in range(5) for j in range(i)]
    for pair in pairs:
        share(pair, 0.1)
    assert (d["contrast"] != 1).all()


def test_what_is_drawn_once_is_the_same_for_all_tiles():
    tiles = Tiles(rows=2, columns=2, stride=8, size=6, jitter=2, once=("grey", "projection"))
    view = EVERYTHING.model_copy(update={"tiles": tiles, "size": 16, "grey": 0.5})
    rows = sample(view, KEY, np.arange(200), np.full((200, 2), 30, np.int32))
    for name in ("grey", "projection"):
        column = rows[..., COLUMN[name]]
        assert (column == column[:, :1]).all() and 0.2 < column.mean() < 0.8
    for name in ("angle", "invert", "red_x", "kept", "seed_0"):
        assert (rows[:, 1, COLUMN[name]] != rows[:, 2, COLUMN[name]]).any()


@pytest.mark.parametrize("name", ["shrink", "pca", "hsv", "posterise", "channel_drop", "noise"])
def test_each_operation_is_seen_in_the_pixels(name):
    view = View(size=20, crop=Crop(kind="center", fraction=1.0), flip=0.0)
    field = {
        "shrink": Shrink(p=1.0, pixels=(16, 25)), "pca": PCAContrast(), "hsv": HSVPowers(),
        "posterise": Posterise(p=1.0, bits=(2, 3)), "channel_drop": ChannelDrop(),
        "noise": Noise(p=1.0, sigma=(0.05, 0.05)),
    }[name]  # fmt: skip
    image = np.random.default_rng(0).integers(20, 230, (20, 20, 3)).astype(np.uint8)
    plain, changed = np.empty((20, 20, 3), np.uint8), np.empty((20, 20, 3), np.uint8)
    rows = np.empty((1, len(COLUMNS)), np.float32)
    make_view(view, image, KEY, 0, rows, plain)
    assert np.array_equal(plain, image)
    make_view(view.model_copy(update={name: field}), image, KEY, 0, rows, changed)
    assert (changed != plain).mean() > 0.3
