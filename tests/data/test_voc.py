"""PASCAL VOC's layout: several classes a picture, difficult objects, and what is wrong by name."""

import numpy as np
import pytest
from PIL import Image

from foveal.data.splits import load_splits
from foveal.data.voc import open_voc, read_annotation
from foveal.errors import FovealError


def write_picture(root, name, objects):
    """One picture; objects as (class, difficult)."""
    (root / "JPEGImages").mkdir(parents=True, exist_ok=True)
    (root / "Annotations").mkdir(exist_ok=True)
    Image.fromarray(np.full((12, 20, 3), 90, np.uint8)).save(root / "JPEGImages" / f"{name}.jpg")
    items = "".join(
        f"<object><name>{c}</name><truncated>1</truncated><difficult>{int(d)}</difficult><bndbox>"
        "<xmin>1</xmin><ymin>2</ymin><xmax>10</xmax><ymax>11</ymax></bndbox></object>"
        for c, d in objects
    )
    text = f"<annotation><filename>{name}.jpg</filename>{items}</annotation>"
    (root / "Annotations" / f"{name}.xml").write_text(text)


def write_part(root, part, names):
    folder = root / "ImageSets" / "Main"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{part}.txt").write_text("".join(f"{name}\n" for name in names))


@pytest.fixture
def voc(tmp_path):
    root = tmp_path / "VOC2007"
    write_picture(root, "000001", [("dog", False), ("cat", True)])
    write_picture(root, "000002", [("cat", True), ("cat", False), ("cat", True)])
    write_picture(root, "000003", [("dog", True)])
    write_picture(root, "000004", [])
    write_part(root, "trainval", ["000001", "000002"])
    write_part(root, "test", ["000003", "000004"])
    return root


def test_marks_say_there_not_there_or_only_difficult(voc):
    train, test = load_splits(voc)
    assert train.classes == test.classes == ["cat", "dog"]
    assert train.marks.tolist() == [[-1, 1], [1, 0]]
    assert test.marks.tolist() == [[0, -1], [0, 0]]
    assert train.labels is None
    assert train.read(0).shape == (12, 20, 3)
    assert train.name(1) == "000002"


def test_boxes_are_as_in_the_file(voc):
    first = read_annotation(voc / "Annotations" / "000001.xml")[0]
    assert (first.name, first.box) == ("dog", (1, 2, 10, 11))
    assert first.truncated and not first.difficult


def test_without_a_test_part_val_is_tested_on_and_not_trained_on(voc):
    (voc / "ImageSets" / "Main" / "test.txt").unlink()
    write_part(voc, "trainval", ["000001", "000002", "000003"])
    write_part(voc, "train", ["000001", "000002"])
    write_part(voc, "val", ["000003"])
    train, test = load_splits(voc)
    assert (train.names, test.names) == (["000001", "000002"], ["000003"])


def test_other_marks_are_other_data(voc):
    before = load_splits(voc)[0].fingerprint()
    write_picture(voc, "000001", [("dog", False)])
    picture = voc / "JPEGImages" / "000001.jpg"
    assert load_splits(voc)[0].fingerprint() != before
    assert picture.is_file()


def _remove(path):
    path.unlink() if path.is_file() else path.rename(path.with_name("elsewhere"))


@pytest.mark.parametrize(
    ("gone", "named"),
    [
        ("Annotations", "Annotations/"),
        ("JPEGImages", "JPEGImages/"),
        ("ImageSets/Main", "ImageSets/Main/"),
        ("ImageSets/Main/trainval.txt", "has test.txt"),
        ("ImageSets/Main/test.txt", "has trainval.txt"),
        ("Annotations/000003.xml", "000003.xml does not exist"),
    ],
)
def test_what_is_missing_is_named_with_the_layout(voc, gone, named):
    _remove(voc / gone)
    with pytest.raises(FovealError, match=named) as error:
        load_splits(voc)
    assert "DATA/ImageSets/Main/{trainval,test}.txt" in error.value.hint


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("<annotation><object>", "000002.xml is not XML"),
        ("<annotation><object/></annotation>", "object 1 has no <name>"),
        ("<annotation><object><name>dog</name></object></annotation>", r"\(dog\) has no <bndbox>"),
    ],
)
def test_a_broken_annotation_is_named(voc, text, named):
    (voc / "Annotations" / "000002.xml").write_text(text)
    with pytest.raises(FovealError, match=named):
        load_splits(voc)


def test_lists_that_cannot_be_meant(voc):
    write_part(voc, "trainval", ["000001", "000001"])
    with pytest.raises(FovealError, match="000001 more than once"):
        load_splits(voc)
    write_part(voc, "trainval", [])
    with pytest.raises(FovealError, match="lists no pictures"):
        load_splits(voc)
    write_part(voc, "trainval", ["000004"])
    with pytest.raises(FovealError, match="without a single object"):
        load_splits(voc)
    with pytest.raises(FovealError, match="does not exist"):
        open_voc(voc, "holdout")


def test_a_class_of_the_test_part_alone_is_named(voc):
    write_picture(voc, "000004", [("zebra", False)])
    with pytest.raises(FovealError, match="zebra in test"):
        load_splits(voc)


def test_pictures_elsewhere_are_an_error_and_one_missing_is_a_bad_file(voc):
    (voc / "JPEGImages" / "000003.jpg").unlink()
    assert len(load_splits(voc)[1]) == 2
    (voc / "JPEGImages" / "000004.jpg").unlink()
    with pytest.raises(FovealError, match="nor does any other picture"):
        load_splits(voc)
