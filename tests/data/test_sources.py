"""Everything a user may point at, and what is said where that is nothing."""

import os

import numpy as np
import pytest
import torch
import zoo
from PIL import Image

from foveal.data.sources import Subset, open_source
from foveal.errors import BadImage, FovealError


def picture(i, size=(12, 9), mode="RGB"):
    return zoo.drawn(np.random.default_rng(i), size).convert(mode)


def fill(folder, names, mode="RGB"):
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(i, mode=mode).save(path)


def names_of(source):
    return [source.name(i) for i in range(len(source))]


def refused(data, words, **options):
    with pytest.raises(FovealError, match=words) as caught:
        open_source(data, **options)
    return caught.value


def test_a_nested_folder_in_the_order_of_its_names(tmp_path):
    names = ["b/2.PNG", "a.jpg", "b/c d/é.webp", "b/10.png"]
    fill(tmp_path, names)
    (tmp_path / "x.txt").touch()
    (tmp_path / "Makefile").touch()
    fill(tmp_path, [".trash/gone.png", ".hidden.png"])
    source = open_source(tmp_path)
    assert names_of(source) == sorted(names)
    assert source.ignored == {".txt": 1, "none": 1}
    assert source.classes is None and source.labels is None
    assert source.root == str(tmp_path)
    i = names_of(source).index("b/2.PNG")
    assert np.array_equal(source.read(i), np.asarray(picture(0)))
    assert source.read(i).shape == (9, 12, 3)


@pytest.mark.parametrize("split", ["", "train/", "Test/"])
def test_class_folders(tmp_path, split):
    fill(tmp_path, [f"{split}{c}/{i}.png" for c in ("dog", "cat", "owl") for i in range(3)])
    source = open_source(tmp_path)
    assert source.classes == ["cat", "dog", "owl"]
    assert source.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    for i, label in enumerate(source.labels):
        assert source.classes[label] in source.name(i)


def test_both_splits_share_their_classes(tmp_path):
    fill(tmp_path, [f"{s}/{c}/{i}.png" for s in ("train", "val") for c in "ab" for i in range(2)])
    source = open_source(tmp_path)
    assert source.classes == ["a", "b"]
    assert source.labels.tolist() == [0, 0, 1, 1, 0, 0, 1, 1]


@pytest.mark.parametrize(
    "names",
    [
        ["a/1.png", "a/2.png"],  # one folder
        ["a/1.png", "a/2.png", "b/1.png"],  # a folder with a single picture
        ["a/1.png", "a/2.png", "b/1.png", "b/2.png", "3.png"],  # a picture outside
    ],
)
def test_folders_that_are_no_classes(tmp_path, names):
    fill(tmp_path, names)
    assert open_source(tmp_path).classes is None


def test_glob(tmp_path):
    fill(tmp_path, ["a/1.png", "a/2.jpg", "b/c/3.png"])
    (tmp_path / "a" / "x.png.txt").touch()
    source = open_source(f"{tmp_path}/**/*.png")
    assert [os.path.relpath(n, tmp_path) for n in names_of(source)] == ["a/1.png", "b/c/3.png"]
    error = refused(f"{tmp_path}/**/*.txt", r"no picture matches .* \(1 other")
    assert "quote the pattern" in error.hint


def test_list_files(tmp_path):
    fill(tmp_path, ["a/1.png", "a/2.png", "b 3.png"])
    (tmp_path / "l.txt").write_text(
        f"# mine\na/2.png\n\n{tmp_path}/a/1.png\nb 3.png\n", encoding="utf-8-sig"
    )
    source = open_source(tmp_path / "l.txt")
    assert names_of(source) == ["a/2.png", f"{tmp_path}/a/1.png", "b 3.png"]
    assert np.array_equal(source.read(2), np.asarray(picture(2)))
    (tmp_path / "l.csv").write_text('path,label\na/1.png,cat\n"b 3.png",dog\n')
    assert names_of(open_source(tmp_path / "l.csv")) == ["a/1.png", "b 3.png"]


def test_a_list_keeps_entries_that_cannot_be_read(tmp_path):
    """They are named by the scan, with a reason; the first is not taken for a heading."""
    fill(tmp_path, ["1.png"])
    (tmp_path / "l.txt").write_text("photo.heic\n1.png\ngone.png\n")
    source = open_source(tmp_path / "l.txt")
    assert names_of(source) == ["photo.heic", "1.png", "gone.png"]
    assert source.stat(2) == (-1, -1)
    with pytest.raises(BadImage, match="gone"):
        source.read(2)


def test_one_file(tmp_path):
    fill(tmp_path, ["1.png"])
    assert names_of(open_source(tmp_path / "1.png")) == ["1.png"]


@pytest.mark.parametrize("shape", [(5, 8, 6), (5, 8, 6, 1), (5, 8, 6, 3)])
def test_arrays_and_their_files(tmp_path, shape):
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    np.save(tmp_path / "a.npy", images)
    np.savez(tmp_path / "a.npz", images=images, labels=np.array([4, 4, -1, 7, 4]))
    for data in (images, tmp_path / "a.npy", tmp_path / "a.npz"):
        source = open_source(data)
        assert len(source) == 5 and source.channels == (shape[3] if len(shape) == 4 else 1)
        assert np.array_equal(source.read(3), images[3].reshape(8, 6, -1))
        assert source.stat(0) is None
        assert open_source(data, channels=3).read(0).shape == (8, 6, 3)
        assert open_source(data, channels=1).read(0).shape == (8, 6, 1)
    assert source.classes == ["4", "7"] and source.labels.tolist() == [0, 0, -1, 1, 0]
    assert source.name(3) == "a.npz[3]"


def test_sequences():
    arrays = [np.asarray(picture(i)) for i in range(3)]
    tensors = [torch.from_numpy(a.transpose(2, 0, 1).copy()) for a in arrays]
    pictures = [picture(i) for i in range(3)]
    for items in (arrays, tensors, pictures):
        source = open_source(items)
        assert source.labels is None and source.channels == 3
        assert all(np.array_equal(source.read(i), arrays[i]) for i in range(3))
        labelled = open_source([(x, y) for x, y in zip(items, "bab", strict=True)])
        assert labelled.classes == ["a", "b"] and labelled.labels.tolist() == [1, 0, 1]
    grey = open_source([a[..., 0] for a in arrays])
    assert grey.channels == 1 and grey.read(1).shape == (9, 12, 1)


class Photos(torch.utils.data.Dataset):
    """A map-style data set of someone else's."""

    def __init__(self):
        self.targets = torch.tensor([3, 1, 3, 1])

    def __len__(self):
        return 4

    def __getitem__(self, i):
        if i == 0:
            raise OSError("the disk is gone")
        return picture(i), int(self.targets[i])


def test_a_torch_dataset_with_targets():
    source = open_source(Photos())
    assert len(source) == 4 and source.channels == 3
    assert source.classes == ["1", "3"] and source.labels.tolist() == [1, 0, 1, 0]
    assert np.array_equal(source.read(2), np.asarray(picture(2)))
    with pytest.raises(BadImage, match="the disk is gone") as caught:
        source.read(0)
    assert caught.value.kind == "dataset"
    assert source.name(2) == "Photos[2]"


def test_channels_follow_the_pictures(tmp_path):
    fill(tmp_path, ["1.png", "2.png"], mode="L")
    assert open_source(tmp_path).channels == 1
    assert open_source(tmp_path, channels=3).read(0).shape == (9, 12, 3)
    picture(7).save(tmp_path / "3.png")
    assert open_source(tmp_path).channels == 3
    assert open_source(tmp_path).read(0).shape == (9, 12, 3)


def test_a_source_is_taken_as_it_is():
    source = open_source([np.zeros((4, 4, 3), np.uint8)])
    assert open_source(source) is source
    assert open_source(source, channels=3) is source
    refused(source, "gives 3 channels", channels=1)


def test_subset():
    images = np.arange(6, dtype=np.uint8)[:, None, None].repeat(2, 1).repeat(2, 2)
    whole = open_source([(x, i % 2) for i, x in enumerate(images)])
    part = Subset(whole, np.array([4, 1]))
    assert len(part) == 2 and part.labels.tolist() == [0, 1] and part.classes == whole.classes
    assert part.read(0)[0, 0, 0] == 4 and part.name(1) == whole.name(1)
    assert part.fingerprint() != Subset(whole, np.array([1, 4])).fingerprint()
    assert part.stat(0) is None and part.picture(0)[0].pixels[0, 0, 0] == 4


def test_fingerprints_change_with_the_data(tmp_path):
    fill(tmp_path, ["1.png", "2.png"])
    first = open_source(tmp_path).fingerprint()
    assert open_source(tmp_path).fingerprint() == first
    os.utime(tmp_path / "1.png", ns=(0, 12345))
    second = open_source(tmp_path).fingerprint()
    (tmp_path / "2.png").rename(tmp_path / "3.png")
    assert len({first, second, open_source(tmp_path).fingerprint()}) == 3
    images = np.zeros((3, 4, 4, 3), np.uint8)
    seen = {open_source(images).fingerprint(), open_source(list(images)).fingerprint()}
    images[2, 3, 3, 2] = 1
    seen |= {open_source(images).fingerprint(), open_source(list(images)).fingerprint()}
    assert len(seen) == 4


def test_a_folder_named_like_a_picture(tmp_path):
    """Without pictures it is a bad one; with pictures it is a folder."""
    fill(tmp_path, ["1.png", "album.jpg/2.png"])
    (tmp_path / "x.png").mkdir()
    assert names_of(open_source(tmp_path)) == ["1.png", "album.jpg/2.png", "x.png"]


def test_links_are_followed_and_loops_refused(tmp_path):
    fill(tmp_path, ["data/1.png", "elsewhere/2.png", "data/deep/3.png"])
    (tmp_path / "data" / "link").symlink_to(tmp_path / "elsewhere")
    assert names_of(open_source(tmp_path / "data")) == ["1.png", "deep/3.png", "link/2.png"]
    for target in (tmp_path, tmp_path / "data", tmp_path / "data" / "deep"):
        loop = tmp_path / "data" / "deep" / "loop"
        loop.symlink_to(target)
        refused(tmp_path / "data", "endless loop")
        loop.unlink()
    # Two folders that link to each other.
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "data" / "deep")
    (tmp_path / "data" / "deep" / "there").symlink_to(tmp_path / "elsewhere")
    refused(tmp_path / "data" / "deep", "endless loop")


def test_what_is_said_where_there_is_nothing(tmp_path):
    error = refused(tmp_path, "holds no pictures")
    assert ".jpeg" in error.hint
    (tmp_path / "a.txt").write_text("\n\n# nothing\n")
    (tmp_path / "b.doc").touch()
    refused(tmp_path, r"holds no pictures \(other files: 1 .doc, 1 .txt\)")
    refused(tmp_path / "a.txt", "lists no pictures")
    refused(tmp_path / "b.doc", "is a .doc, not a picture")
    error = refused(tmp_path / "nowhere", "nowhere does not exist\n")
    assert error.hint == f"ls {tmp_path}"
    refused(tmp_path / "no" / "where", r"does not exist \(nor does")
    (tmp_path / "c.lst").write_text("1.png\n2.png\n1.png\n")
    refused(tmp_path / "c.lst", r"more than once \(1 too many\), e.g. 1.png")
    (tmp_path / "d.txt").write_bytes(b"\xff\xfe1.png")
    refused(tmp_path / "d.txt", "not a UTF-8 text file")
    refused(7, "cannot read pictures from int")
    refused([], "is empty")
    refused(np.zeros((2, 4, 4, 3), np.uint8), "and 2 are asked for", channels=2)
    refused(np.zeros((2, 4, 4, 3), np.uint8), "channels=0", channels=0)
    refused(np.zeros((2, 4, 4, 3), np.uint8), "bits=12", bits=12)


def test_what_is_said_about_wrong_arrays(tmp_path):
    refused(np.zeros((2, 3, 8, 8), np.uint8), r"shape \(2, 3, 8, 8\)")
    refused(np.zeros((0, 8, 8, 3), np.uint8), "holds no pictures")
    assert "255" in refused(np.zeros((2, 8, 8)), "holds float64 values").hint
    refused([np.zeros((8, 8, 3))], "is float64 of shape")
    refused([torch.zeros(3, 8, 8)], "is float32 of shape")
    np.savez(tmp_path / "a.npz", pictures=np.zeros(3))
    assert "images=" in refused(tmp_path / "a.npz", "holds pictures").hint
    np.savez(tmp_path / "b.npz", images=np.zeros((3, 4, 4), np.uint8), labels=np.zeros(2))
    refused(tmp_path / "b.npz", r"3 pictures and labels of shape \(2,\)")
    (tmp_path / "c.npy").write_bytes(b"nonsense")
    refused(tmp_path / "c.npy", "cannot be read")
    (tmp_path / "d.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:60])
    refused(tmp_path / "d.npz", "cannot be read")
    np.save(tmp_path / "e.npy", np.array([{}, {}], object), allow_pickle=True)
    refused(tmp_path / "e.npy", "cannot be read")


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    fill(tmp_path, ["1.png"])

    def walk(root, followlinks, onerror):
        onerror(PermissionError(13, "Permission denied", str(root)))
        return iter(())

    monkeypatch.setattr("foveal.data.files.os.walk", walk)
    refused(tmp_path, "cannot list .*: Permission denied")


def test_grey_and_palette_in_memory_become_pixels():
    for mode, channels in (("L", 1), ("P", 3), ("RGBA", 3), ("1", 1)):
        image = Image.new("RGB", (5, 4), "white").convert(mode)
        source = open_source([image])
        assert source.channels == channels and (source.read(0) == 255).all()
