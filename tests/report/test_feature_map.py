"""The map of the features: what lies where, and that the page shows it without anything else."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from foveal.core.files import read_json
from foveal.data.arrays import ArraySource
from foveal.data.loader import Table
from foveal.report.feature_map import (
    lay_out,
    map_section,
    neighbours_kept,
    spread_out,
    write_map,
)
from foveal.report.pictures import Gallery


def groups(n=60, d=8, k=3):
    """Features in ``k`` far groups, and the group of each."""
    generator = np.random.default_rng(0)
    which = np.arange(n) % k
    z = generator.normal(size=(n, d)) * 0.05 + generator.normal(size=(k, d))[which]
    return (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32), which


def test_what_is_alike_lies_together_and_the_same_every_time():
    z, which = groups()
    places = lay_out(z, seed=0)
    assert places.min() >= 0 and places.max() <= 1
    distance = np.linalg.norm(places[:, None] - places[None], axis=2) + 9 * np.eye(len(z))
    assert (which[distance.argmin(axis=1)] == which).mean() > 0.95
    np.testing.assert_array_equal(places, lay_out(z, seed=0))


@pytest.mark.parametrize("z", [np.full((60, 8), 0.5, np.float32), np.full((60, 8), np.nan, "f4")])
def test_features_that_are_all_the_same_make_no_map(z):
    assert lay_out(z, seed=0) is None


def test_features_in_one_direction_make_a_map():
    z = np.linspace(0, 1, 60, dtype=np.float32)[:, None] * np.ones((1, 4), np.float32)
    assert np.isfinite(lay_out(z, seed=0)).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 120), st.floats(0, 0.5), st.integers(0, 99))
def test_pictures_are_moved_apart_and_stay_inside(n, width, seed):
    before = 0.5 + width * (np.random.default_rng(seed).random((n, 2)) - 0.5)
    after = spread_out(before)
    assert after.shape == (n, 2) and after.min() >= 0 and after.max() <= 1

    def covered(places):
        apart = np.abs(places[:, None] - places[None]) / (0.034, 0.034 * 1.5)
        area = np.clip(1 - apart, 0, 1).prod(axis=2)
        return (area - np.eye(n)).max()

    assert covered(after) <= 0.35  # of a picture, wherever they came from


def test_neighbours_kept_by_hand():
    line = np.arange(4.0)[:, None] ** 1.5
    # Three others each, and three are near: all are kept, wherever they lie.
    assert neighbours_kept(line, np.random.default_rng(0).random((4, 2))) == 1.0
    z, _ = groups()
    assert neighbours_kept(z, z.astype(np.float64)) == 1.0
    mixed = z[np.random.default_rng(1).permutation(len(z))].astype(np.float64)
    assert neighbours_kept(z, mixed) < 0.35  # by chance 10 of 59


@pytest.fixture
def written(tmp_path):
    """60 pictures of one grey each, in three classes, with names that need escaping."""
    z, which = groups()
    greys = np.arange(60) * 4
    pictures = np.broadcast_to(greys[:, None, None, None], (60, 8, 8, 3)).astype(np.uint8)
    source = ArraySource("x", pictures, labels=which)
    source.name = lambda i: f'<{i}>"&.png'
    table = Table(source, np.arange(60), which)
    gallery = Gallery(np.arange(60), torch.from_numpy(z), np.ascontiguousarray(pictures))
    sheet, about = tmp_path / "map.jpg", tmp_path / "map.json"
    write_map(gallery, table, sheet, about, seed=0)
    return greys, which, sheet, about


class Marks(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "i":
            self.found.append(dict(attributes))


def test_the_page_shows_every_picture_where_the_map_says(written):
    greys, which, sheet, about = written
    text, values = map_section(sheet, about), read_json(about)
    picture = np.asarray(Image.open(sheet)).astype(int)
    marks = Marks(text).found
    assert len(marks) == 60
    for i, mark in enumerate(marks):
        assert mark["aria-label"].startswith(f'<{i}>"&.png')
        assert mark["class"] == f"c{which[i]}"
        left, top, x, y = map(float, re.findall(r"([\d.]+)%", mark["style"]))
        assert left == pytest.approx(2.5 + 95 * values["x"][i], abs=0.01)
        assert top == pytest.approx(3.5 + 93 * values["y"][i], abs=0.01)
        # CSS: a position of p % puts p % of the sheet over p % of the box.
        row, column = round(y / 100 * 7), round(x / 100 * 7)
        tile = picture[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
        assert abs(tile.mean() - greys[i]) < 6
    assert f"{100 * values['kept']:.0f}\u00a0% are" in text
    assert "(by chance 16.9\u00a0%)" in text


def test_the_page_needs_nothing_from_anywhere(written):
    text = map_section(*written[2:])
    assert "<script" not in text and "http" not in text and text.count("url(data:") == 1


def test_classes_can_be_pointed_at(written):
    text = map_section(*written[2:])
    for label in range(3):
        assert f'class="k{label}">{label}</span>' in text
        assert f".mapped:has(.k{label}:hover" in text


def test_few_pictures_make_no_map(tmp_path):
    gallery = Gallery(np.arange(9), torch.rand(9, 4), np.zeros((9, 8, 8, 3), np.uint8))
    table = Table(ArraySource("x", np.zeros((9, 8, 8, 3), np.uint8)), np.arange(9), np.zeros(9))
    write_map(gallery, table, tmp_path / "a.jpg", tmp_path / "a.json", seed=0)
    assert not list(tmp_path.iterdir()) and map_section(tmp_path / "a", tmp_path / "a.json") == ""
