"""Targets beside pictures: VOC's, COCO's and NYUv2's layouts, and what a wrong one says."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from foveal.data.camera import Camera, normals_from_depth
from foveal.data.nyu import CAMERA, FILE, SPLITS
from foveal.data.scenes import VOC_CLASSES, open_boxes, open_scenes
from foveal.data.splits import load_splits
from foveal.errors import FovealError

H, W = 24, 32
OBJECT = """<object><name>{0}</name><difficult>{1}</difficult><bndbox><xmin>{2}</xmin>
<ymin>{3}</ymin><xmax>{4}</xmax><ymax>{5}</ymax></bndbox></object>"""


def write_voc(folder, *, depth=True, lists=("train", "val")):
    for name in ("JPEGImages", "SegmentationClass", "Annotations", "Depth"):
        (folder / name).mkdir(parents=True)
    draw = np.random.default_rng(0)
    for kind in ("Main", "Segmentation"):
        (folder / "ImageSets" / kind).mkdir(parents=True)
        for k, part in enumerate(lists):
            (folder / "ImageSets" / kind / f"{part}.txt").write_text(f"p{2 * k}\np{2 * k + 1} 1\n")
    for i in range(2 * len(lists)):
        pixels = draw.integers(0, 255, (H, W, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "JPEGImages" / f"p{i}.jpg")
        numbers = np.zeros((H, W), np.uint8)
        numbers[2:9, 3:13], numbers[0] = 1 + i % 2, 255
        picture = Image.fromarray(numbers, mode="P")
        picture.putpalette([i % 256 for i in range(768)])
        picture.save(folder / "SegmentationClass" / f"p{i}.png")
        Image.fromarray(np.full((H, W), 300 + i, np.uint16)).save(folder / "Depth" / f"p{i}.png")
        text = OBJECT.format("ball" if i % 2 == 0 else "box", i % 2, 4, 3, 13, 9)
        (folder / "Annotations" / f"p{i}.xml").write_text(f"<annotation>{text}</annotation>")
    (folder / "classes.txt").write_text("ball\nbox\n")
    about = {"fx": 16, "fy": 16, "cx": 15.5, "cy": 11.5, "depth": {"unit": "cm", "step": 1}}
    (folder / "intrinsics.json").write_text(json.dumps(about))
    return folder


@pytest.fixture
def voc(tmp_path):
    return write_voc(tmp_path / "voc")


def test_voc_layout(voc):
    train, val = open_scenes(voc, "segmentation")
    assert (len(train), len(val)) == (2, 2) and val.names == ["p2.jpg", "p3.jpg"]
    assert train.things == ["ball", "box"] and train.unit == "cm"
    numbers = val.segmentation(1)
    assert numbers.dtype == np.uint8 and numbers[4, 5] == 2 and (numbers[0] == 255).all()
    assert val.depth(0).dtype == np.float32 and (val.depth(1) == 303).all()
    # A wall before the camera looks straight back at it.
    normals = val.normals(0)
    assert np.allclose(normals[12, 16], [0, 0, -1], atol=1e-6) and (normals[0] == 0).all()


def test_more_masks_are_learned_from_where_they_are_asked_for(voc):
    (voc / "SegmentationClassAug").mkdir()
    (voc / "SegmentationClass" / "p1.png").rename(voc / "SegmentationClassAug" / "p1.png")
    listed = voc / "ImageSets" / "Segmentation" / "train_aug.txt"
    with pytest.raises(FovealError, match="train_aug"):
        open_scenes(voc, "segmentation", train="train_aug")
    listed.write_text("p0\np1\n")
    train, val = open_scenes(voc, "segmentation", train="train_aug")
    assert len(train) == 2 and val.names == ["p2.jpg", "p3.jpg"]
    assert train.segmentation(1)[4, 5] == 2
    before = train.fingerprint()
    Image.fromarray(np.ones((H, W), np.uint8)).save(voc / "SegmentationClassAug" / "p1.png")
    assert train.fingerprint() != before


def test_voc_boxes_count_from_one_with_both_ends_inside(voc):
    found = open_boxes(voc)[0].boxes(1)
    assert found.corners.tolist() == [[3, 2, 13, 9]] and found.label.tolist() == [1]
    assert found.difficult.tolist() == [True] and found.area.tolist() == [70]


def test_voc_classes_where_the_data_name_none(voc):
    (voc / "classes.txt").unlink()
    train, _ = open_scenes(voc, "segmentation")
    assert train.things == list(VOC_CLASSES) and len(VOC_CLASSES) == 20


@pytest.mark.parametrize(
    ("kind", "remove", "named", "layout"),
    [
        ("segmentation", "JPEGImages", "JPEGImages", "SegmentationClass"),
        ("segmentation", "ImageSets/Segmentation/val.txt", "Segmentation/val.txt", "train,val"),
        ("segmentation", "SegmentationClass/p0.png", "SegmentationClass/p0.png", "palette"),
        ("depth", "Depth/p0.png", "Depth/p0.png", "16 bit"),
        ("normals", "intrinsics.json", "intrinsics.json", "fx"),
        ("boxes", "Annotations/p2.xml", "Annotations/p2.xml", "Annotations/NAME.xml"),
        ("boxes", "JPEGImages", "JPEGImages", "Annotations"),
    ],
)
def test_what_is_missing_is_named_with_the_layout(voc, kind, remove, named, layout):
    path = voc / remove
    path.rename(voc.parent / "gone")
    with pytest.raises(FovealError) as caught:
        open_boxes(voc) if kind == "boxes" else open_scenes(voc, kind)
    assert named in caught.value.message and layout in caught.value.hint


def test_wrong_targets_are_refused(voc):
    Image.new("RGB", (W, H)).save(voc / "SegmentationClass" / "p0.png")
    with pytest.raises(FovealError, match="is RGB, not numbers"):
        open_scenes(voc, "segmentation")
    Image.fromarray(np.full((H, W), 7, np.uint8)).save(voc / "SegmentationClass" / "p0.png")
    with pytest.raises(FovealError, match="holds class 7"):
        open_scenes(voc, "segmentation")


def test_a_folder_around_the_right_one_is_told(voc):
    whole = voc.parent / "kit"
    (whole / "VOCdevkit").mkdir(parents=True)
    voc.rename(whole / "VOCdevkit" / "VOC2012")
    with pytest.raises(FovealError) as caught:
        open_scenes(whole, "segmentation")
    assert caught.value.hint.endswith("VOC2012")


def test_coco_layout(tmp_path):
    (tmp_path / "annotations").mkdir()
    for part in ("train2017", "val2017"):
        (tmp_path / part).mkdir()
        about = {
            "images": [{"id": 9, "file_name": "b.jpg"}, {"id": 4, "file_name": "a.jpg"}],
            "categories": [{"id": 7, "name": "cup"}, {"id": 3, "name": "bowl"}],
            "annotations": [
                {"id": 1, "image_id": 9, "category_id": 7, "bbox": [2, 3, 5, 4], "area": 11,
                 "iscrowd": 1},
            ],
        }  # fmt: skip
        path = tmp_path / "annotations" / f"instances_{part}.json"
        path.write_text(json.dumps(about))
    with pytest.raises(FovealError, match="train2017 holds none of the pictures"):
        open_boxes(tmp_path)
    for part in ("train2017", "val2017"):
        Image.new("RGB", (9, 9)).save(tmp_path / part / "b.jpg")
    train, val = open_boxes(tmp_path)
    assert train.things == ["bowl", "cup"] and train.category_ids == [3, 7]
    assert val.names == ["a.jpg", "b.jpg"] and len(val.boxes(0).label) == 0
    found = val.boxes(1)
    assert found.corners.tolist() == [[2, 3, 7, 7]] and found.label.tolist() == [1]
    assert found.difficult.tolist() == [True] and found.area.tolist() == [11]
    # What a protocol on classes makes of it: the crowd is there.
    assert load_splits(tmp_path)[1].marks.tolist() == [[0, 0], [0, 1]]
    assert train.channels == 3 and load_splits(tmp_path)[0].classes == ["bowl", "cup"]
    path.write_text("{}")
    with pytest.raises(FovealError, match="instances_val2017"):
        open_boxes(tmp_path)


def test_nyu_layout(tmp_path):
    h5py = pytest.importorskip("h5py")
    from scipy.io import savemat

    draw = np.random.default_rng(0)
    pictures = draw.integers(0, 255, (5, 48, 64, 3)).astype(np.uint8)
    depths = draw.uniform(1, 9, (5, 48, 64)).astype(np.float32)
    with pytest.raises(FovealError, match="JPEGImages"):
        open_scenes(tmp_path, "depth")
    with h5py.File(tmp_path / FILE, "w") as f:
        f["images"] = pictures.transpose(0, 3, 2, 1)
        f["depths"] = depths.transpose(0, 2, 1)
    with pytest.raises(FovealError, match=SPLITS):
        open_scenes(tmp_path, "depth")
    savemat(tmp_path / SPLITS, {"trainNdxs": [[1], [3], [4]], "testNdxs": [[2], [5]]})
    train, test = open_scenes(tmp_path, "depth")
    assert (len(train), len(test), test.channels, test.unit) == (3, 2, 3, "metre")
    assert np.array_equal(train.read(1), pictures[2]) and np.array_equal(test.depth(1), depths[4])
    assert test.normals(0).shape == (48, 64, 3)
    assert train.fingerprint() != test.fingerprint()
    with pytest.raises(FovealError, match="segmentation"):
        open_scenes(tmp_path, "segmentation")[0].segmentation(0)
    (tmp_path / FILE).unlink()
    (tmp_path / FILE).write_bytes(b"no")
    with pytest.raises(FovealError, match="labelled set"):
        open_scenes(tmp_path, "depth")


@settings(deadline=None, max_examples=20)
@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(0.5, 50))
def test_normals_of_a_plane_are_exact(x, y, distance):
    camera = Camera(fx=60, fy=72, cx=31.5, cy=23.5)
    normal = np.array([x, y, -2.5])
    normal /= np.linalg.norm(normal)
    v, u = np.mgrid[:48, :64]
    rays = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, u * 0 + 1], -1)
    depth = (-distance / (rays @ normal)).astype(np.float32)
    found = normals_from_depth(depth, camera)
    # Windows of 9 x 9, so 1 px of border of the smallest, 3 x 3, is unknown at most.
    inner = found[1:-1, 1:-1]
    assert np.allclose(inner, normal, atol=2e-3)
    assert not found[0].any() and not found[:, 0].any()


def test_normals_are_unknown_at_edges_and_holes():
    depth = np.full((40, 64), 2.0, np.float32)
    depth[:, 32:] = 4.0
    depth[5, 5] = 0
    found = normals_from_depth(depth, Camera(50, 50, 31.5, 19.5))
    assert not found[20, 31:33].any() and not found[4:7, 4:7].any()
    assert np.allclose(found[20, 10], [0, 0, -1]) and np.allclose(found[20, 50], [0, 0, -1])


def test_steps_of_the_depth_do_not_become_normals():
    """A wall seen at a slant, its depth rounded to steps of 7.34 as Doom's is."""
    camera = Camera(160, 192, 159.5, 119.5, step=7.34)
    u = np.mgrid[:240, :320][1]
    normal = np.array([-0.8, 0, -0.6])
    depth = -300 / ((u - camera.cx) / camera.fx * normal[0] + normal[2])
    steps = np.where(depth > 0, np.rint(depth / 7.34) * 7.34, 0).astype(np.float32)
    found = normals_from_depth(steps, camera)
    seen = found[100:140, 150:290].reshape(-1, 3)
    angle = np.degrees(np.arccos(np.clip(seen[seen.any(1)] @ normal, -1, 1)))
    assert len(angle) > 0.9 * len(seen) and np.median(angle) < 5


def test_the_camera_of_nyu_counts_pixels_from_zero():
    assert CAMERA.cx == pytest.approx(324.582449) and CAMERA.cy == pytest.approx(252.736166)
