import json

import numpy as np
import pytest
from PIL import Image

from foveal.backbones.encoder import Encoder
from foveal.backbones.registry import build_backbone
from foveal.errors import FovealError
from foveal.evaluation.search import search
from foveal.report.search_page import write_search_page


@pytest.fixture(scope="module")
def pile(tmp_path_factory):
    """Twelve bright red and twelve dark blue pictures of noise."""
    folder = tmp_path_factory.mktemp("pile")
    generator = np.random.default_rng(0)
    for i in range(24):
        colour = (220, 40, 40) if i % 2 else (10, 10, 90)
        pixels = np.clip(colour + generator.normal(0, 12, (20, 20, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{'red' if i % 2 else 'blue'} {i:02d}.png")
    (folder / "broken.png").write_bytes(b"not a picture")
    return folder


@pytest.fixture(scope="module")
def encoder():
    return Encoder([build_backbone("small", width=0.25)], [[]], channels=3, size=16, fraction=1.0)


def test_it_finds_its_own_kind_but_not_itself(encoder, pile):
    done = search(encoder, pile, pile / "red 07.png", top=11)
    (found,) = done.found
    names = [m.name for m in found.matches]
    assert len(names) == 11 and "red 07.png" not in names
    assert all(name.startswith("red") for name in names)
    similarities = [m.similarity for m in found.matches]
    assert similarities == sorted(similarities, reverse=True)
    # Two in four random pairs are of one kind.
    assert all(0 < m.chance < 0.6 for m in found.matches)
    assert [b.name for b in done.bad] == ["broken.png"]


def test_a_query_from_elsewhere_may_find_everything(encoder, pile, tmp_path):
    Image.open(pile / "blue 04.png").save(tmp_path / "copy.png")
    (found,) = search(encoder, pile, tmp_path / "copy.png", top=1000).found
    assert len(found.matches) == 24
    assert found.matches[0].name == "blue 04.png" and found.matches[0].similarity > 0.99


def test_many_queries_and_a_page(encoder, pile, tmp_path):
    done = search(encoder, pile, f"{pile}/red*.png", top=3)
    assert [f.query for f in done.found] == [f"{pile}/red {i:02d}.png" for i in range(1, 24, 2)]
    page = write_search_page(done, tmp_path / "page.html").read_text()
    assert page.count("<figure") == 12 * 4 and "broken.png" in page
    json.dumps([f.to_json() for f in done.found])


def test_what_cannot_be_searched(encoder, pile, tmp_path):
    with pytest.raises(FovealError, match="top=0"):
        search(encoder, pile, pile / "red 07.png", top=0)
    with pytest.raises(FovealError, match="does not exist"):
        search(encoder, pile, tmp_path / "none.png")
    Image.open(pile / "red 07.png").save(tmp_path / "alone.png")
    with pytest.raises(FovealError, match="only one"):
        search(encoder, tmp_path, pile / "red 07.png")
